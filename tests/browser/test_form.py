"""The form in a browser: kinds, the editor, previews beside it, and the keyboard."""

from pathlib import Path

import pytest
from django.urls import reverse

from segments.models import Segment
from tests.admin.test_segment import ALL
from tests.browser.conftest import PHONE, WIDE
from tests.browser.watching import expect
from tests.conftest import USERS

ADD = "/admin/segments/segment/add/"

FEW = f"SELECT id FROM {USERS} WHERE username IN ('u0', 'u2')"


def change_url(segment):
    return reverse("admin:segments_segment_change", args=[segment.pk])


def editor(page):
    return page.get_by_role("textbox", name="Definition")


def write(page, text):
    """Replace what is in the editor, as somebody who types does."""
    editor(page).click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def preview(page):
    """Ask for a preview; return its part of the page."""
    with page.expect_response("**/preview/"):
        page.get_by_role("button", name="Preview").click()
    page.wait_for_selector(".segments-preview:not([aria-busy])")
    return page.get_by_role("region", name="Preview")


def save(page):
    """Save the form; return the message about it."""
    page.get_by_role("button", name="Save", exact=True).click()
    return page.locator(".messagelist")


@pytest.fixture
def visible(users):
    """Check which fields of a definition are shown."""

    def check(page, *names):
        for name in ("definition", "method", "list_count", "static_ids", "file", "by"):
            row = page.locator(f".form-row.field-{name}")
            expect(row).to_be_visible(visible=name in names)

    return check


@pytest.mark.parametrize(("kind", "shown"), [
    ("SQL", ["definition"]),
    ("A list of users", ["static_ids", "file", "by"]),
    ("SQL and a list", ["definition", "static_ids", "file", "by"]),
    ("A method of a model", ["method"]),
])  # fmt: skip
def test_kind__is_made_from_nothing(kind, shown, open_page, users, visible):
    page = open_page(ADD)
    visible(page, "definition")
    page.get_by_label("Name:").fill("Big spenders")
    page.get_by_label(kind, exact=True).check()
    visible(page, *shown)
    if "definition" in shown:
        write(page, FEW)
    if "static_ids" in shown:
        page.get_by_label("Users:").fill(f"{users[2].pk}\n{users[5].pk}\n")
    if "method" in shown:
        page.get_by_label("Method:").select_option(ALL)
    count = {"SQL": 2, "A list of users": 2, "SQL and a list": 3}.get(kind, 11)
    assert f"{count}\nmembers" in preview(page).inner_text().replace(" ", "\n")
    page.get_by_label("Refresh every:").fill("every hour")
    text = save(page).inner_text()
    assert "was added successfully" in text
    assert f"It has {count} members." in text
    segment = Segment.objects.get()
    assert (segment.slug, segment.members_count) == ("big-spenders", count)
    page.goto(change_url(segment))
    expect(page.get_by_label("Refresh every:")).to_have_value("1 hour")
    expect(page.get_by_label(kind, exact=True)).to_be_checked()


def test_error__is_marked_in_the_editor(open_page, users, snap):
    page = open_page(ADD)
    page.get_by_label("Name:").fill("Typo")
    write(page, f"SELECT id\nFROM {USERS}\nWHERE usernam = 'u1'")
    answer = preview(page)
    assert 'column "usernam" does not exist' in answer.inner_text()
    mark = page.locator(".cm-lintRange-error")
    assert mark.inner_text() == "usernam"
    gutter = page.locator(".cm-lint-marker-error")
    assert gutter.bounding_box()["width"] > 5
    assert gutter.evaluate("e => getComputedStyle(e).content") == "normal"
    expect(page.locator(".field-definition .errorlist")).to_be_visible()
    snap(page, "error")
    write(page, FEW)
    assert "2 members" in preview(page).inner_text()
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)
    expect(page.locator(".errorlist")).to_have_count(0)
    write(page, "SELECT id\nFROM nowhere")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".errornote")
    assert page.locator(".cm-lintRange-error").inner_text() == "nowhere"


def test_error__of_a_kind_is_seen(open_page, users):
    page = open_page(ADD)
    page.get_by_label("Name:").fill("Methodical")
    page.get_by_label("A method of a model", exact=True).check()
    for button in ("Preview", "Save"):
        page.get_by_role("button", name=button, exact=True).click()
        error = page.locator(".field-method .errorlist")
        error.wait_for()
        assert "Choose the method" in error.inner_text()


