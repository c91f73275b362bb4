"""What people do with segments in the admin: compare, export, copy, look at users, restore."""

import csv
import html
import io
import re
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse, set_script_prefix
from django.utils import formats, timezone

from segments.admin import SegmentAdmin, SegmentMembershipInline, charts
from segments.admin.actions import free_slug
from segments.models import Membership, Segment, SegmentChange, SegmentRefresh
from segments.saving import acting
from tests.admin.test_pages import OVERVIEW, browse, person, strict
from tests.admin.test_segment import LIST
from tests.conftest import USERS

__all__ = ["browse", "person"]

pytestmark = pytest.mark.django_db

COMPARE = "admin:segments_segment_compare"
EXPORT = "admin:segments_segment_export"
CHANGES = "admin:segments_segment_changes"
VERSIONS = "admin:segments_segment_versions"
RESTORE = "admin:segments_segment_restore"
USER = "admin:segments_segment_user"


class PeopleAdmin(admin.ModelAdmin):
    inlines = (SegmentMembershipInline,)


site = admin.AdminSite()
site.register(Segment, SegmentAdmin)
site.register(get_user_model(), PeopleAdmin)

urlpatterns = [path("admin/", site.urls)]
"""An admin site whose users show their segments."""

CHANGE_USER = "admin:accounts_segmentableuser_change"


def select(condition):
    return f"SELECT id FROM {USERS} WHERE username {condition}"


@pytest.fixture
def three(users, make):
    """Three segments: u0 to u5, u4 to u9, and nobody."""
    return (
        make("low", definition=select("BETWEEN 'u0' AND 'u5'")),
        make("high", definition=select("BETWEEN 'u4' AND 'u9'")),
        make("none", definition=select("= ''")),
    )


def act(browse, action, *segments):
    keys = [str(segment.pk) for segment in segments]
    return browse(LIST, action=action, _selected_action=keys)


def of(name, *segments):
    return "&".join(f"{name}={segment.pk}" for segment in segments)


# Compare.


def test_compare__shows_counts_and_shares(three, browse):
    page = act(browse, "compare_selected", *three)
    cells = re.findall(r'<td class="segments-shade-(\w+)"><a[^>]*>(\d+)<', page)
    assert cells == [
        ("same", "6"), ("2", "2"), ("0", "0"),
        ("2", "2"), ("same", "6"), ("0", "0"),
        ("0", "0"), ("0", "0"), ("same", "0"),
    ]  # fmt: skip
    assert "33%" in page


def test_compare__lists_the_users_of_a_cell(three, browse):
    low, high, _ = three
    query = f"?{of('segment', *three)}&{of('inside', low, high)}"
    page = browse(COMPARE, query=query)
    assert "2 users" in page
    assert re.findall(r'<th scope="row">(?:<a[^>]*>)?(u\d)<', page) == ["u4", "u5"]
    page = browse(
        COMPARE, query=f"?{of('segment', *three)}&{of('inside', low)}&{of('outside', high)}"
    )
    assert re.findall(r'<th scope="row">(?:<a[^>]*>)?(u\d)<', page) == ["u0", "u1", "u2", "u3"]
    assert "Low, not in High" in page


@pytest.mark.slow
def test_compare__makes_a_segment_of_a_cell(three, admin_client):
    low, high, _ = three
    url = reverse(COMPARE) + f"?{of('segment', *three)}"
    both = admin_client.post(
        f"{url}&{of('inside', low, high)}", {"name": "Both", "slug": "both"}, follow=True
    )
    assert "Both was added. 2 members after" in both.content.decode()
    admin_client.post(
        f"{url}&{of('inside', low)}&{of('outside', high)}", {"name": "Only", "slug": "only"}
    )
    assert {s.slug: len(s) for s in Segment.objects.filter(slug__in=["both", "only"])} == {
        "both": 2, "only": 4,
    }  # fmt: skip
    assert "From a comparison: Low, not in High" in {
        entry.get_change_message() for entry in LogEntry.objects.all()
    }
    taken = admin_client.post(
        f"{url}&{of('inside', low, high)}", {"name": "My typing", "slug": "both"}
    )
    assert taken.status_code == 200
    page = html.unescape(taken.content.decode())
    assert "errorlist" in page
    assert re.search(r'name="name" value="My typing"', page)
    assert re.search(r'name="slug" value="both"', page)
    assert Segment.objects.count() == 5


