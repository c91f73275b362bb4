"""The admin: previews, lists of members, and permissions."""

import html

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import path, reverse

from segments.admin import SegmentAdmin
from segments.models import Segment
from tests.admin.test_segment import ADD, ALL, LIST, form
from tests.conftest import USERS

site = admin.AdminSite()
site.register(Segment, SegmentAdmin)
site.register(get_user_model())

urlpatterns = [path("own/", site.urls)]
"""An admin site with segments and users."""

pytestmark = pytest.mark.django_db

FEW = f"SELECT id FROM {USERS} WHERE username IN ('u0', 'u2', 'u4', 'u6', 'u8')"

CHANGE = "admin:segments_segment_change"
MEMBERS = "admin:segments_segment_members"


@pytest.fixture
def person(client, django_user_model, users):
    """Log in a user with these permissions; return a function that requests a page."""

    def create(*codenames):
        somebody = django_user_model.objects.create_user("somebody", is_staff=True)
        permissions = Permission.objects.filter(codename__in=codenames)
        assert len(permissions) == len(codenames)
        somebody.user_permissions.set(permissions)
        client.force_login(somebody)

        def ask(name, /, *args, status=200, **data):
            url = reverse(name, args=args)
            response = (
                client.post(url, data, follow=True) if data else client.get(url, follow=True)
            )
            assert response.status_code == status
            return html.unescape(response.content.decode())

        return ask

    return create


@pytest.fixture
def author(person):
    """A user with all permissions on segments except to delete them."""
    return person(
        "add_segment", "change_segment", "view_segment", "change_definition", "view_members"
    )


@pytest.fixture
def editor(person):
    """A user who may edit names and lists, but no SQL."""
    return person("add_segment", "change_segment", "view_segment")


def readonly(page, field):
    """Return whether a page shows a field without an input."""
    return f"field-{field}" in page and f'name="{field}"' not in page


# Previews.


def test_preview__on_the_form_of_a_new_segment_saves_nothing(author, users, names):
    before = names()
    page = author(ADD, **form(name="", slug="", definition=FEW), _preview="Preview")
    for shown in ("Nothing has been saved", "<li>u0 ", "<li>u8 ", f"{USERS}.username", FEW):
        assert shown in page
    assert "errorlist" not in page
    assert "errornote" not in page
    assert not Segment.objects.exists()
    assert names() == before


def test_preview__of_a_change_keeps_the_segment(author, users, make):
    segment = make(definition=FEW)
    assert 'name="_preview"' in author(CHANGE, segment.pk)
    definition = f"SELECT * FROM {USERS} WHERE id < 0"
    page = author(CHANGE, segment.pk, **form(definition=definition), _preview="Preview")
    assert "The segment has no members." in page
    assert f"every column of {USERS}" in page
    assert definition in page
    assert Segment.objects.get().definition == FEW
    assert segment.refreshes.count() == 1


@pytest.mark.parametrize("may_view", [True, False])
def test_preview__compares_with_the_members(person, users, make, may_view):
    segment = make(definition=f"SELECT id FROM {USERS} ORDER BY id LIMIT 4")
    ask = person("change_definition", "change_segment", *(["view_members"] * may_view))
    page = ask(CHANGE, segment.pk, **form(definition=FEW), _preview="Preview")
    assert "4 now; 5 then; 2 leave, 3 enter" in page
    assert ("<h3>Leave</h3>\n<ul><li>u1 " in page) == may_view
    assert ("<h3>Enter</h3>\n<ul><li>u4 " in page) == may_view


@pytest.mark.slow
def test_preview__downloads_all_who_change(person, client, users, make):
    segment = make(definition=f"SELECT id FROM {USERS} ORDER BY id LIMIT 4")
    ask = person("change_definition", "change_segment", "view_members")
    url = reverse(CHANGE, args=[segment.pk])
    assert 'value="leaving"' in ask(CHANGE, segment.pk, **form(definition=FEW), _preview="1")
    for which, numbers in (("leaving", (1, 3)), ("entering", (4, 6, 8))):
        response = client.post(url, form(definition=FEW) | {"_preview": which})
        assert f'filename="vip-{which}.csv"' in response["Content-Disposition"]
        ids = response.getvalue().decode().split()[1:]
        assert ids == [str(users[number].pk) for number in numbers]
    entry = LogEntry.objects.first()
    assert (entry.change_message, entry.object_id) == (
        "Exported 3 users who would enter, before a save: pk",
        str(segment.pk),
    )
    page = ask(CHANGE, segment.pk, **form(definition="SELECT id FROM n"), _preview="leaving")
    assert page.count('relation "n" does not exist') > 1
    assert "SELECT id FROM n</textarea>" in page
    assert Segment.objects.get().definition == segment.definition


