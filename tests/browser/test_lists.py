"""The page of a list in a browser: a large upload with bad lines, its report, and the list."""

import csv

import pytest
from django.db import connection

from segments.models import Segment
from tests.browser.conftest import PHONE, WIDE
from tests.browser.watching import expect
from tests.conftest import USERS

LINES = 100_000

BAD = {17: "nobody@example.com", 40_000: "not there", 99_999: "x" * 151} | {
    number: f"stranger-{number}@example.com" for number in range(50_000, 57_000, 1_000)
}
"""Lines that name nobody, by their numbers."""

TEXT_STARTS = """selector => [...document.querySelectorAll(selector)].map((cell) => {
  const range = document.createRange();
  range.selectNodeContents(document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode());
  return Math.round(range.getBoundingClientRect().left);
})"""
"""Where the texts of cells begin."""

INSERT = f"""
    INSERT INTO {USERS} (username, email, password, first_name, last_name, is_active, is_staff,
        is_superuser, date_joined)
    SELECT address, address, '', '', '', true, false, false, now()
    FROM generate_series(1, %s) AS n, format('buyer-%%s@example.com', n) AS address
"""


@pytest.fixture
def buyers(person):
    """Users whose names are e-mail addresses."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [LINES])


@pytest.fixture
def mailing(buyers, make):
    return make("mailing", static_ids=[])


@pytest.fixture
def file(tmp_path):
    """A file of e-mail addresses, ten of which are nobody's."""
    lines = [BAD.get(number, f"buyer-{number}@example.com") for number in range(1, LINES + 1)]
    path = tmp_path / "mailing.txt"
    path.write_text("\n".join(lines))
    return path


def send(page, file):
    page.get_by_label("File:").set_input_files(file)
    page.get_by_label("Each line is:").select_option(label="Username")
    page.get_by_role("button", name="Change the list").click()


def fact(page, name):
    """Return a number of the report."""
    return page.locator("#segments-report dt", has_text=name).locator("+ dd").inner_text()


def test_upload__of_100_000_addresses_with_ten_bad_lines(
    mailing, file, open_page, accessible, snap
):
    page = open_page(f"/admin/segments/segment/{mailing.pk}/list/")
    page.set_default_timeout(60_000)
    send(page, file)
    page.get_by_role("heading", name="Nothing was changed, because of these lines").wait_for()
    assert fact(page, "Lines read") == "100,000"
    rows = page.locator("#segments-report tbody tr")
    assert {int(rows.nth(n).locator("th").inner_text()) for n in range(rows.count())} == {*BAD}
    accessible(page)
    snap(page, "list-refused")
    assert Segment.objects.get().count_members() == 0

    page.get_by_label("Use the good lines if others are wrong").check()
    send(page, file)
    page.get_by_role("heading", name="The list was changed").wait_for()
    assert (fact(page, "Added"), fact(page, "Unknown")) == ("99,990", "9")
    assert fact(page, "Malformed") == "1"
    expect(page.get_by_role("heading", name="99,990 users on the list")).to_be_visible()
    assert Segment.objects.get().members_count == LINES - len(BAD)

    page.locator("#searchbar").fill("buyer-18@")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_text("Download as CSV").click()
    with open(download.value.path(), newline="") as written:
        assert sum(1 for _ in csv.DictReader(written)) == LINES - len(BAD)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_list__is_for_everybody(size, scheme, users, make, open_page, accessible, snap):
    segment = make("pilot", static_ids=users)
    type(users[0]).objects.update(email="somebody@example.com")
    page = open_page(f"/admin/segments/segment/{segment.pk}/list/", size=size, scheme=scheme)
    page.get_by_label("Or paste it").fill("1\nnobody")
    page.get_by_role("button", name="Change the list").click()
    page.get_by_role("heading", name="Nothing was changed").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    heads = page.evaluate(TEXT_STARTS, "#result_list thead th")
    cells = page.evaluate(TEXT_STARTS, "#result_list tbody tr:first-child > *")
    assert heads == pytest.approx(cells, abs=2)  # As in Django's own lists.
    accessible(page)
    snap(page, f"list-page-{scheme}-{size[0]}")
