"""The admin: list, form, refresh, and errors beside their fields."""

import html

import pytest
from django.conf import settings
from django.contrib import admin
from django.urls import reverse

from segments.models import Segment, Status
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

LIST = "admin:segments_segment_changelist"
ADD = "admin:segments_segment_add"

ALL = f"{settings.AUTH_USER_MODEL.lower()}.objects.all"
"""All users, as the form names this method."""


@pytest.fixture
def browse(admin_client):
    """Request pages as a superuser, by POST if there is data; return the unescaped text."""

    def ask(name, /, *args, **data):
        url = reverse(name, args=args)
        response = admin_client.post(url, data, follow=True) if data else admin_client.get(url)
        assert response.status_code == 200
        return html.unescape(response.content.decode())

    return ask


def form(**fields):
    """Return the form data of a segment without history."""
    return {
        "name": "Vip",
        "slug": "vip",
        "priority": "0",
        "is_active": "on",
        "refreshes-TOTAL_FORMS": "0",
        "refreshes-INITIAL_FORMS": "0",
        **fields,
    }


def change(browse, segment, **fields):
    return browse("admin:segments_segment_change", segment.pk, **form(**fields))


@pytest.mark.roles
def test_list__shows_how_segments_are_doing(users, make, browse):
    make(definition=f"SELECT id FROM {USERS} WHERE username < 'u3'")
    make("method", manager_method="all")
    Segment.objects.filter(slug="method").update(status=Status.FAILED, last_error="it broke\nhere")
    page = browse(LIST)
    for shown in (
        "Vip",
        "vip",
        ">SQL<",
        ">A method of a model<",
        ">4<",
        "refreshed",
        "failing",
        "it broke",
    ):
        assert shown in page
    assert "here" not in page.replace("Click here", "").replace("where", "")


@pytest.mark.roles
def test_add__creates_views_and_members(users, browse):
    browse(ADD, **form(definition=f"SELECT id FROM {USERS}", refresh_every="01:00:00"))
    segment = Segment.objects.get()
    assert len(segment) == Segment.objects.get().members_count == 11  # Includes the superuser.
    page = browse("admin:segments_segment_change", segment.pk)
    assert "segments.vip" in page
    assert "Last 10 refreshes" in page


def test_state__is_shown_once_there_is_one(users, make, browse):
    new = browse(ADD)
    for words in ("Next refresh", "Failures in a row", "Last 10 refreshes"):
        assert words.lower() not in new.lower()
    page = browse("admin:segments_segment_change", make().pk)
    for words in ("Next refresh", "Failures in a row", "Last 10 refreshes"):
        assert words.lower() in page.lower()
    assert ">None<" not in page


@pytest.mark.roles
def test_add__of_a_list(users, browse):
    browse(ADD, **form(static_ids=f"{users[0].pk}\r\n{users[1].pk}\r\n"))
    segment = Segment.objects.get()
    assert set(segment.member_ids()) == {users[0].pk, users[1].pk}
    page = browse("admin:segments_segment_change", segment.pk)
    assert "2 users" in page
    assert f"{users[0].pk}\n{users[1].pk}" not in page


def test_add__of_a_manager_method(users, browse):
    browse(ADD, **form(method=ALL))
    assert len(Segment.objects.get()) == 11