def test_preview__downloads_nobody_for_others(person, users, make):
    segment = make()
    ask = person("change_definition", "change_segment")
    data = form(definition=FEW)
    assert 'value="leaving"' not in ask(CHANGE, segment.pk, **data, _preview="1")
    ask(CHANGE, segment.pk, **data, _preview="leaving", status=403)


@pytest.mark.slow
def test_preview__says_how_many_it_does_not_name(author, users, make):
    model = type(users[0])
    model.objects.bulk_create(model(username=f"n{n}") for n in range(1_500))
    segment = make(definition=f"SELECT id FROM {USERS}")
    page = author(CHANGE, segment.pk, **form(definition=FEW), _preview="1")
    assert "Leave: first 10 of 1,50" in page
    assert "<h3>Members</h3>" in page


@pytest.mark.slow
def test_preview__names_the_column_of_the_ids(author, orders):
    page = author(ADD, **form(definition="SELECT * FROM shop_order"), _preview="Preview")
    assert "<code>shop_order.user_id</code>" in page.partition("User ids from<")[2][:120]
    page = author(ADD, **form(definition="SELECT 1 AS user_id"), _preview="Preview")
    assert '<code>"user_id", by its name</code>' in page
    page = author(ADD, **form(definition="SELECT id FROM shop_order"), _preview="Preview")
    assert 'select "user_id", which refers to them' in page


def test_preview__of_a_list(author, users):
    page = author(ADD, **form(static_ids=f"{users[3].pk}"), _preview="Preview")
    assert "<li>u3 " in page
    assert "Cost of a refresh" not in page


def test_preview__shows_errors_beside_their_fields(author, users):
    page = author(ADD, **form(definition="SELECT id FROM nowhere"), _preview="Preview")
    assert 'relation "nowhere" does not exist (line 1, column 16)' in page
    assert "Nothing has been saved" not in page
    page = author(ADD, **form(static_ids="x", timeout="soon"), _preview="Preview")
    assert "Nothing has been saved" not in page
    assert "Write a length of time with its unit, such as" in page
    page = author(ADD, **form(static_ids=f"{users[0].pk}\nx\n0"), _preview="Preview")
    for line in (
        "2 lines of 3 cannot be used",
        'line 2: "x" is not a whole number',
        "id 0",
        "Hint:",
    ):
        assert page.partition('segments-preview"')[2].count(line) == 1


def test_timeout__above_the_limit_is_an_error_of_its_field(author, users):
    for button in ({}, {"_preview": "Preview"}):
        page = author(ADD, **form(static_ids=users[0].pk, timeout="1:00:01"), **button)
        assert "its timeout may be at most 1:00:00" in page
    assert not Segment.objects.exists()


def test_preview__that_is_not_exact_says_so(author, users, settings):
    settings.SEGMENTS_PREVIEW_TIMEOUT = 0.1
    slow = f"SELECT id FROM {USERS} WHERE pg_sleep(0.05) IS NOT NULL"
    page = author(ADD, **form(definition=slow), _preview="Preview")
    assert "(an estimate)" in page
    assert "longer than 0.1 s" in page


def test_preview__is_for_those_who_may_save(person, make):
    viewer = person("view_segment", "view_members", "change_definition")
    segment = make()
    assert "_preview" not in viewer(CHANGE, segment.pk)
    viewer(CHANGE, segment.pk, status=403, **form(definition=FEW), _preview="Preview")
    viewer(ADD, status=403, **form(definition=FEW), _preview="Preview")


@pytest.mark.slow
def test_preview__hides_members_and_says_why(person):
    writer = person("add_segment", "view_segment", "change_definition")
    page = writer(ADD, **form(definition=FEW), _preview="Preview")
    assert f"{USERS}.username" in page
    assert "<strong>5</strong> members" in page  # As in the list.
    assert "people with the permission “Can see the members of segments”" in page
    assert "<li>u" not in page
    page = writer(ADD, **form(definition=f"{FEW} AND random() < 0"), _preview="Preview")
    assert "random() may return another value" in page
    assert "The segment has no members." in page


