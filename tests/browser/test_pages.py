"""The list and the pages of segments in a browser."""

import re
from pathlib import Path

import pytest

from segments.models import Segment, Status
from segments.sql import locks
from tests.admin.histories import write_history
from tests.browser.conftest import PHONE, WIDE
from tests.browser.watching import expect
from tests.conftest import USERS

LIST = "/admin/segments/segment/"

BEYOND = "name => { const e = document.querySelector(name); return e.scrollWidth - e.clientWidth }"
"""How many pixels of an element do not fit into its width."""

LOOKS = [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")]


@pytest.fixture
def shop(person, django_user_model, make):
    """Segments in several states, with histories."""
    people = [django_user_model(username=f"u{n}", is_staff=n % 2 == 0) for n in range(40)]
    django_user_model.objects.bulk_create(people)
    big = make(
        "regular-buyers",
        definition=f"SELECT id FROM {USERS} WHERE username LIKE 'u%'",
        description="Everybody who buys every month. #mailing",
        refresh_every=3600,
    )
    write_history(big, [12 + n - (5 if n in (9, 10, 20) else 0) for n in range(28)])
    make("staff", definition=f"SELECT id FROM {USERS} WHERE is_staff", description="#mailing")
    make(
        "both",
        definition="SELECT user_id FROM segments.regular_buyers NATURAL JOIN segments.staff",
    )
    make("invited", static_ids=people[:5], is_active=False)
    make("everyone", manager_method="all")
    broken = make("late-payers", definition=f"SELECT id FROM {USERS} WHERE id > 3")
    error = 'segment "late-payers": column "paid" does not exist (line 1, column 36)\n'
    error += f"SELECT id FROM {USERS} WHERE paid > 3\n" + " " * 51 + "^"
    Segment.objects.filter(pk=broken.pk).update(
        status=Status.FAILED, last_error=error, failures=3, refresh_every=None
    )
    return {segment.slug: segment for segment in Segment.objects.all()}


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_list__fits_and_is_accessible(size, scheme, shop, open_page, accessible, snap):
    page = open_page(LIST, size=size, scheme=scheme)
    snap(page, f"list-{size[0]}-{scheme}")
    accessible(page)
    assert page.evaluate(BEYOND, "html") <= 0
    if size == WIDE:
        assert page.evaluate(BEYOND, ".results") <= 0


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_overview__fits_and_is_accessible(size, scheme, shop, open_page, accessible, snap):
    page = open_page(LIST, size=size, scheme=scheme)
    for slug in ("regular-buyers", "late-payers"):
        page.goto(f"{LIST}{shop[slug].pk}/overview/")
        snap(page, f"{slug}-{size[0]}-{scheme}")
        accessible(page)
        assert page.evaluate(BEYOND, "html") <= 0


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_other_pages__fit_and_are_accessible(size, scheme, shop, open_page, accessible, snap):
    page = open_page(LIST, size=size, scheme=scheme)
    regular, staff = shop["regular-buyers"], shop["staff"]
    regular.definition = f"SELECT id FROM {USERS} WHERE username LIKE 'u1%'"
    regular.save()
    both = f"segment={regular.pk}&segment={staff.pk}&segment={shop['invited'].pk}"
    urls = {
        "compare": f"compare/?{both}&inside={regular.pk}&inside={staff.pk}",
        "month": f"{regular.pk}/overview/?days=30",
        "changes": f"{regular.pk}/changes/",
        "changes-since": f"{regular.pk}/changes/?since={regular.created_at.date()}",
        "versions": f"{regular.pk}/versions/",
        "members": f"{regular.pk}/members/",
        "user": f"user/{regular.members.first().pk}/",
    }
    for name, url in urls.items():
        page.goto(f"{LIST}{url}")
        snap(page, f"{name}-{size[0]}-{scheme}")
        accessible(page)
        assert page.evaluate(BEYOND, "html") <= 0, name


def test_refresh__by_a_worker_is_followed_without_a_reload(shop, open_page, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = shop["staff"]
    page = open_page(f"{LIST}{segment.pk}/overview/")
    page.click("text=Refresh anyway")
    page.wait_for_selector(".segments-queued")
    page.evaluate("window.stays = true")
    rows = page.locator("#segments-refreshes tbody tr").count()
    segment.refresh(force=True)
    page.wait_for_selector("#segments-news:has-text('21 members after')")
    page.wait_for_function(
        "n => document.querySelectorAll('#segments-refreshes tbody tr').length > n", arg=rows
    )
    expect(page.locator(".segments-queued")).to_have_count(0)
    expect(page.locator(".segments-chart .size")).to_have_count(1)  # It begins with this refresh.
    assert page.evaluate("window.stays") is True


def test_refresh__that_runs_is_shown_with_its_time(shop, open_page, session):
    segment, held = shop["staff"], session()
    with held.transaction():
        key = locks.lock_key(segment.pk)
        held.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        page = open_page(f"{LIST}{segment.pk}/overview/")
        badge = page.locator("#segments-state .segments-refreshing")
        assert re.fullmatch(r"refreshing \d+ s", badge.inner_text())
        before = badge.inner_text()
        page.wait_for_function(
            "t => document.querySelector('.segments-refreshing').textContent !== t", arg=before
        )
        assert re.fullmatch(r"refreshing \d+ s", badge.inner_text())
    page.wait_for_selector("#segments-state .segments-refreshed")
    expect(page.locator(".segments-refreshing")).to_have_count(0)


def test_refresh__is_followed_after_the_server_was_away(shop, open_page, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = shop["staff"]
    page = open_page(f"{LIST}{segment.pk}/overview/")
    page.add_init_script("{ const s = setTimeout; setTimeout = (f, ms) => s(f, ms / 20) }")
    lost = "The server does not answer at the moment. This page goes on asking."
    page.route("**/progress/*", lambda route: route.fulfill(body="<html>", status=200))
    page.click("text=Refresh anyway")
    page.wait_for_selector(f"#segments-news:has-text('{lost}')")
    expect(page.locator(".segments-queued")).to_have_count(1)
    page.unroute("**/progress/*")
    segment.refresh(force=True)
    page.wait_for_selector("#segments-news:has-text('21 members after')")
    expect(page.locator("#segments-news")).not_to_contain_text(lost)
    page.wait_for_selector("#segments-state .segments-refreshed")


def test_refresh__in_the_request_makes_the_chart_grow(shop, open_page):
    segment = shop["regular-buyers"]
    page = open_page(f"{LIST}{segment.pk}/overview/")
    steps = page.get_attribute(".segments-chart .size", "d").count("H")
    page.focus("text=Refresh anyway")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 segment refreshed.")
    assert page.get_attribute(".segments-chart .size", "d").count("H") == steps + 1


def test_export__is_a_download(shop, open_page):
    page = open_page(f"{LIST}{shop['staff'].pk}/overview/")
    with page.expect_download() as download:
        page.click("text=Export CSV")
    assert download.value.suggested_filename == "staff.csv"
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "id,username,email"
    assert len(lines) == 21


def test_compare__leads_from_the_list_to_a_segment(shop, open_page):
    page = open_page(LIST)
    for name in ("regular_buyers", "staff"):
        page.locator("#result_list tr", has_text=name).first.locator("input").check()
    page.select_option("select[name=action]", "compare_selected")
    page.click("button[name=index]")
    page.click(".segments-heat tbody tr:nth-child(1) td:nth-child(3) a")
    page.click("input[name=name]")
    page.keyboard.type("Buying staff")
    expect(page.locator("input[name=slug]")).to_have_value("buying-staff")
    page.fill("input[name=slug]", "staff")
    page.click("text=Make this a segment")
    page.wait_for_selector(".errorlist")
    expect(page.locator("input[name=name]")).to_have_value("Buying staff")
    page.fill("input[name=slug]", "buying-staff")
    page.click("text=Make this a segment")
    page.wait_for_selector("text=Buying staff was added. 20 members after")


def test_versions__are_restored(shop, open_page):
    segment = shop["staff"]
    before, segment.definition = segment.definition, f"SELECT id FROM {USERS}"
    segment.save()
    page = open_page(f"{LIST}{segment.pk}/versions/")
    page.click("text=Restore the version before")
    page.wait_for_selector("text=The version is restored.")
    assert Segment.objects.get(pk=segment.pk).definition == before


def test_user__is_asked_for_live(shop, open_page):
    user = shop["staff"].members.first()
    page = open_page(f"{LIST}user/{user.pk}/")
    page.locator("tr", has_text="Staff").locator("button").click()
    page.wait_for_selector("strong[role=status]:has-text('member')")


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_inline__fits_and_is_accessible(size, scheme, shop, open_page, accessible, settings, snap):
    settings.ROOT_URLCONF = "tests.admin.test_work"
    user = shop["staff"].members.first()
    page = open_page(
        f"/admin/accounts/segmentableuser/{user.pk}/change/", size=size, scheme=scheme
    )
    panel = page.locator(".segments-panel")
    assert {"Both", "Everyone", "Staff"} <= {*panel.locator("tbody th").all_inner_texts()}
    snap(page, f"inline-{size[0]}-{scheme}")
    accessible(page, ".segments-panel")  # Django's own fields of a time have no labels.
    assert page.evaluate(BEYOND, ".segments-panel") <= 0
    panel.locator("a", has_text="All segments, and live answers").click()
    page.wait_for_selector(f"h1:has-text('Segments of {user}')")


def test_changes__are_chosen_and_downloaded(shop, open_page):
    segment = shop["staff"]
    segment.definition = f"SELECT id FROM {USERS} WHERE is_staff AND username LIKE 'u1%'"
    segment.save()
    page = open_page(f"{LIST}{segment.pk}/changes/")
    page.select_option("select[name=which]", "left")
    page.click("text=Show")
    page.wait_for_selector("text=15 changes")
    with page.expect_download() as download:
        page.click("text=Download who left")
    assert len(Path(download.value.path()).read_text().splitlines()) == 16


def test_pages__of_people_who_may_not_see_members(shop, open_page, person, accessible):
    viewer = person("view_segment", name="viewer")
    page = open_page(LIST, user=viewer)
    assert page.locator("a[href$='/members/']").count() == 0
    page.click("text=Regular-Buyers")
    expect(page.locator(".segments-bar a")).to_have_text(["Versions", "Definition"])
    accessible(page)


def test_list__follows_workers_without_a_reload(shop, open_page, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    page = open_page(LIST)
    row = page.locator("#result_list tr", has_text="late_payers")
    row.locator("input").check()
    page.select_option("select[name=action]", "refresh_selected")
    page.click("button[name=index]")
    page.wait_for_selector(".segments-queued")
    shop["late-payers"].refresh()
    page.wait_for_selector("#segments-news:has-text('Late-Payers')")
    page.wait_for_function("!document.querySelector('.segments-queued, .segments-failing')")


def test_copy__puts_a_line_on_the_clipboard(shop, open_page):
    page = open_page(f"{LIST}{shop['staff'].pk}/overview/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("button[data-copy=segments-line-4]")
    page.wait_for_selector("text=Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == 'user.is_member("staff")'