def test_list__is_uploaded_with_a_new_segment(open_page, users, tmp_path, accessible, snap):
    file = tmp_path / "pilot.csv"
    file.write_text("name;username\nAda;u1\nBob;nobody\nEve;u4\n")
    page = open_page(ADD)
    page.get_by_label("Name:").fill("Pilot")
    page.get_by_label("A list of users", exact=True).check()
    page.get_by_label("Or upload a file:").set_input_files(file)
    box = page.get_by_label("Use the good lines if others are wrong")
    expect(box).to_be_hidden()
    assert 'line 3: no user has the username "nobody"' in preview(page).inner_text()
    expect(page.locator(".field-file .errorlist")).to_contain_text("1 line of 3 cannot be used")
    accessible(page)
    snap(page, "new-list-refused")
    box.check()
    assert "2 members" in preview(page).inner_text()
    snap(page, "new-list")
    text = save(page).inner_text()
    assert "It has 2 members." in text
    assert "1 line of the list names nobody, and was left out: 3 (“nobody”)." in text
    snap(page, "new-list-saved")
    assert Segment.objects.get().members_count == 2


def test_list__is_begun_empty(open_page, users):
    page = open_page(ADD)
    page.get_by_label("Name:").fill("Mailing")
    page.get_by_label("A list of users", exact=True).check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Paste users, or choose a file").wait_for()
    page.get_by_label("Begin with nobody on the list").check()
    assert "Nobody is on its list yet" in save(page).inner_text()
    page.get_by_label("Or paste it").fill("u2\nu5\n")
    page.get_by_label("Each line is:").select_option(label="Username")
    page.get_by_role("button", name="Change the list").click()
    page.locator("#segments-report").wait_for()
    assert Segment.objects.get().members_count == 2


def test_list__is_deleted_only_if_asked(open_page, users, make, snap):
    segment = make("vip", static_ids=users[:3])
    page = open_page(change_url(segment))
    box = page.get_by_label("Delete its list of 3 users")
    expect(box).to_be_hidden()
    page.get_by_label("SQL", exact=True).check()
    write(page, FEW)
    assert "3 now; 2 then" in preview(page).inner_text()
    expect(box).to_be_visible()
    snap(page, "delete-list-live")
    page.get_by_label("SQL and a list", exact=True).check()
    expect(box).to_be_hidden()
    page.get_by_label("SQL", exact=True).check()
    page.get_by_role("button", name="Save", exact=True).click()
    assert "It has a list of 3 users." in page.locator(".field-kind .errorlist").inner_text()
    snap(page, "delete-list")
    box.check()
    assert "It has 2 members: 0 entered, 1 left." in save(page).inner_text()


@pytest.mark.parametrize("script", [True, False])
def test_enter__in_a_field_saves(script, open_page, users, make):
    segment = make("vip", definition=FEW)
    page = open_page(change_url(segment), script=script)
    page.get_by_label("Name:").fill("Gold")
    page.get_by_label("Name:").press("Enter")
    page.locator(".messagelist").wait_for()
    assert Segment.objects.get().name == "Gold"


def test_focus__is_in_the_name_of_a_new_segment(open_page):
    page = open_page(ADD)
    page.wait_for_function("document.activeElement.name === 'name'")


def test_paste__that_is_too_long_goes_to_a_file(open_page, users, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000
    page = open_page(ADD)
    page.get_by_label("Name:").fill("Long")
    page.get_by_label("A list of users", exact=True).check()
    page.get_by_label("Users:").fill("1\n" * 300)
    for button in ("Preview", "Save"):
        page.get_by_role("button", name=button, exact=True).click()
        error = page.locator(".field-static_ids .errorlist")
        assert "Save it as a file, and upload that" in error.inner_text()
    page.get_by_label("SQL", exact=True).check()  # What is hidden is not sent.
    write(page, FEW)
    assert "2 members" in preview(page).inner_text()
    assert "was added successfully" in save(page).inner_text()


def test_paste__that_is_too_long_without_script(open_page, users, settings, snap):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 4_000
    page = open_page(ADD, script=False, expected=("Failed to load resource",))
    page.get_by_label("Name:").fill("Long")
    page.get_by_label("Users:").fill("1" * 5_000)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".errornote")).to_contain_text("Nothing was saved")
    snap(page, "too-large")
    page.go_back()
    expect(page.get_by_label("Name:")).to_have_value("Long")


