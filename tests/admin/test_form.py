"""The form: kinds, what is not evaluated again, renames, the log, and how it is served."""

import html
import json
import re
import struct

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import pre_save
from django.test import Client
from django.urls import clear_script_prefix, reverse, set_script_prefix

from segments import sync
from segments.admin.forms import SegmentForm
from segments.exceptions import SegmentExecutionError, SegmentLockedError, SegmentReadersError
from segments.models import Segment
from tests.admin.test_segment import ADD, ALL, browse, change, form
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

__all__ = ["browse"]

CHANGE = "admin:segments_segment_change"
LIST = "admin:segments_segment_list"
COMPLETION = "admin:segments_segment_completion"

FEW = f"SELECT id FROM {USERS} WHERE username IN ('u0', 'u2')"


@pytest.fixture
def broken(users, make, query):
    """A segment whose definition is no longer valid, since what it calls is gone."""
    query("CREATE TABLE fleeting AS SELECT id AS user_id FROM accounts_segmentableuser")
    segment = make("broken", definition="SELECT user_id FROM fleeting")
    Segment.objects.filter(pk=segment.pk).update(definition="SELECT user_id FROM nowhere")
    return Segment.objects.get(pk=segment.pk)


def value(page, name):
    """Return the value of an input."""
    return (
        re.search(rf'<input[^>]*name="{name}"[^>]*>', page)[0]
        .partition('value="')[2]
        .split('"')[0]
    )


# Kinds.


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"definition": FEW}, "sql"),
        ({"static_ids": "list"}, "static"),
        ({"definition": FEW, "static_ids": "list"}, "sql_and_list"),
        ({"manager_method": "all"}, "manager"),
        ({"manager_method": "all", "static_ids": "list"}, "manager_and_list"),
    ],
)
def test_kind__of_a_segment_is_chosen(fields, kind, users, make, browse):
    if "static_ids" in fields:
        fields = {**fields, "static_ids": users[:2]}
    segment = make(**fields)
    page = browse(CHANGE, segment.pk)
    (chosen,) = re.findall(r'<input[^>]*name="kind"[^>]*checked[^>]*>', page)
    assert f'value="{kind}"' in chosen
    assert ('value="manager_and_list"' in page) is (kind == "manager_and_list")


@pytest.mark.slow
def test_kind__decides_which_fields_count(users, make, browse):
    leftover = {"definition": FEW, "method": ALL}
    browse(ADD, **form(kind="sql", **leftover))
    segment = Segment.objects.get()
    assert (segment.kind, len(segment), segment.static_ids) == ("sql", 2, "")
    listed = leftover | {"static_ids": str(users[5].pk)}
    change(browse, segment, kind="sql_and_list", **listed)
    assert len(Segment.objects.get()) == 3
    change(browse, segment, kind="manager", delete_list="on", **leftover)
    segment = Segment.objects.get()
    assert (segment.kind, segment.definition, segment.static_ids) == ("manager", "", "")
    change(browse, segment, kind="static", **listed)
    segment = Segment.objects.get()
    assert (segment.kind, segment.static_ids) == ("static", str(users[5].pk))


def row_of(page, text):
    """Return the field in whose row an error stands; None if it is on top."""
    before = page[: page.index(text)]
    rows = re.findall(r'<div class="form-row[^"]*field-(\w+)"', before)
    return rows[-1] if rows else None


@pytest.mark.parametrize(("kind", "field", "text"), [
    ("sql", "definition", "Write the SQL that returns the users"),
    ("sql_and_list", "definition", "Write the SQL that returns the users"),
    ("manager", "method", "Choose the method that returns the users"),
])  # fmt: skip
def test_kind__needs_what_defines_it(kind, field, text, users, browse):
    others = {"definition": FEW, "method": ALL, "static_ids": str(users[0].pk)}
    for button in ({}, {"_preview": "1"}):
        page = browse(ADD, **form(kind=kind, **{**others, field: ""}, **button))
        assert row_of(page, text) == field
    assert not Segment.objects.exists()