@pytest.mark.slow
def test_compare__makes_exactly_what_it_lists(three, make, users, browse):
    low, high, _ = three
    five = make("five", definition=select("= 'u5'"))
    inside = f"{of('inside', low, high)}&{of('outside', five, three[2])}"
    query = f"?{of('segment', *three, five)}&{inside}"
    assert re.findall(r'row">(?:<a[^>]*>)?(u\d)<', browse(COMPARE, query=query)) == ["u4"]
    page = browse(COMPARE, query=query, name="Four", slug="four")
    assert "Four was added. 1 member after" in page
    assert list(Segment.objects.get(slug="four").members) == [users[4]]


def test_compare__makes_no_segment_of_one_segment(three, browse, admin_client):
    low, high, _ = three
    query = f"?{of('segment', low, high)}&{of('inside', low)}"
    page = browse(COMPARE, query=query)
    assert "Make this a segment" not in page
    assert "These are the members of Low, which is a segment already." in page
    data = {"name": "Again", "slug": "again"}
    assert admin_client.post(reverse(COMPARE) + query, data).status_code == 403
    assert Segment.objects.count() == 3


def test_compare__says_who_may_make_a_segment(three, person):
    low, high, _ = three
    client = person("view_segment", "view_members", "add_segment")
    url = reverse(COMPARE) + f"?{of('segment', low, high)}&{of('inside', low, high)}"
    page = client.get(url).content.decode()
    assert "Make this a segment" not in page
    for codename in ("add_segment", "change_definition"):
        assert f"“{Permission.objects.get(codename=codename).name}”" in page