@pytest.mark.parametrize(("status", "text"), [
    (413, "too long to paste"), (400, "too long to paste"), (403, "reload the page"),
    (500, "The server has failed"), (None, "Check your connection"),
])  # fmt: skip
def test_preview__says_why_there_is_none(status, text, open_page, users):
    page = open_page(ADD, expected=("Failed to load resource",))
    answer = (
        (lambda route: route.fulfill(status=status)) if status else (lambda r: r.abort("aborted"))
    )
    page.route("**/preview/", answer)
    write(page, FEW)
    page.get_by_role("button", name="Preview").click()
    page.get_by_text(text).wait_for()


def test_preview__after_the_session_has_ended(open_page, users):
    page = open_page(ADD)
    write(page, FEW)
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Preview").click()
    page.get_by_text("You are not logged in any more").wait_for()


def test_leaving__asks_only_if_something_would_be_lost(open_page, users, make):
    segment = make("vip", definition=FEW)
    page = open_page(change_url(segment))
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    overview = page.get_by_role("link", name="Overview")

    def stays():
        with page.expect_event("dialog"):
            overview.click(no_wait_after=True)

    page.get_by_label("SQL and a list", exact=True).check()
    page.get_by_label("SQL", exact=True).check()
    page.get_by_label("Description:").fill("New")
    page.get_by_label("Description:").fill("")
    with page.expect_navigation():
        overview.click()
    assert asked == []
    page.goto(change_url(segment))
    write(page, "SELECT nothing")
    stays()
    preview(page)
    stays()
    assert asked == ["beforeunload", "beforeunload"]
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".errornote")
    assert len(asked) == 2
    stays()
    write(page, FEW)
    save(page).wait_for()
    assert len(asked) == 3


def test_leaving__asks_if_only_a_file_was_chosen(open_page, users, make, tmp_path):
    (tmp_path / "pilot.csv").write_text("u1\n")
    segment = make("vip", definition=FEW)
    page = open_page(change_url(segment))
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("SQL and a list", exact=True).check()
    page.get_by_label("Or upload a file:").set_input_files(tmp_path / "pilot.csv")
    page.get_by_label("SQL", exact=True).check()
    page.get_by_label("SQL and a list", exact=True).check()
    with page.expect_event("dialog"):
        page.get_by_role("link", name="Overview").click(no_wait_after=True)


def test_editor__completes_what_may_be_read(open_page, users, make):
    make("vip", definition=FEW)
    with_names = []
    page = open_page("/admin/")
    page.on("response", lambda response: with_names.append(response.url))
    page.goto(ADD, wait_until="networkidle")
    assert any(url.endswith("/completion/") for url in with_names)
    editor(page).click()
    page.keyboard.type("SELECT user_id FROM segments.vi")
    page.locator(".cm-completionLabel", has_text="vip").wait_for()
    page.keyboard.press("Escape")
    write(page, "")
    page.keyboard.type(f"SELECT id FROM {USERS[:10]}")
    page.locator(".cm-completionLabel", has_text=USERS).first.wait_for()


def test_preview__compares_with_the_members_of_today(open_page, users, make, snap):
    segment = make("vip", definition=FEW)
    page = open_page(change_url(segment))
    write(page, FEW.replace("'u0', 'u2'", "'u2', 'u5', 'u7', 'u8'"))
    text = preview(page).inner_text()
    assert "2 now; 4 then; 1 leave, 3 enter" in text
    assert "u7" in text.partition("Enter")[2].partition("First")[0]
    assert "u0" in text.partition("Leave")[2].partition("Enter")[0]
    snap(page, "comparison")
    assert Segment.objects.get().definition == FEW
    text = save(page).inner_text()
    assert "It has 4 members: 3 entered, 1 left." in text