@pytest.mark.parametrize(("kind", "hidden"), [
    ("sql", {"method": "shop.order.objects.gone"}),
    ("manager", {"definition": "SELECT \0"}),
    ("static", {"definition": "SELECT \0", "method": "shop.order.objects.gone"}),
])  # fmt: skip
def test_kind__has_no_errors_in_hidden_rows(kind, hidden, users, browse):
    shown = {
        "sql": {"definition": FEW}, "manager": {"method": ALL}, "static": {"begin_empty": "on"}
    }[kind]  # fmt: skip
    browse(ADD, **form(kind=kind, **shown, **hidden))
    assert Segment.objects.get().kind == kind


def test_error__of_the_definition_is_beside_the_method(users):
    form_of_method = SegmentForm(form(kind="manager", method=ALL))
    assert form_of_method.is_valid()
    error = SegmentExecutionError("it would read itself", field="definition")
    form_of_method._add(error)
    assert form_of_method.errors == {"method": ["it would read itself"]}


# Lists.


def test_list__is_begun_without_ids(users, make, browse):
    page = browse(ADD, **form(kind="static", begin_empty="on"))
    segment = Segment.objects.get()
    assert (segment.kind, segment.members_count) == ("static", 0)
    assert "Nobody is on its list yet: upload a file, or paste users, here." in page
    assert '<input type="file" name="file"' in page
    page = change(browse, segment, name="Other", kind="static")
    assert "Nobody is on its list yet" not in page


def test_list__is_begun_beside_sql(users, browse):
    page = browse(ADD, **form(kind="sql_and_list", definition=FEW, begin_empty="on"))
    assert "It has 2 members." in page
    assert '<input type="file" name="file"' in page
    assert "Nobody is on its list yet" not in browse(ADD, **form(slug="b", definition=FEW))


def test_list__is_begun_in_place_of_sql(users, make, browse):
    segment = make(definition=FEW)
    empty = {"kind": "static", "definition": FEW, "begin_empty": "on"}
    page = change(browse, segment, **empty, _preview="1")
    assert "2 now; 0 then; 2 leave, 0 enter" in page
    page = change(browse, segment, **empty)
    assert '<input type="file" name="file"' in page
    segment = Segment.objects.get()
    assert (segment.kind, segment.definition, segment.members_count) == ("static", "", 0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fields"), [
    ("sql", {"definition": FEW}), ("manager", {"method": ALL})
])  # fmt: skip
def test_list__is_deleted_only_if_asked(kind, fields, users, make, browse):
    segment = make(static_ids=users[:3])
    assert 'type="checkbox" name="delete_list"' not in browse(CHANGE, segment.pk)
    page = change(browse, segment, kind=kind, **fields)
    assert row_of(page, "It has a list of 3 users.") == "kind"
    assert "tick “Delete its list of 3 users”" in page
    assert 'type="checkbox" name="delete_list"' in page
    assert len(Segment.objects.get().static_ids.split()) == 3
    page = change(browse, segment, kind=kind, **fields, _preview="1")
    assert 'type="checkbox" name="delete_list"' in page
    assert "It has a list of" not in page
    change(browse, segment, kind=kind, delete_list="on", **fields)
    segment = Segment.objects.get()
    assert (segment.kind, segment.static_ids) == (kind, "")
    assert "Delete its list of 3 users" in LogEntry.objects.get().get_change_message()


def test_list__stays_if_the_other_kind_is_empty(users, make, browse):
    segment = make(static_ids=users[:3])
    page = change(browse, segment, kind="sql", delete_list="on")
    assert row_of(page, "Write the SQL that returns the users") == "definition"
    assert len(Segment.objects.get()) == 3


# Other fields.


def test_method__of_another_model(orders, browse):
    browse(ADD, **form(kind="manager", method="shop.order.objects.large"))
    segment = Segment.objects.get()
    assert (segment.manager_method, segment.model.model, len(segment)) == ("large", "order", 8)
    page = browse(CHANGE, segment.pk)
    assert '<option value="shop.order.objects.large" selected>' in page
    assert "Orders of the last two hours" in page


def test_interval__is_read_and_shown_in_words(users, make, browse):
    segment = make(definition=FEW)
    change(browse, segment, definition=FEW, refresh_every="every 90 min", timeout="PT5M")
    page = browse(CHANGE, segment.pk)
    assert value(page, "refresh_every") == "1 hour 30 minutes"
    assert value(page, "timeout") == "5 minutes"