def test_preview__has_addresses_for_those_who_see_users(person, users, settings):
    type(users[0]).objects.filter(username="u2").update(email="<u2@example.com>")
    ask = person("add_segment", "view_segment", "change_definition", "view_members")
    page = ask(ADD, **form(definition=FEW), _preview="Preview")
    assert "<li>u2 " in page
    assert "u2@example.com" not in page
    somebody = type(users[0]).objects.get(username="somebody")
    somebody.user_permissions.add(Permission.objects.get(codename="view_segmentableuser"))
    page = ask(ADD, **form(definition=FEW), _preview="Preview")
    assert "u2@example.com" in page


def test_preview__shows_an_address_unless_it_is_the_name(author, users, monkeypatch):
    model = type(users[0])
    model.objects.filter(username="u2").update(email="u2@example.com", first_name="Ada")
    somebody = model.objects.get(username="somebody")
    somebody.user_permissions.add(Permission.objects.get(codename="view_segmentableuser"))
    monkeypatch.setattr(model, "USERNAME_FIELD", model.EMAIL_FIELD)
    monkeypatch.setattr(model, "__str__", lambda user: user.first_name)
    page = author(ADD, **form(definition=FEW), _preview="Preview")
    assert page.count("u2@example.com") == 1
    monkeypatch.setattr(model, "__str__", lambda user: user.email)
    page = author(ADD, **form(definition=FEW), _preview="Preview")
    assert page.count("u2@example.com") == 1


# The cost limit.


@pytest.mark.slow
def test_cost__is_refused_once_and_can_then_be_allowed(author, users, settings):
    settings.SEGMENTS_MAX_COST = 1
    assert 'type="checkbox" name="allow_cost"' not in author(ADD)
    page = author(ADD, **form(definition=FEW))
    assert "SEGMENTS_MAX_COST is 1" in page
    assert "tick “Save it although it is expensive”" in page
    assert 'type="checkbox" name="allow_cost"' in page
    assert not Segment.objects.exists()
    page = author(ADD, **form(definition="SELECT nothing", allow_cost="on"))
    assert 'type="checkbox" name="allow_cost"' in page
    page = author(ADD, **form(definition=FEW, allow_cost="on"))
    segment = Segment.objects.get()
    page = author(CHANGE, segment.pk, **form(name="Other", definition=FEW, allow_cost=""))
    assert Segment.objects.get().name == "Other"
    assert "(the limit is 1)" in author(ADD, **form(definition=FEW), _preview="Preview")


def test_cost__cannot_be_allowed_without_the_permission(editor, make, settings):
    segment = make(definition=FEW)
    settings.SEGMENTS_MAX_COST = 1
    page = editor(CHANGE, segment.pk, **form(name="Other", allow_cost="on"))
    assert Segment.objects.get().name == "Other"
    assert "allow_cost" not in page


# Permissions.


def test_editor__edits_names_and_lists_and_no_sql(editor, users, make):
    segment = make(definition=FEW)
    page = editor(CHANGE, segment.pk)
    for field in ("definition", "model", "manager_name", "manager_method"):
        assert readonly(page, field)
    assert FEW in page
    for field in ("name", "slug", "static_ids"):
        assert f'name="{field}"' in page
    editor(
        CHANGE, segment.pk,
        **form(
            name="Other", static_ids=f"{users[5].pk}\n{users[6].pk}", kind="manager",
            definition=f"SELECT id FROM {USERS}", method=ALL,
        ),
    )  # fmt: skip
    segment = Segment.objects.get()
    assert (segment.name, segment.definition) == ("Other", FEW)
    assert (segment.manager_method, segment.manager_name) == ("", "objects")
    assert {users[5].pk, users[6].pk} <= set(segment.member_ids())


@pytest.mark.slow
def test_editor__creates_only_lists(editor, users):
    page = editor(ADD)
    assert 'name="static_ids"' in page
    for field in ("kind", "definition", "method", "manager_method", "allow_cost"):
        assert f"field-{field}" not in page
    other = {"definition": f"SELECT id FROM {USERS}", "method": ALL}
    page = editor(ADD, **form(begin_empty="on", **other))
    assert "Nobody is on its list yet" in page
    assert '<input type="file" name="file"' in page
    data = form(slug="b", definition=f"SELECT id FROM {USERS}", static_ids=f"{users[0].pk}")
    assert "Nobody is on its list yet" not in editor(ADD, **data)
    for segment, count in zip(Segment.objects.order_by("-slug"), (0, 1), strict=True):
        assert (segment.kind, segment.definition, len(segment)) == ("static", "", count)