ERRORS = {
    "definition": ({"definition": "SELECT id\nFROM nowhere"}, (
        'relation "nowhere" does not exist (line 2, column 6)', "FROM nowhere\n", "^",
    )),
    "definition that fails": (
        {"definition": f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1"}, ("division by zero",)
    ),
    "static_ids": ({"static_ids": "1\nx"}, ('line 2: "x" is not a whole number',)),
    "method": ({"method": "shop.order.objects.raises"}, ('"raises" raised LookupError',)),
    "method that is gone": ({"method": "shop.order.objects.gone"}, ("Select a valid choice",)),
    "refresh_every": ({"refresh_every": "at noon"}, ("Write a length of time with its unit",)),
    "slug": ({"slug": "catalog", "definition": "SELECT 1 AS id"}, ("is reserved",)),
    "nothing": ({}, ("it has no definition",)),
}  # fmt: skip


RENAMED = {
    "definition that fails": "definition", "nothing": "definition", "method that is gone": "method"
}  # fmt: skip


@pytest.mark.parametrize(("field", "fields", "says"), [
    (field, *rest) for field, rest in ERRORS.items()
], ids=ERRORS)  # fmt: skip
def test_error__stands_beside_its_field(field, fields, says, users, browse, names):
    before = names()
    page = browse(ADD, **form(**fields))
    for text in says:
        assert page.count(text) >= 1
    row = RENAMED.get(field, field)
    start = page.index(f'field-{row}"') if f'field-{row}"' in page else page.index(f"field-{row}")
    assert "errorlist" in page[page.rindex("<div", 0, start) : start + 3000]
    assert "Internal" not in page
    assert not Segment.objects.exists()
    assert names() == before


@pytest.mark.roles
def test_change__that_is_wrong_keeps_the_definition(users, make, browse):
    segment = make()
    page = change(browse, segment, definition="SELECT nonsense FROM nowhere")
    assert 'relation "nowhere" does not exist' in page
    assert Segment.objects.get().definition == f"SELECT id FROM {USERS}"


@pytest.mark.slow
def test_change__keeps_the_list(users, make, browse):
    segment = make(
        definition=f"SELECT id FROM {USERS} WHERE username = 'u9'", static_ids=users[:2]
    )
    change(
        browse, segment, definition=segment.definition, name="Other", kind="sql_and_list",
        static_ids=f"{users[5].pk}",
    )  # fmt: skip
    segment = Segment.objects.get()
    assert segment.name == "Other"
    assert set(segment.member_ids()) == {user.pk for user in (*users[:2], users[9])}
    assert segment.refreshes.count() == 1
    change(browse, segment, definition=segment.definition, kind="sql", delete_list="on")
    segment = Segment.objects.get()
    assert set(segment.member_ids()) == {users[9].pk}
    change(
        browse, segment, definition=segment.definition, kind="sql_and_list",
        static_ids=f"{users[0].pk}\r\n{users[9].pk}",
    )  # fmt: skip
    assert set(Segment.objects.get().member_ids()) == {users[0].pk, users[9].pk}


def test_change__of_the_slug_that_clashes(users, make, browse):
    make("a-b")
    segment = make()
    page = change(browse, segment, slug="a_b", definition=segment.definition)
    assert "Hyphens and underscores count as the same" in page


@pytest.mark.slow
@pytest.mark.roles
def test_refresh__of_selected_segments_reports_each_failure(orders, make, browse, query):
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    failing = make("failing", definition="SELECT user_id FROM shop_order WHERE 1 / amount <= 1")
    good = make("good")
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
    page = browse(
        LIST, action="refresh_selected", _selected_action=[str(failing.pk), str(good.pk)]
    )
    assert "1 segment refreshed." in page
    assert 'segment "failing": division by zero' in page
    change_page = browse("admin:segments_segment_change", failing.pk)
    assert "division by zero" in change_page


@pytest.mark.slow
def test_delete__that_is_refused_names_the_readers(users, make, browse, query):
    segment = make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    query("CREATE VIEW report AS SELECT user_id FROM segments.vip")
    selected = {"action": "delete_selected", "_selected_action": [str(segment.pk)]}
    for data in ({}, {"post": "yes"}):
        for page in (
            browse("admin:segments_segment_delete", segment.pk, **data),
            browse(LIST, **selected, **data),
        ):
            assert "reader, which reads vip" in page
            assert "report, which reads vip" in page
    assert Segment.objects.count() == 2
    query("DROP VIEW report")
    both = [str(key) for key in Segment.objects.values_list("pk", flat=True)]
    assert "which reads" not in browse(LIST, action="delete_selected", _selected_action=both)


@pytest.mark.slow
@pytest.mark.roles
def test_delete__takes_the_views_along(users, make, browse, relation):
    segment = make()
    page = browse("admin:segments_segment_delete", segment.pk)
    assert "Vip" in page
    browse("admin:segments_segment_delete", segment.pk, post="yes")
    assert relation("segments.vip") is None
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    keys = [str(pk) for pk in Segment.objects.values_list("pk", flat=True)]
    browse(LIST, action="delete_selected", _selected_action=keys, post="yes")
    assert not Segment.objects.exists()


def test_permissions__are_those_of_django(users, make, client, django_user_model):
    segment = make()
    viewer = django_user_model.objects.create_user("viewer", password="x", is_staff=True)
    from django.contrib.auth.models import Permission

    viewer.user_permissions.add(Permission.objects.get(codename="view_segment"))
    client.force_login(viewer)
    page = client.get(reverse(LIST)).content.decode()
    assert "refresh_selected" not in page
    assert client.get(reverse(ADD)).status_code == 403
    response = client.get(reverse("admin:segments_segment_change", args=[segment.pk]))
    assert response.status_code == 200
    assert (
        client.get(reverse("admin:segments_segment_delete", args=[segment.pk])).status_code == 403
    )


def test_delete__lists_related_objects_and_needs_permission(
    users, make, client, browse, monkeypatch
):
    from django.contrib.auth.models import Permission

    from tests.shop.models import Offer

    segment = make()
    Offer.objects.create(priority=1, discount=5, segment=segment)
    page = browse("admin:segments_segment_delete", segment.pk)
    assert "Offer object" in page
    assert "in 1" not in page
    assert "Membership" not in page
    staff = users[0]
    staff.is_staff = True
    staff.save()
    staff.user_permissions.set(
        Permission.objects.filter(codename__in=["delete_segment", "view_segment"])
    )
    client.force_login(staff)
    url = reverse("admin:segments_segment_delete", args=[segment.pk])
    # The permission is needed only if the site has an admin for offers.
    monkeypatch.setitem(admin.site._registry, Offer, admin.ModelAdmin(Offer, admin.site))
    assert "would result in deleting related objects, but your account" in (
        client.get(url).content.decode()
    )
    assert client.post(url, {"post": "yes"}).status_code == 403
    assert Offer.objects.count() == 1
    monkeypatch.undo()
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert not Offer.objects.exists()


def test_delete__of_what_is_protected_is_refused(users, make, browse, monkeypatch):
    from django.db import models

    from tests.shop.models import Offer

    segment = make()
    Offer.objects.create(priority=1, discount=5, segment=segment)
    monkeypatch.setattr(Offer._meta.get_field("segment").remote_field, "on_delete", models.PROTECT)
    page = browse("admin:segments_segment_delete", segment.pk)
    assert "would require deleting the following protected related objects" in page
    browse("admin:segments_segment_delete", segment.pk, post="yes")
    assert len(Segment.objects.get()) == 11


def test_change__of_a_slug_that_others_read_names_them(users, make, browse):
    segment = make()
    make("loyal", definition="SELECT user_id FROM segments.vip")
    page = change(browse, segment, slug="gold", definition=segment.definition)
    start = page.index('field-slug"') if 'field-slug"' in page else page.index("field-slug")
    message = "it cannot be renamed, because definitions read segments.vip: loyal"
    assert message in page[start - 500 : start + 3000]
    assert Segment.objects.filter(slug="vip").exists()