@pytest.mark.parametrize("text", ["1", "90", "-1", "0", "1.5"])
@pytest.mark.parametrize("field", ["refresh_every", "timeout"])
def test_interval__has_a_unit(field, text, users, browse):
    page = browse(ADD, **form(definition=FEW, **{field: text}))
    assert row_of(page, "Write a length of time with its unit") == field


@pytest.mark.parametrize("text", ["0 s", "0 hours", "-1 00:00:00", "PT0S"])
@pytest.mark.parametrize("field", ["refresh_every", "timeout"])
def test_interval__is_above_zero(field, text, users, browse):
    page = browse(ADD, **form(definition=FEW, **{field: text}))
    assert row_of(page, "Write a length of time above zero, or nothing.") == field


def test_interval__of_zero_can_be_kept(users, make, browse):
    segment = make(definition=FEW, refresh_every=0)
    change(browse, segment, name="Other", definition=FEW, refresh_every="0 seconds")
    assert Segment.objects.get().name == "Other"


def test_help__says_what_holds_without_a_value(browse, settings):
    page = browse(ADD)
    for words in ("no schedule refreshes it", "Empty means 5 minutes", "Empty or 100 means no"):
        assert words in page
    settings.SEGMENTS_REFRESH_EVERY = 7200
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0
    settings.SEGMENTS_MAX_LOSS = 30
    page = browse(ADD)
    for words in ("Empty means every 2 hours", "Empty means no limit", "Empty means 30, as"):
        assert words in page
    assert "no schedule refreshes it" not in page


@pytest.mark.slow
def test_help__explains_the_words(users, make, browse):
    segment = make(definition=FEW)
    page = browse(CHANGE, segment.pk)
    for row, words in (
        ("view_name", "Where SQL and other tools read its members."),
        ("next_refresh", "nothing refreshes it by itself"),
        ("priority", "with a higher number are refreshed first"),
    ):
        assert row_of(page, words) == row
    page = browse(CHANGE, segment.pk, **form(definition=FEW), _preview="1")
    for words in ("as the database estimates it", "Written as table.column"):
        assert words in page


def test_list__is_never_in_the_form(users, make, browse, django_assert_max_num_queries):
    segment = make(static_ids=users)
    with django_assert_max_num_queries(25):
        page = browse(CHANGE, segment.pk)
    assert f'10 users · <a href="{reverse(LIST, args=[segment.pk])}">' in page
    assert 'name="static_ids"' not in page


# What was not changed is not evaluated.


@pytest.mark.slow
def test_change__of_the_words_of_a_broken_segment(broken, browse):
    page = change(
        browse, broken, slug="mended", name="Mended", description="It is off", is_active="",
        definition=broken.definition, kind="sql",
    )  # fmt: skip
    assert "was changed successfully" in page
    segment = Segment.objects.get()
    assert (segment.slug, segment.name, segment.description) == ("mended", "Mended", "It is off")
    assert not segment.is_active
    assert segment.refreshes.count() == 1
    assert len(segment.members) == 10


@pytest.mark.slow
def test_change__of_a_segment_whose_method_is_gone(users, make, browse):
    segment = make(manager_method="all")
    Segment.objects.update(manager_method="gone")
    gone = ALL.replace("all", "gone")
    page = browse(CHANGE, segment.pk)
    assert f'<option value="{gone}" selected>{gone} (not found)</option>' in page
    change(browse, segment, name="Other", kind="manager", method=gone)
    assert Segment.objects.get().name == "Other"
    page = change(browse, segment, kind="manager", method=ALL.replace("all", "lost"))
    assert "Select a valid choice" in page


@pytest.mark.parametrize("saved", ["\n", "\r\n"])
def test_change__of_line_ends_is_none(saved, users, make, browse):
    definition = f"SELECT id{saved}FROM {USERS}{saved}"
    segment = make(definition=definition)
    page = change(
        browse, segment, name="Other", kind="sql", definition=f"SELECT id\r\nFROM {USERS}"
    )
    assert "was changed successfully" in page
    segment.refresh_from_db()
    assert (segment.name, segment.definition) == ("Other", definition)
    assert segment.refreshes.count() == 1
    entry = LogEntry.objects.get(object_id=segment.pk)
    assert "Definition" not in entry.change_message