def test_list__is_begun_by_people_who_may_only_add(person, users):
    page = person("add_segment", "view_segment")(ADD, **form(begin_empty="on"))
    assert "was added successfully" in page
    assert "Nobody is on its list yet" not in page
    assert Segment.objects.get().members_count == 0


def test_editor__previews_without_members(editor, users, make):
    segment = make(definition=FEW)
    page = editor(
        CHANGE, segment.pk,
        **form(static_ids=f"{users[5].pk}", definition="SELECT 1"), _preview="Preview",
    )  # fmt: skip
    assert "Nothing has been saved" in page
    assert f"{USERS}.username" in page
    assert "<li>" not in page[page.index("Nothing has been saved") :]


def test_refresh__needs_its_permission(editor, make, query):
    segment = make()
    data = {"action": "refresh_selected", "_selected_action": [str(segment.pk)]}
    assert "refresh_selected" not in editor(LIST)
    editor(LIST, **data)
    assert segment.refreshes.count() == 1


def test_refresh__needs_no_other(person, make):
    refresher = person("view_segment", "refresh_segment")
    segment = make()
    assert "refresh_selected" in refresher(LIST)
    refresher(LIST, action="refresh_selected", _selected_action=[str(segment.pk)])
    assert segment.refreshes.count() == 2


def test_list_of_ids__is_changed_by_those_who_may_save(person, users, make):
    segment = make(static_ids=users[:2])
    page = person("view_segment")(CHANGE, segment.pk)
    assert "static_ids" not in page
    assert "2 users" in page


# Members.


@pytest.mark.slow
def test_members__are_listed_page_by_page_and_searched(author, users, make, client, monkeypatch):
    monkeypatch.setattr("segments.admin.members.PER_PAGE", 3)
    segment = make(definition=FEW)
    url = reverse(MEMBERS, args=[segment.pk])
    assert f'href="{url}"' in author(LIST)
    assert f'href="{url}"' in author(CHANGE, segment.pk)
    page = author(MEMBERS, segment.pk)
    assert "5 members at the last refresh, " in page
    assert "Page 1 of 2" in page
    assert ">u4<" in page
    assert ">u6<" not in page
    assert ">u6<" in client.get(url, {"p": "2"}).content.decode()
    assert ">u6<" in client.get(url, {"p": "99"}).content.decode()
    page = client.get(url, {"q": "U8"}).content.decode()
    assert ">u8<" in page
    assert ">u0<" not in page
    key = type(segment).objects.get().members.get(username="u6").pk
    assert ">u6<" in client.get(url, {"q": str(key)}).content.decode()
    for nobody in ("u1", "9" * 30):
        assert "0 members" in client.get(url, {"q": nobody}).content.decode()
    page = client.get(url, {"q": "\0"}, follow=True).content.decode()
    assert "NUL" in page


def test_members__link_to_the_users_that_one_may_see(person, make, settings):
    settings.ROOT_URLCONF = __name__
    segment = make(definition=FEW)
    member = segment.members.first()
    link = f'<a href="/own/accounts/segmentableuser/{member.pk}/change/">u0</a>'
    ask = person("view_segment", "view_members")
    assert link not in ask(MEMBERS, segment.pk)
    somebody = type(member).objects.get(username="somebody")
    somebody.user_permissions.add(Permission.objects.get(codename="view_segmentableuser"))
    assert link in ask(MEMBERS, segment.pk)
    assert f"/own/segments/segment/{segment.pk}/members/" in ask(LIST)


def test_members__are_for_those_who_may_see_them(person, make):
    segment = make()
    viewer = person("view_segment", "change_segment", "change_definition")
    viewer(MEMBERS, segment.pk, status=403)
    assert "/members/" not in viewer(LIST)
    assert "/members/" not in viewer(CHANGE, segment.pk)


def test_members__need_a_view_of_segments(person, make):
    segment = make()
    person("view_members")(MEMBERS, segment.pk, status=403)


def test_members__of_no_segment_or_without_a_view(author, make, query):
    assert "with ID “12345”" in author(MEMBERS, 12345)
    segment = make()
    query("DROP MATERIALIZED VIEW segments.vip")
    page = author(MEMBERS, segment.pk)
    assert 'relation "segments.vip" does not exist' in page
    Segment.objects.update(refreshed_at=None)
    assert "This segment has not been refreshed yet." in author(MEMBERS, segment.pk)
