"""The admin on connections that begin transactions with another isolation level."""

import html
from itertools import product

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from django.test import Client
from django.urls import reverse

from segments.models import Segment
from tests.admin.test_segment import form
from tests.conftest import USERS
from tests.own_server import connected

FIVE = f"SELECT id FROM {USERS} WHERE username BETWEEN 'u0' AND 'u4'"

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "exec"]),
    pytest.mark.usefixtures("clean_views"),
]

LEVELS = {
    "repeatable read": psycopg.IsolationLevel.REPEATABLE_READ,
    "serializable": psycopg.IsolationLevel.SERIALIZABLE,
}


@pytest.fixture(params=product(LEVELS, (False, True)), ids=lambda p: f"{p[0]}, atomic {p[1]}")
def level(request, transactional_db):
    """Set the isolation level of both aliases, with and without `ATOMIC_REQUESTS`."""
    name, atomic = request.param
    options = connection.settings_dict["OPTIONS"] | {"isolation_level": LEVELS[name]}
    changes = {"ATOMIC_REQUESTS": atomic, "OPTIONS": options}
    with connected(default=changes, exec=changes):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == (name,)
        yield name


@pytest.fixture
def browse(level, django_user_model):
    """Request pages as a superuser whose session is looked up in each request."""
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("root", "", "root"))

    def ask(page, *args, **data):
        url = reverse(f"admin:segments_segment_{page}", args=args)
        response = client.post(url, data, follow=True) if data else client.get(url)
        assert response.status_code == 200
        return html.unescape(response.content.decode())

    return ask


@pytest.fixture(params=["default", "exec"])
def evaluating(request, settings):
    settings.SEGMENTS_EXEC_CONNECTION = request.param


def isolation():
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return cursor.fetchone()[0]


@pytest.mark.usefixtures("evaluating")
def test_pages__work_at_every_level(level, browse, users, make):
    page = browse("add", **form(definition=FIVE, _preview="1"))
    assert "<strong>5</strong> members" in page
    assert not Segment.objects.exists()
    assert "was added successfully" in browse("add", **form(definition=FIVE))
    segment = Segment.objects.get()
    assert segment.members_count == 5
    changed = form(definition=f"{FIVE} AND username > 'u2'")
    assert "was changed successfully" in browse("change", segment.pk, **changed)
    assert Segment.objects.get().members_count == 2
    type(users[0]).objects.filter(username="u3").update(username="x3")
    action = {"action": "refresh_selected", "_selected_action": segment.pk}
    assert "1 segment refreshed" in browse("changelist", **action)
    assert Segment.objects.get().members_count == 1
    assert "u4" in browse("members", segment.pk)
    assert "was deleted successfully" in browse("delete", segment.pk, post="yes")
    segment = make(definition=FIVE)
    action = {"action": "delete_selected", "_selected_action": segment.pk, "post": "yes"}
    assert "Successfully deleted 1 segment" in browse("changelist", **action)
    assert not Segment.objects.exists()
    with transaction.atomic():
        assert isolation() == level


def test_segment__is_not_saved_if_the_request_fails(level, browse, users):
    def refuse(sender, **kwargs):
        assert isolation() == "read committed"
        raise RuntimeError("no")

    post_save.connect(refuse, sender=Segment)
    try:
        with pytest.raises(RuntimeError, match="no"):
            browse("add", **form(definition=FIVE))
    finally:
        post_save.disconnect(refuse, sender=Segment)
    assert not Segment.objects.exists()
    with transaction.atomic():
        assert isolation() == level
