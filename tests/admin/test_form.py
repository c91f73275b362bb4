"""The form: kinds, what is not evaluated again, renames, the log, and how it is served."""

import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.urls import clear_script_prefix, reverse, set_script_prefix

from segments.exceptions import SegmentReadersError
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


def test_kind__decides_which_fields_count(users, make, browse):
    leftover = {"definition": FEW, "static_ids": str(users[5].pk), "method": ALL}
    browse(ADD, **form(kind="sql", **leftover))
    segment = Segment.objects.get()
    assert (segment.kind, len(segment), segment.static_ids) == ("sql", 2, "")
    change(browse, segment, kind="sql_and_list", **leftover)
    assert len(Segment.objects.get()) == 3
    change(browse, segment, kind="manager", **leftover)
    segment = Segment.objects.get()
    assert (segment.kind, segment.definition, segment.static_ids) == ("manager", "", "")
    change(browse, segment, kind="static", **leftover)
    segment = Segment.objects.get()
    assert (segment.kind, segment.static_ids) == ("static", str(users[5].pk))


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


def test_list__is_never_in_the_form(users, make, browse, django_assert_max_num_queries):
    segment = make(static_ids=users)
    with django_assert_max_num_queries(25):
        page = browse(CHANGE, segment.pk)
    assert f'10 users · <a href="{reverse(LIST, args=[segment.pk])}">' in page
    assert 'name="static_ids"' not in page


# What was not changed is not evaluated.


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


def test_rename__offers_nothing_that_cannot_be_done(users, make, browse, query):
    segment = make(definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.vip")
    Segment.objects.filter(slug="loyal").update(definition="SELECT user_id FROM segments.vip, no")
    for fields in ({}, {"rewrite_readers": "on"}):
        page = change(browse, segment, slug="gold", definition=FEW, **fields)
        assert "loyal (its definition is not valid)" in page
        assert "tick “Rewrite" not in page
    assert Segment.objects.filter(slug="vip").exists()


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
    for words in ("Name: “Vip” → “Gold”", f"Definition: “{FEW}” → “{other}”", "User ids",
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


def test_preview__needs_a_token(users, make, admin_user):
    from django.test import Client

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