def test_compare__made_without_a_refresh_has_no_number(three, browse, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    low, high, _ = three
    query = f"?{of('segment', low, high)}&{of('inside', low, high)}"
    page = browse(COMPARE, query=query, name="Both", slug="both")
    assert "Both was added. It has no members before its first refresh." in page


def test_compare__exports_a_cell(three, admin_client, person):
    low, high, _ = three
    url = reverse("admin:segments_segment_compare_download") + f"?{of('inside', low, high)}"
    response = admin_client.get(url)
    assert response["Content-Disposition"] == 'attachment; filename="low-and-high.csv"'
    lines = read(response).decode().splitlines()
    assert [line.split(",")[1] for line in lines] == ["username", "u4", "u5"]
    logged = LogEntry.objects.filter(object_id__in=[low.pk, high.pk])
    assert {entry.get_change_message() for entry in logged} == {
        "Exported 2 users of a comparison (Low and High): pk, username, email"
    }
    assert logged.count() == 2
    only = admin_client.get(url.replace("?", f"?{of('outside', three[2])}&"))
    assert only["Content-Disposition"] == 'attachment; filename="low-and-high-not-none.csv"'
    assert len(read(only).splitlines()) == 3
    assert admin_client.get(url.partition("?")[0]).status_code == 302
    client = person("view_segment")
    assert client.get(url).status_code == 403


@pytest.mark.parametrize("number", [0, 1, 7])
def test_compare__takes_two_to_six(number, users, make, browse):
    keys = [make(f"s{n}") for n in range(number)]
    if number:
        assert "Choose from 2 to 6 segments" in act(browse, "compare_selected", *keys)
    url = reverse(COMPARE) + f"?{of('segment', *keys)}&segment=x"
    client = browse.__closure__[0].cell_contents
    page = client.get(url, follow=True).content.decode()
    assert "Choose from 2 to 6 segments" in page


def test_compare__follows_permissions(three, person):
    low, high, _ = three
    client = person("view_segment")
    url = reverse(COMPARE) + f"?{of('segment', low, high)}"
    page = client.get(url).content.decode()
    assert ">2 <" in page
    assert "inside=" not in page
    assert client.get(f"{url}&{of('inside', low, high)}").status_code == 403
    answer = client.post(f"{url}&{of('inside', low, high)}", {"slug": "x"})
    assert answer.status_code == 403
    assert Segment.objects.count() == 3


# Export.


def read(response):
    return b"".join(response.streaming_content)


def test_export__of_one_is_a_csv_and_logged(three, admin_client, settings):
    settings.ROOT_URLCONF = "tests.admin.test_work"
    response = admin_client.get(reverse(EXPORT, args=[three[0].pk]))
    assert response["Content-Disposition"] == 'attachment; filename="low.csv"'
    rows = list(csv.reader(io.StringIO(read(response).decode())))
    assert rows[0] == ["id", "username", "email"]
    assert [row[1] for row in rows[1:]] == [f"u{n}" for n in range(6)]
    (entry,) = LogEntry.objects.all()
    assert entry.get_change_message() == "Exported 6 members: pk, username, email"


def test_export__of_several_is_an_archive(three, admin_client):
    data = {"action": "export_selected", "_selected_action": [str(s.pk) for s in three]}
    response = admin_client.post(reverse(LIST), data)
    archive = zipfile.ZipFile(io.BytesIO(read(response)))
    assert sorted(archive.namelist()) == ["high.csv", "low.csv", "none.csv"]
    assert archive.read("none.csv") == b"id,username,email\n"


def test_export__follows_permissions(three, person, settings):
    settings.ROOT_URLCONF = "tests.admin.test_work"
    client = person("view_segment", "view_members")
    assert read(client.get(reverse(EXPORT, args=[three[0].pk]))).startswith(b"id\n")
    get_user_model().objects.get(username="somebody").user_permissions.clear()
    assert client.get(reverse(EXPORT, args=[three[0].pk])).status_code == 403


# Duplicate and freeze.


@pytest.mark.slow
def test_duplicate__opens_the_copy(three, browse):
    page = act(browse, "duplicate_selected", three[0])
    copy = Segment.objects.get(slug="low-copy")
    assert copy.definition == three[0].definition
    assert "low-copy" in page
    assert "1 segment" not in act(browse, "duplicate_selected", *three)
    assert Segment.objects.filter(slug="low-copy-2").exists()
    assert LogEntry.objects.count() == 4


@pytest.mark.slow
def test_duplicate__of_sql_needs_the_permission(three, make, users, person):
    listed = make("listed", static_ids=users[:2])
    client = person("view_segment", "add_segment")
    keys = [str(three[0].pk), str(listed.pk)]
    data = {"action": "duplicate_selected", "_selected_action": keys}
    page = client.post(reverse(LIST), data, follow=True).content.decode()
    assert "Low was not duplicated: you may not write definitions." in page
    assert set(Segment.objects.filter(slug__endswith="-copy").values_list("slug", flat=True)) == {
        "listed-copy"
    }


@pytest.mark.slow
def test_freeze__keeps_the_members_as_a_list(three, browse):
    act(browse, "freeze_selected", three[0])
    frozen = Segment.objects.get(slug__startswith="low-20")
    assert (frozen.kind, len(frozen)) == ("static", 6)


def test_freeze__needs_to_see_members(three, person):
    client = person("view_segment", "add_segment")
    data = {"action": "freeze_selected", "_selected_action": [str(three[0].pk)]}
    client.post(reverse(LIST), data)
    assert Segment.objects.count() == 3


def test_free_slug__is_short_and_not_taken(users, make):
    make("a" * 63)
    assert free_slug("a" * 63, "copy") == "a" * 58 + "-copy"
    make("b-copy")
    assert free_slug("b", "copy") == "b-copy-2"


# Changes.


def test_changes__of_a_refresh_and_since_a_day(staff, users, make, browse):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE is_staff AND username LIKE 'u%'")
    staff(2, 4, 6, 8, 9)
    type(users[0]).objects.filter(username="admin").update(is_staff=True)
    refresh = SegmentRefresh.objects.get(pk=segment.refresh().refresh_id)
    page = browse(CHANGES, segment.pk, query=f"?refresh={refresh.pk}")
    assert re.findall(r'row">(?:<a[^>]*>)?(u\d)<', page) == ["u0", "u9"] or re.findall(
        r'row">(?:<a[^>]*>)?(u\d)<', page
    ) == ["u9", "u0"]
    entered = browse(CHANGES, segment.pk, query=f"?refresh={refresh.pk}&which=entered")
    assert re.findall(r'row">(?:<a[^>]*>)?(u\d)<', entered) == ["u9"]
    today = browse(CHANGES, segment.pk, query="?which=left")
    assert re.findall(r'row">(?:<a[^>]*>)?(u\d)<', today) == ["u0"]
    overview = browse(OVERVIEW, segment.pk)
    assert f"/changes/?refresh={refresh.pk}&which=entered" in overview


def test_changes__open_on_the_last_refresh_that_changed_anything(staff, users, make, browse):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE is_staff AND username LIKE 'u%'")
    assert "Since 20" in browse(CHANGES, segment.pk)
    staff(2, 4, 6, 8, 9)
    type(users[0]).objects.filter(username="admin").update(is_staff=True)
    refresh = segment.refresh().refresh_id
    segment.refresh(force=True)
    week = timedelta(days=8)
    SegmentRefresh.objects.update(started_at=timezone.now() - week)
    SegmentChange.objects.update(at=timezone.now() - week)
    page = browse(CHANGES, segment.pk)
    assert "In the refresh of" in page
    assert "2 changes" in page
    assert f'name="refresh" value="{refresh}"' in page
    shown = browse(CHANGES, segment.pk, query=f"?refresh={refresh}&since=&which=left")
    assert re.findall(r'row">(?:<a[^>]*>)?(u\d)<', shown) == ["u0"]
    today = timezone.localdate().isoformat()
    assert "0 changes" in browse(CHANGES, segment.pk, query=f"?refresh={refresh}&since={today}")


def test_changes__are_downloaded(staff, users, make, browse, admin_client, person):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE is_staff AND username LIKE 'u%'")
    staff(2, 4, 6, 8, 9)
    type(users[0]).objects.filter(username="admin").update(is_staff=True)
    refresh = segment.refresh().refresh_id
    page = browse(CHANGES, segment.pk)
    url = reverse("admin:segments_segment_changes_download", args=[segment.pk])
    links = re.findall(r'href="([^"]*/changes/download/[^"]*)" download', page)
    assert links == [f"{url}?refresh={refresh}&which={which}" for which in ("entered", "left")]
    for link, name in zip(links, ("u9", "u0"), strict=True):
        lines = read(admin_client.get(link)).decode().splitlines()
        assert [line.split(",")[1] for line in lines] == ["username", name]
    assert "Exported 1 user who left, in the refresh of" in (
        LogEntry.objects.latest("pk").get_change_message()
    )
    response = admin_client.get(f"{url}?since=2001-01-01&which=entered")
    assert response["Content-Disposition"] == 'attachment; filename="vip-entered.csv"'
    assert len(read(response).splitlines()) == 2
    assert "Download who left" not in browse(CHANGES, segment.pk, query="?which=entered")
    assert admin_client.get(url).status_code == 404
    assert admin_client.get(f"{url}?which=left&since=soon").status_code == 404
    client = person("view_segment")
    assert client.get(links[0]).status_code == 403
    permission = Permission.objects.get(codename="view_members")
    get_user_model().objects.get(username="somebody").user_permissions.add(permission)
    assert read(client.get(links[0])).splitlines()[0] == b"id"


def test_changes__have_addresses_for_those_who_see_users(staff, users, make, person):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE is_staff AND username LIKE 'u%'")
    type(users[0]).objects.filter(username="u9").update(email="u9@example.com")
    staff(2, 4, 6, 8, 9)
    segment.refresh()
    client, url = person("view_segment", "view_members"), reverse(CHANGES, args=[segment.pk])
    page = client.get(url).content.decode()
    assert "u9<" in page
    assert "E-mail address" not in page
    assert "u9@example.com" not in page
    somebody = get_user_model().objects.get(username="somebody")
    for codename in ("view_segmentableuser", "change_segmentableuser"):
        somebody.user_permissions.remove(
            *somebody.user_permissions.filter(codename__contains="able")
        )
        somebody.user_permissions.add(Permission.objects.get(codename=codename))
        page = client.get(url).content.decode()
        assert "E-mail address" in page
        assert "u9@example.com</td>" in page
        export = reverse(EXPORT, args=[segment.pk])
        assert read(client.get(export)).startswith(b"id,username,email\n")


def test_changes__that_are_not_known_say_so(users, make, admin_client):
    segment = make()
    now = timezone.now()
    Segment.objects.update(
        created_at=now - timedelta(days=9), tracked_since=now - timedelta(days=2)
    )
    for since, words in (
        ("2001-01-01", "are known from"),
        ("soon", "is no day"),
        ("2026-99-99", "is no day"),
    ):
        url = reverse(CHANGES, args=[segment.pk]) + f"?since={since}"
        assert words in admin_client.get(url, follow=True).content.decode()
    assert admin_client.get(reverse(CHANGES, args=[segment.pk]) + "?refresh=x").status_code == 404


def test_changes__need_the_permission_to_view_members(users, make, person):
    segment = make()
    client = person("view_segment")
    assert client.get(reverse(CHANGES, args=[segment.pk])).status_code == 403


# Versions.


def test_versions__show_differences_and_are_restored(users, make, browse, admin_user):
    segment = make(definition=select("= 'u1'"))
    assert "has not been changed yet" in browse(VERSIONS, segment.pk)
    segment.definition = select("< 'u3'")
    segment.save()
    page = browse(VERSIONS, segment.pk)
    assert lines_of(page) == [
        ("removed", select("<del>=</del> '<del>u1</del>'")),
        ("added", select("<ins><</ins> '<ins>u3</ins>'")),
    ]
    assert "Changed by code (no user is known), " in page
    assert "1 → 4: 3 entered, 0 left" in page.replace("&rarr;", "→")
    created, changed = (
        formats.date_format(timezone.localtime(at), "DATETIME_FORMAT")
        for at in (segment.created_at, segment.versions.get().replaced_at)
    )
    assert f"from {created} to {changed}" in page
    version = segment.versions.get()
    page = browse(RESTORE, segment.pk, version=str(version.pk))
    assert "The version is restored. 1 member after" in page
    assert "0 entered, 3 left." in page
    assert Segment.objects.get().definition == select("= 'u1'")
    (entry,) = LogEntry.objects.all()
    assert "+" + select("< 'u3'") in entry.get_change_message()
    assert segment.versions.first().replaced_by == admin_user


def lines_of(page):
    """Return the lines that a change has removed and added, and those around it."""
    found = re.findall(
        r'<div class="(removed|added|same)"><span[^>]*>\S?</span>'
        r'<code>(?:<span class="visually-hidden">(\w+): </span>)?(.*?)</code>',
        page,
        re.DOTALL,
    )
    assert all(word in ("", kind) for kind, word, _ in found)
    return [(kind, text) for kind, _, text in found]


@pytest.mark.slow
def test_versions__say_who_and_from_when_to_when(users, make, browse, admin_user, settings):
    segment = make(definition=select("= 'u1'"))
    with acting(admin_user):
        segment.definition = select("= 'u2'")
        segment.save()
    segment.add([users[3], users[4]])
    first, second = segment.versions.order_by("pk")
    latest, earlier = browse(VERSIONS, segment.pk).split("<section")[1:]
    assert "+2 \N{MINUS SIGN}0" in latest
    assert "Changed by code" in latest
    assert lines_of(latest) == []
    assert f"Changed by admin, {charts.moment(first.replaced_at)}" in earlier
    at = [
        formats.date_format(timezone.localtime(moment), "DATETIME_FORMAT")
        for moment in (segment.created_at, first.replaced_at, second.replaced_at)
    ]
    assert f"from {at[0]} to {at[1]}" in earlier
    assert f"from {at[1]} to {at[2]}" in latest
    settings.SEGMENTS_VERSIONS = 2  # An older one may have been deleted.
    assert f">until {at[1]}" in browse(VERSIONS, segment.pk)


@pytest.mark.slow
def test_versions__cost_as_many_queries_as_one(users, make, admin_client, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment, url = make(definition=select("= 'u1'")), None
    counts = []
    for n in (2, 3, 4, 5):
        segment.definition = select(f"= 'u{n}'")
        segment.save()
        url = reverse(VERSIONS, args=[segment.pk])
        admin_client.get(url)
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(url)
        counts.append(len(queries))
    assert len(set(counts)) == 1


def test_versions__restored_without_a_refresh_have_no_number(users, make, browse, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment = make(definition=select("= 'u1'"))
    segment.refresh()
    segment.definition = select("< 'u3'")
    segment.save()
    page = browse(RESTORE, segment.pk, version=str(segment.versions.get().pk))
    assert "The version is restored. Its members change at the next refresh." in page


def test_versions__that_do_not_exist(users, make, admin_client):
    url = reverse(RESTORE, args=[make().pk])
    for key in ("", "x", "0", "9" * 30):
        assert admin_client.post(url, {"version": key}).status_code == 404


def test_versions__that_no_longer_compile_say_so(orders, make, browse, query):
    segment = make(definition="SELECT user_id FROM shop_order")
    segment.definition = f"SELECT id FROM {USERS}"
    segment.save()
    query("SET CONSTRAINTS ALL IMMEDIATE")
    query("ALTER TABLE shop_order RENAME TO gone")
    page = browse(RESTORE, segment.pk, version=str(segment.versions.get().pk))
    assert 'relation "shop_order" does not exist' in page
    assert Segment.objects.get().definition == f"SELECT id FROM {USERS}"


def test_versions__of_sql_need_the_permission(users, make, person):
    segment = make(definition=select("= 'u1'"))
    segment.definition = select("< 'u3'")
    segment.save()
    client = person("view_segment", "change_segment")
    assert "Restore" not in client.get(reverse(VERSIONS, args=[segment.pk])).content.decode()
    data = {"version": str(segment.versions.get().pk)}
    assert client.post(reverse(RESTORE, args=[segment.pk]), data).status_code == 403
    assert Segment.objects.get().definition == select("< 'u3'")


# The user's page.


@pytest.fixture
def people(settings):
    settings.ROOT_URLCONF = "tests.admin.test_work"


@pytest.mark.slow
def test_inline__lists_the_segments_of_a_user(three, users, people, admin_client):
    url = reverse(CHANGE_USER, args=[users[4].pk])
    page = html.unescape(admin_client.get(url).content.decode())
    panel = page.partition("segments-panel")[2].partition("</fieldset>")[0]
    assert re.findall(r'/overview/">(\w+)<', panel) == ["High", "Low"]
    assert f"/segments/segment/user/{users[4].pk}/" in panel
    assert strict(panel) == []
    nobody = admin_client.get(reverse("admin:accounts_segmentableuser_add")).content.decode()
    assert "segments-panel" not in nobody or "in no segment" in nobody


def test_inline__is_added_as_the_docs_say():
    text = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    scope = {}
    exec(block, scope)
    assert scope["PeopleAdmin"](get_user_model(), admin.AdminSite()).check() == []


@pytest.mark.slow
def test_inline__costs_one_query(users, make, people, admin_client):
    url = reverse(CHANGE_USER, args=[users[4].pk])
    make("s0")
    admin_client.get(url)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(url)
    for n in range(1, 6):
        make(f"s{n}")
    with CaptureQueriesContext(connection) as many:
        admin_client.get(url)
    assert len(many) == len(few)


@pytest.mark.slow
def test_inline__lets_the_user_be_saved(three, users, people, admin_client):
    url = reverse(CHANGE_USER, args=[users[4].pk])
    page = admin_client.get(url).content.decode()
    data = dict(re.findall(r'name="([\w-]+-(?:TOTAL|INITIAL)_FORMS)" value="(\d+)"', page))
    data |= {"username": "renamed", "password": "x", "date_joined_0": "2026-01-01"}
    response = admin_client.post(url, data | {"date_joined_1": "00:00:00", "is_active": "on"})
    assert response.status_code == 302, re.findall(r"errorlist.*", response.content.decode())
    assert get_user_model().objects.get(pk=users[4].pk).username == "renamed"


def test_inline__follows_permissions(three, users, people, person):
    for codenames, shown in ((["view_segment"], False), (["view_segment", "view_members"], True)):
        get_user_model().objects.filter(username="somebody").delete()
        client = person("view_segmentableuser", *codenames)
        page = client.get(reverse(CHANGE_USER, args=[users[4].pk])).content.decode()
        assert ("segments-panel" in page) is shown


def test_user__has_live_answers_on_request(three, users, browse, query):
    page = browse(USER, users[4].pk)
    assert page.count(">member<") == 2
    assert "<strong class" not in page
    query(f"UPDATE {USERS} SET username = 'x' WHERE username = 'u4'")
    page = browse(USER, users[4].pk, segment=str(three[0].pk))
    assert ">no member</strong>" in page
    assert page.count("<strong class") == 1


def test_user__is_not_known_before_the_first_refresh(users, make, browse):
    make()
    Segment.objects.update(refreshed_at=None, status="unpopulated")
    Membership.objects.all().delete()
    page = browse(USER, users[4].pk)
    assert ">not refreshed yet<" in page
    assert ">no member<" not in page


def test_user__with_a_text_key_has_a_page(people, admin_user):
    user = get_user_model()(pk="shop_adam", username="adam")
    request = RequestFactory().get("/")
    request.user = admin_user
    url = SegmentAdmin(Segment, site).user_url(request, user)
    assert url == "/admin/accounts/segmentableuser/shop_5Fadam/change/"


def test_user__shows_why_there_is_no_answer(failing, users, browse):
    page = browse(USER, users[0].pk, segment=str(failing.pk))
    assert "division by zero" in page


@pytest.mark.slow
def test_user__costs_the_same_for_many_segments(users, make, admin_client):
    url = reverse(USER, args=[users[0].pk])
    make("s0")
    admin_client.get(url)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(url)
    for n in range(1, 6):
        make(f"s{n}")
    with CaptureQueriesContext(connection) as many:
        admin_client.get(url)
    assert len(many) == len(few)


def test_user__needs_both_permissions_and_a_user(users, person, admin_client):
    assert admin_client.get(reverse(USER, args=["0"])).status_code == 404
    for key in ("x", "\0", "x\0"):
        assert admin_client.get(reverse(USER, args=[key])).status_code == 404
    client = person("view_segment")
    assert client.get(reverse(USER, args=[users[0].pk])).status_code == 403


@pytest.mark.slow
def test_pages__have_nothing_inline(three, users, admin_client):
    low, high, _ = three
    low.definition = select("= 'u1'")
    low.save()
    urls = [
        reverse(COMPARE) + f"?{of('segment', *three)}&{of('inside', low, high)}",
        *(reverse(name, args=[low.pk]) for name in (CHANGES, VERSIONS)),
        reverse("admin:segments_segment_members", args=[low.pk]),
        reverse(USER, args=[users[0].pk]),
    ]
    for url in urls:
        response = admin_client.get(url, follow=True)
        assert response.status_code == 200
        assert strict(response.content.decode()) == []


@pytest.mark.slow
def test_pages__work_behind_a_prefix(three, users, people, admin_client):
    low, high, _ = three
    low.definition = select("= 'u1'")
    low.save()
    names = ("changes", "versions", "members", "list", "overview")
    urls = [
        reverse(COMPARE) + f"?{of('segment', *three)}&{of('inside', low, high)}",
        *(reverse(f"admin:segments_segment_{name}", args=[low.pk]) for name in names),
        reverse(USER, args=[users[0].pk]),
        reverse(CHANGE_USER, args=[users[0].pk]),
    ]
    set_script_prefix("/shop/")
    try:
        pages = [admin_client.get(url).content.decode() for url in urls]
    finally:
        set_script_prefix("/")
    for page in pages:
        links = re.findall(r'(?:href|src|action|data-url)="(/[^"]*)"', page)
        own = {link for link in links if link not in ("/", "/static/")}
        assert len(own) > 5
        assert [link for link in own if not link.startswith(("/shop/", "/static/"))] == []


@pytest.mark.parametrize("middleware", [True, False])
def test_posts__are_refused_without_a_token(three, admin_user, settings, middleware):
    if middleware:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    low, high, _ = three
    low.definition = select("= 'u1'")
    low.save()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    cell = f"?{of('segment', low, high)}&{of('inside', high)}&{of('outside', low)}"
    posts = {
        reverse("admin:segments_segment_refresh", args=[low.pk]): {"force": "1"},
        reverse(RESTORE, args=[low.pk]): {"version": low.versions.get().pk},
        reverse("admin:segments_segment_list", args=[low.pk]): {"text": "1", "mode": "add"},
        reverse(COMPARE) + cell: {"name": "Both", "slug": "both"},
        reverse(USER, args=["1"]): {"segment": low.pk},
    }
    refreshes = low.refreshes.count()
    for url, data in posts.items():
        assert client.post(url, data).status_code == 403, url
    assert (low.refreshes.count(), low.versions.count()) == (refreshes, 1)
    assert Segment.objects.count() == 3