@pytest.mark.parametrize("saved", ["\n", "\r\n"])
def test_change__of_line_ends_of_the_description_is_none(saved, users, make, browse):
    description = f"For mailings.{saved}#mailing"
    segment = make(definition=FEW, description=description)
    sent = description.replace("\r", "").replace("\n", "\r\n")
    change(browse, segment, name="Other", definition=FEW, description=sent)
    segment.refresh_from_db()
    assert (segment.name, segment.description) == ("Other", description)
    assert "Description" not in LogEntry.objects.get().change_message
    change(browse, segment, name="Other", definition=FEW, description=f"{sent}\r\nNew")
    segment.refresh_from_db()
    assert segment.description == "For mailings.\n#mailing\nNew"


def test_change__of_an_expensive_segment_that_was_allowed(users, browse, settings):
    settings.SEGMENTS_MAX_COST = 1
    browse(ADD, **form(definition=FEW, kind="sql", allow_cost="on"))
    segment = Segment.objects.get()
    page = change(browse, segment, slug="gold", name="Gold", definition=FEW, kind="sql")
    assert "was changed successfully" in page
    assert Segment.objects.get().slug == "gold"
    page = change(browse, segment, slug="gold", definition=f"{FEW} OR is_staff", kind="sql")
    assert "SEGMENTS_MAX_COST is 1" in page


# Messages, renames and the log.


@pytest.mark.slow
def test_message__has_the_numbers(users, browse, settings):
    page = browse(ADD, **form(definition=FEW))
    assert "was added successfully. It has 2 members." in page
    segment = Segment.objects.get()
    page = change(browse, segment, definition=FEW.replace("'u2'", "'u5', 'u6'"))
    assert "It has 3 members: 2 entered, 1 left." in page
    page = change(browse, segment, definition=segment.definition.replace("'u2'", "'u5', 'u6'"))
    assert "entered" not in page.partition("messagelist")[2].partition("</ul>")[0]
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    page = change(browse, segment, definition=FEW)
    assert "Its members change at the next refresh." in page


