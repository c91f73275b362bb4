"""The admin of the demo, as its marketer uses it: from the list to the CSV of a mailing.

The pictures of the README and of the docs are taken here: PICTURES=1 takes them anew.
"""

import csv
import os
import socket
import subprocess
import sys
from collections import Counter

import psycopg
import pytest
from psycopg import sql

from demo.cdnow import purchases
from tests.browser.watching import expect
from tests.processes import ROOT

DATABASE = f"segments_demo_served_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"

PICTURES = ROOT / "docs" / "pictures"

MAILING = "SELECT customer_id FROM shop_order\nWHERE placed_on >= '1998-06-01'"

MONTHS = 13
"""The refreshes of a replay, the first one included."""


@pytest.fixture(scope="module")
def shop():
    """Run the demo; return the address of its admin, and the URL of its database."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"SEGMENTS_DEMO_DATABASE": DATABASE, "SEGMENTS_DEMO_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "demo", "--serve"],
        cwd=ROOT, env=os.environ | environment | {"FORCE_COLOR": ""}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    printed = ""
    while "The same database" not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    yield f"http://127.0.0.1:{port}", printed
    process.terminate()  # Not by SIGINT, which a job in the background ignores.
    process.communicate(timeout=60)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        name = sql.Identifier(DATABASE)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture
def log_in(shop, window):
    """Open the list of segments as somebody."""

    def open_list(name):
        page = window(shop[0])
        page.goto("/segments/segment/")
        page.get_by_label("Username:").fill(name)
        page.get_by_label("Password:").fill(name)
        page.get_by_role("button", name="Log in").click()
        page.locator("#result_list").wait_for()
        return page

    return open_list


@pytest.fixture
def picture():
    """Take a picture for the docs, where that is asked for; it must exist in any case."""

    def take(page, name):
        path = PICTURES / f"{name}.png"
        if os.environ.get("PICTURES"):
            page.screenshot(path=path)
        assert path.exists()

    return take


def buyers():
    """Return whom the mailing is for, by a computation in Python."""
    return {order.customer for order in purchases() if order.day.isoformat() >= "1998-06-01"}


def test_marketer__goes_from_the_list_to_a_mailing(log_in, picture):
    page = log_in("marketer")
    picture(page, "list")
    page.get_by_role("link", name="Add segment").click()
    page.get_by_label("Name:").fill("Summer mailing")
    page.locator(".cm-content").click()
    page.keyboard.insert_text(MAILING)
    page.get_by_role("button", name="Preview").click()
    count = f"{len(buyers()):,} members"
    expect(page.locator(".segments-count")).to_have_text(count)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text(f"It has {count}.")
    page.get_by_role("link", name="Summer mailing", exact=True).last.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename == "summer-mailing.csv"
    with open(download.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["email"] for row in rows} == {f"customer-{n}@example.com" for n in buyers()}


def test_preview__is_compared_with_the_present_members(log_in, picture):
    page = log_in("marketer")
    page.get_by_role("link", name="Big spenders", exact=True).click()
    page.get_by_role("link", name="Change", exact=True).click()
    page.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    for _ in "200":
        page.keyboard.press("Backspace")
    page.keyboard.type("300")
    page.get_by_role("button", name="Preview").click()
    totals = Counter()
    for order in purchases():
        totals[order.customer] += order.amount
    now = sum(total >= 200 for total in totals.values())
    then = sum(total >= 300 for total in totals.values())
    words = f"{now:,} now; {then:,} then; {now - then:,} leave, 0 enter"
    expect(page.locator(".segments-comparison")).to_have_text(words)
    page.locator(".segments-beside").evaluate("e => e.scrollIntoView()")
    picture(page, "form")


def test_charts__have_a_shape(log_in, picture):
    page = log_in("marketer")
    page.get_by_role("link", name="Big spenders", exact=True).click()
    page.locator(".segments-chart").wait_for()
    steps = page.get_attribute(".segments-chart .size", "d").count("H")
    assert steps >= MONTHS
    expect(page.locator(".segments-chart .left")).to_have_count(1)
    picture(page, "segment")
    page.locator(".segments-bar").get_by_role("link", name="Versions").click()
    expect(page.get_by_role("heading", name="changed by marketer")).to_have_count(2)
    picture(page, "versions")


def test_compare__two_segments(log_in, picture):
    page = log_in("marketer")
    for name in ("Big spenders", "Lapsed", "Win back"):
        page.locator("#result_list tr", has_text=name).locator("input").check()
    page.select_option("select[name=action]", "compare_selected")
    page.get_by_role("button", name="Go").click()
    page.locator(".segments-heat").wait_for()
    picture(page, "compare")


def test_administrator__may_delete(log_in, shop):
    page = log_in("demo")
    expect(page.get_by_role("link", name="Orders")).to_have_count(1)
    assert "Log in as the marketer: marketer, with the password marketer" in shop[1]
    page.get_by_role("link", name="Pilot", exact=True).click()
    page.get_by_role("link", name="Change", exact=True).click()
    expect(page.get_by_role("link", name="Delete")).to_have_count(1)