@pytest.mark.parametrize("script", [True, False])
def test_preview__downloads_all_who_leave(script, open_page, users, make, snap):
    model = type(users[0])
    model.objects.bulk_create(model(username=f"n{n}") for n in range(30))
    segment = make("vip", definition=f"SELECT id FROM {USERS}")
    page = open_page(change_url(segment), script=script)
    field = editor(page) if script else page.get_by_label("Definition:")
    if script:
        write(page, FEW)
        preview(page)
    else:
        field.fill(FEW)
        page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="Leave: first 10 of 38")).to_be_visible()
    snap(page, f"leaving-{script}")
    button = page.get_by_role("button", name="Download all who leave")
    with page.expect_download() as download:
        button.click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert (download.value.suggested_filename, len(lines)) == ("vip-leaving.csv", 39)
    assert lines[0] == "id,username,email"
    if script:
        write(page, "SELECT id FROM nowhere")
    else:
        field.fill("SELECT id FROM nowhere")
    button.click()
    problem = page.get_by_role("region", name="Preview")
    expect(problem).to_contain_text('relation "nowhere" does not exist')
    expect(field).to_contain_text("nowhere")
    assert Segment.objects.get().members_count == 40


def test_form__works_by_keyboard_alone(open_page, users):
    page = open_page(ADD)
    page.get_by_label("Name:").focus()
    page.keyboard.type("By keys")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.shadowRoot !== null"):
            break
    page.keyboard.insert_text(FEW)
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")  # It leaves the editor.
    for _ in range(30):
        if page.evaluate("document.activeElement.name") == "_preview":
            break
        page.keyboard.press("Tab")
    with page.expect_response("**/preview/"):
        page.keyboard.press("Enter")
    page.get_by_text("2 members", exact=True).wait_for()
    for _ in range(40):
        if page.evaluate("document.activeElement.name") == "_save":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist")
    assert Segment.objects.get().members_count == 2


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_form__is_for_everybody(size, scheme, open_page, users, make, accessible, snap):
    make("vip", definition=FEW)
    segment = make(
        "regulars",
        definition="SELECT user_id\nFROM segments.vip  -- the best\nWHERE user_id > 0",
        static_ids=users[:3],
    )
    page = open_page(change_url(segment), size=size, scheme=scheme)
    preview(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    accessible(page)
    snap(page, f"form-{scheme}-{size[0]}")
    write(page, "SELECT nothing\nFROM nowhere")
    preview(page)
    accessible(page)
    snap(page, f"form-error-{scheme}-{size[0]}")


def test_form__without_script_shows_all(open_page, users, visible):
    page = open_page(ADD, script=False)
    visible(page, "definition", "method", "static_ids", "file", "by")
    page.get_by_label("Name:").fill("Plain")
    page.get_by_label("Slug:").fill("plain")
    page.get_by_label("Definition:").fill(FEW)
    page.get_by_role("button", name="Preview").click()
    assert "2 members" in page.get_by_role("region", name="Preview").inner_text()
    assert "was added successfully" in save(page).inner_text()


def test_person__without_change_definition(open_page, person, users, make, accessible):
    segment = make("vip", definition=FEW)
    marketer = person("view_segment", "add_segment", "change_segment", name="marketer")
    page = open_page(change_url(segment), user=marketer)
    expect(page.locator(".field-name input")).to_be_visible()
    expect(page.get_by_role("textbox", name="Definition")).to_have_count(0)
    assert FEW in page.locator(".field-definition").inner_text()
    accessible(page)
    page.get_by_label("Users:").fill(str(users[5].pk))
    text = preview(page).inner_text()
    assert "3 members" in text
    assert "u5" not in text
    assert "Can see the members of segments" in text
    page.get_by_label("Name:").fill("Very important")
    assert "It has 3 members: 1 entered, 0 left." in save(page).inner_text()
    segment.refresh_from_db()
    assert (segment.name, segment.definition) == ("Very important", FEW)


def test_rename__offers_to_rewrite_the_readers(open_page, users, make):
    segment = make("vip", definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.vip")
    page = open_page(change_url(segment))
    page.get_by_label("Slug:").fill("gold")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".errornote")
    assert "loyal" in page.locator(".field-slug .errorlist").inner_text()
    page.get_by_label("Rewrite the definitions that read it").check()
    assert "was changed successfully" in save(page).inner_text()
    assert Segment.objects.get(slug="loyal").definition == "SELECT user_id FROM segments.gold"