@pytest.mark.slow
def test_message__of_a_save_that_leaves_it_to_a_worker(users, make, browse, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    page = browse(ADD, **form(definition=FEW))
    assert "was added successfully. A worker will refresh it." in page
    assert 'data-word="queued"' in page
    segment = Segment.objects.get()
    segment.refresh()
    page = change(browse, segment, name="Other", definition=FEW)
    assert "A worker" not in page
    assert 'data-word="queued"' not in page
    page = change(browse, segment, definition=f"{FEW} AND id > 0")
    assert "was changed successfully. A worker will refresh it." in page
    assert 'data-word="queued"' in page


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_message__where_views_follow_on_commit(exec_alias, users, browse, query, clean_views):
    page = browse(ADD, **form(definition=FEW))
    assert "was added successfully." in page
    assert '<li class="success">It has 2 members.</li>' in page
    query("CREATE TABLE fleeting AS SELECT id AS user_id FROM accounts_segmentableuser")

    def drop(**kwargs):
        transaction.on_commit(lambda: query("DROP TABLE fleeting"))

    pre_save.connect(drop, sender=Segment)
    try:
        page = change(browse, Segment.objects.get(), definition="SELECT user_id FROM fleeting")
    finally:
        pre_save.disconnect(drop, sender=Segment)
    assert "was changed successfully." in page
    failure = page.partition('<li class="error">It was saved, but its refresh failed: ')[2]
    assert 'relation "fleeting" does not exist' in failure.partition("</li>")[0]


def test_save__that_is_refused_keeps_what_was_typed(users, make, browse):
    segment = make(definition=FEW)
    list(sync.detach())
    typed = f"{FEW} AND id > 0"
    page = change(browse, segment, name="Other", kind="sql", definition=typed)
    assert "it is detached from its tables" in page
    assert row_of(page, "it is detached from its tables") is None
    assert html.escape(typed, quote=False) in html.escape(page, quote=False)
    assert value(page, "name") == "Other"
    segment.refresh_from_db()
    assert (segment.name, segment.definition) == ("Vip", FEW)


def test_save__of_a_new_segment_that_is_refused(users, browse):
    def refuse(**kwargs):
        raise SegmentLockedError("somebody works on it", field="slug")

    pre_save.connect(refuse, sender=Segment)
    try:
        page = browse(ADD, **form(kind="sql", definition=FEW))
    finally:
        pre_save.disconnect(refuse, sender=Segment)
    assert row_of(page, "somebody works on it") == "slug"
    assert FEW in page
    assert not Segment.objects.exists()
    assert "was added successfully" in browse(ADD, **form(kind="sql", definition=FEW))


@pytest.mark.slow
def test_rename__rewrites_the_readers_if_asked(users, make, browse):
    segment = make(definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.vip")
    assert 'type="checkbox" name="rewrite_readers"' not in browse(CHANGE, segment.pk)
    page = change(browse, segment, slug="gold", definition=FEW)
    assert "because definitions read segments.vip: loyal" in page
    assert "tick “Rewrite the definitions that read it”" in page
    assert 'type="checkbox" name="rewrite_readers"' in page
    page = change(browse, segment, slug="gold", name="G", definition=FEW, rewrite_readers="on")
    assert "was changed successfully" in page
    assert Segment.objects.get(slug="loyal").definition == "SELECT user_id FROM segments.gold"
    assert Segment.objects.get(slug="gold").name == "G"
    assert Segment.objects.get(slug="loyal").refresh().error is None


@pytest.mark.slow
def test_rename__offers_nothing_that_cannot_be_done(users, make, browse, query):
    segment = make(definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.vip")
    Segment.objects.filter(slug="loyal").update(definition="SELECT user_id FROM segments.vip, no")
    for fields in ({}, {"rewrite_readers": "on"}):
        page = change(browse, segment, slug="gold", definition=FEW, **fields)
        assert "loyal (its definition is not valid)" in page
        assert "tick “Rewrite" not in page
    assert Segment.objects.filter(slug="vip").exists()


@pytest.mark.slow
def test_save__rewrites_the_readers_once(users, make):
    segment = make(definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.vip")
    segment.slug = "gold"
    with pytest.raises(SegmentReadersError):
        segment.save()
    segment.rewrite_readers = True
    segment.full_clean()
    segment.save()
    assert Segment.objects.get(slug="loyal").definition == "SELECT user_id FROM segments.gold"
    assert not segment.rewrite_readers


def test_log__has_values_before_and_after(users, make, browse, client):
    segment = make(definition=FEW, refresh_every=3600)
    other = f"SELECT id FROM {USERS} WHERE username <> '<b>{{x}}</b>'"
    change(
        browse, segment, name="Gold", kind="sql_and_list", definition=other,
        static_ids=str(users[1].pk), refresh_every="2 hours",
    )  # fmt: skip
    message = LogEntry.objects.get().get_change_message()
    for words in ("Name: “Vip” → “Gold”", f"Definition: “{FEW}” → “{other}”", "Users",
                  "Refresh every: “1 hour” → “2 hours”"):  # fmt: skip
        assert words in message
    page = browse("admin:segments_segment_history", segment.pk)
    assert "“Vip” → “Gold”" in page


def test_log__of_the_method_has_both(users, make, browse):
    segment = make(definition=FEW)
    change(browse, segment, kind="manager", method=ALL)
    message = LogEntry.objects.get().get_change_message()
    assert f"Method: empty → “{ALL}”" in message
    assert f"Definition: “{FEW}” → empty" in message


# How it is served.


def test_preview__answers_the_script(users, make, admin_client):
    segment = make(definition=FEW)
    url = reverse("admin:segments_segment_preview", args=[segment.pk])
    data = form(kind="sql", definition="SELECT id\nFROM nowhere", name="")
    answer = admin_client.post(url, data).json()
    (place,) = answer["places"]
    assert (place["line"], place["column"]) == (2, 6)
    assert 'relation "nowhere" does not exist' in answer["errors"]["definition"][0]["message"]
    data["definition"] = FEW.replace("'u0'", "'<i>'")
    answer = admin_client.post(url, data).json()
    assert (answer["errors"], answer["places"]) == ({}, [])
    assert "2 now; 1 then; 1 leave, 0 enter" in answer["html"]
    assert Segment.objects.get().definition == FEW
    assert admin_client.get(url).status_code == 403
    unknown = reverse("admin:segments_segment_preview", args=[segment.pk + 1])
    assert admin_client.post(unknown, data).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("middleware", [True, False])
@pytest.mark.parametrize("saved", [True, False])
def test_form__that_is_too_large(middleware, saved, users, make, admin_user, settings):
    if middleware:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    segment = make(definition=FEW)
    url = reverse(CHANGE, args=[segment.pk]) if saved else reverse(ADD)
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    page = client.get(url).content.decode()
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 4096
    data = form(kind="static", name="New", slug="new", static_ids=str(users[3].pk))
    assert client.post(url, data).status_code == 403
    data["csrfmiddlewaretoken"] = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page)[1]
    for button in ({}, {"_preview": "1"}):
        response = client.post(url, data | {"static_ids": "1\n" * 3000} | button)
        assert response.status_code == 413
        page = html.unescape(response.content.decode())
        assert "Nothing was saved: the form takes 4.0\xa0KB at most." in page
        assert "Save the list as a file, and upload that instead." in page
    assert Segment.objects.get().definition == FEW
    assert client.post(url, data | {"delete_list": "on"}).status_code == 302
    assert Segment.objects.get(slug="new").kind == "static"


def test_form__too_large_of_somebody_else(make, users, client, django_user_model, settings):
    segment = make(definition=FEW)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2048
    somebody = django_user_model.objects.create_user("somebody", is_staff=True)
    client.force_login(somebody)
    data = {"static_ids": "1\n" * 2000}
    assert client.post(reverse(CHANGE, args=[segment.pk]), data).status_code == 403
    assert client.post(reverse(ADD), data).status_code == 403
    assert client.post(reverse(CHANGE, args=[segment.pk + 1]), data).status_code == 403


def test_preview__says_that_a_list_would_be_deleted(users, make, browse):
    segment = make(static_ids=users[:3])
    page = change(browse, segment, kind="sql", definition=FEW, _preview="1")
    assert "Saving deletes its list of 3 users." in page


def test_rename__that_is_refused_shows_the_view_that_exists(users, make, browse):
    segment = make(definition=FEW)
    make("reader", definition="SELECT user_id FROM segments.vip")
    page = change(browse, segment, slug="gold", definition=FEW)
    assert "reader" in page
    assert "segments.vip</div>" in page.replace(" ", "")
    assert "segments.gold</div>" not in page.replace(" ", "")


def test_slug__that_is_taken_is_said_once(users, make, browse):
    make(definition=FEW)
    make("win-back", definition=FEW)
    for slug in ("vip", "win_back"):
        page = browse(ADD, **form(name="Other", slug=slug, definition=FEW))
        assert page.count("errorlist") == 1
        assert row_of(page, "Another segment has this slug.") == "slug"


def test_preview__needs_a_token(users, make, admin_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    url = reverse("admin:segments_segment_add_preview")
    assert client.post(url, form(definition=FEW)).status_code == 403


def test_preview__escapes_names(users, make, admin_client):
    type(users[0]).objects.filter(username="u0").update(username="<script>alert(1)</script>")
    url = reverse("admin:segments_segment_add_preview")
    definition = f"SELECT id FROM {USERS} WHERE username LIKE '<script>%'"
    html = admin_client.post(url, form(definition=definition)).json()["html"]
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in html


def test_completion__is_for_authors(users, make, admin_client, client, django_user_model):
    make("vip")
    answer = admin_client.get(reverse(COMPLETION)).json()
    assert "username" in answer["schema"]["public"][USERS]
    assert answer["schema"]["segments"]["vip"] == ["user_id"]
    from django.contrib.auth.models import Permission

    editor = django_user_model.objects.create_user("editor", is_staff=True)
    editor.user_permissions.set(Permission.objects.filter(codename="change_segment"))
    client.force_login(editor)
    assert client.get(reverse(COMPLETION)).status_code == 403


@pytest.mark.slow
def test_keys__stay_keys_with_thousand_separators(users, browse, settings, query):
    settings.USE_THOUSAND_SEPARATOR = True
    query("SELECT setval(pg_get_serial_sequence('segments_segment', 'id'), 12345)")
    user = type(users[0]).objects.create(pk=1234567, username="many")
    page = browse(ADD, **form(static_ids=str(user.pk), kind="static"), _preview="1")
    assert 'many <span class="quiet">(1234567)</span>' in page
    browse(ADD, **form(static_ids=str(user.pk), kind="static"))
    segment = Segment.objects.get()
    assert segment.pk == 12346
    assert f'data-segments-preview="/admin/segments/segment/{segment.pk}/preview/"' in (
        browse(CHANGE, segment.pk)
    )


@pytest.mark.slow
def test_numbers__are_written_in_one_way(users, make, browse, settings, django_user_model):
    settings.LANGUAGE_CODE = "de"
    django_user_model.objects.bulk_create(
        [django_user_model(username=f"many{n}") for n in range(1200)]
    )
    many = f"SELECT id FROM {USERS} WHERE username LIKE 'many%'"
    segment = make(static_ids=django_user_model.objects.filter(username__startswith="many"))
    assert "1.200 users" in browse(CHANGE, segment.pk)
    page = browse(ADD, **form(slug="b", definition=many))
    assert "It has 1.200 members." in page
    segment = Segment.objects.get(slug="b")
    page = change(browse, segment, slug="b", definition=f"{many} AND id < 0", _preview="1")
    assert "1.200 now; 0 then; 1.200 leave, 0 enter" in page
    page = change(browse, segment, slug="b", definition=f"{many} AND id < 0")
    assert "0 entered, 1.200 left" in page
    assert "1,200" not in page


@pytest.mark.slow
def test_warnings__can_be_translated(users, browse, settings, tmp_path):
    words = {
        "Its cost of %(cost)s is above SEGMENTS_MAX_COST, which is %(limit)s.": (
            "%(cost)s kostet es, mehr als %(limit)s."
        ),
        "The segment has no members.": "Niemand ist darin.",
    }
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "django.mo").write_bytes(compiled(words))
    settings.LOCALE_PATHS, settings.LANGUAGE_CODE = [tmp_path], "de"
    settings.SEGMENTS_MAX_COST = 1_234
    series = "generate_series(1, 1000)"
    definition = f"SELECT u.id FROM {USERS} u, {series} a, {series} b WHERE a < 0"
    page = browse(ADD, **form(definition=definition), _preview="1")
    assert "Niemand ist darin." in page
    assert re.search(r"\b[\d.]+\.\d{3} kostet es, mehr als 1\.234\.", page)
    settings.LANGUAGE_CODE = "en"
    page = browse(ADD, **form(definition=definition), _preview="1")
    assert re.search(r"Its cost of [\d,]+,\d{3} is above SEGMENTS_MAX_COST, which is 1,234", page)


def compiled(words):
    """Return translations as a file that gettext reads."""
    texts = {"": "Content-Type: text/plain; charset=UTF-8\n"} | words
    pairs = sorted((key.encode(), text.encode()) for key, text in texts.items())
    head, tables, data = 28, [], b""
    start = head + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            tables += [len(pair[column]), start + len(data)]
            data += pair[column] + b"\0"
    header = (0x950412DE, 0, len(pairs), head, head + 8 * len(pairs), 0, start)
    return struct.pack(f"<{7 + len(tables)}I", *header, *tables) + data


def test_addresses__are_behind_a_prefix(users, make, admin_client):
    segment = make(definition=FEW)
    url = reverse(CHANGE, args=[segment.pk])
    set_script_prefix("/shop/")  # As the handler of a server does.
    try:
        page = admin_client.get(url).content.decode()
    finally:
        clear_script_prefix()
    assert f'data-segments-preview="/shop/admin/segments/segment/{segment.pk}/preview/"' in page
    assert 'data-completion="/shop/admin/segments/segment/completion/"' in page


@pytest.mark.slow
def test_static_files__have_names_by_their_content(tmp_path, settings, users, browse):
    settings.STATIC_ROOT = tmp_path
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    call_command("collectstatic", verbosity=0, interactive=False)
    files = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    page = browse(ADD)
    for name in ("editor.js", "form.js", "form.css", "admin.css"):
        assert f'static/{files[f"segments/{name}"]}"' in page


def test_page__has_nothing_inline(users, make, browse):
    page = browse(CHANGE, make(definition=FEW).pk)
    assert not re.findall(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\bsrc=)", page)
