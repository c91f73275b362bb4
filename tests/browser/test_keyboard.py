"""From the list to a saved definition and a mailing, without a mouse."""

from segments.models import Segment
from tests.browser.watching import expect
from tests.conftest import USERS

MAX_STEPS = 150
"""How often Tab may be pressed on one page."""

FOCUSED = "e => e === document.activeElement"


def tab_to(page, target):
    """Press Tab until an element has the focus, and is seen to have it."""
    element = target.first.element_handle()
    for _ in range(MAX_STEPS):
        page.keyboard.press("Tab")
        if element.evaluate(FOCUSED):
            expect(target.first).to_be_visible()
            return
    raise AssertionError(f"Tab does not lead to {target}")


def test_keyboard__is_enough(open_page, users, make):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE username < 'u3'")
    page = open_page("/admin/segments/segment/")
    tab_to(page, page.get_by_role("link", name="Vip", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**/overview/")
    tab_to(page, page.get_by_role("link", name="Change", exact=True))
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/")

    tab_to(page, page.locator("input[name=kind]"))
    tab_to(page, page.locator(".segments-editor"))
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(f"SELECT id FROM {USERS} WHERE username = 'u7'")
    tab_to(page, page.get_by_role("button", name="Preview"))
    page.keyboard.press("Enter")
    expect(page.locator(".segments-count")).to_have_text("1 member")
    tab_to(page, page.get_by_role("button", name="Save", exact=True))
    page.keyboard.press("Enter")
    page.locator(".messagelist").wait_for()
    assert [user.username for user in Segment.objects.get().members] == ["u7"]

    page.goto(f"/admin/segments/segment/{segment.pk}/overview/")
    with page.expect_download() as download:
        tab_to(page, page.get_by_role("link", name="Export CSV"))
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "vip.csv"
