"""Saving: what the status says when a definition was changed and not refreshed."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from segments import sync
from segments.exceptions import SegmentError
from segments.models import Segment
from tests.commands.running import attempt, run
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db

OTHERS = f"SELECT id FROM {USERS} WHERE NOT is_staff"


@pytest.fixture
def lazy(settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False


@pytest.fixture
def outdated(lazy, staff, make):
    """A segment whose definition was changed and not refreshed."""
    segment = make(definition=f"{EVEN} AND username <> 'u0'")
    segment.definition = OTHERS
    segment.save()
    return segment


def state(segment):
    segment.refresh_from_db()
    return segment.status, segment.members_count


@pytest.mark.roles
def test_outdated__until_a_refresh(outdated, query):
    assert outdated.status == Segment.Status.OUTDATED
    assert state(outdated) == ("outdated", 4)
    assert query("SELECT status, members_count FROM segments.catalog") == [("outdated", 4)]
    assert len(outdated) == 4
    assert outdated.members_live.count() == 5
    result = outdated.refresh()
    assert (result.status, result.members_count) == ("refreshed", 5)
    assert (outdated.status, *state(outdated)) == ("refreshed", "refreshed", 5)
    assert outdated.refresh().status in ("refreshed", "unchanged")
    assert state(outdated) == ("refreshed", 5)


@pytest.mark.parametrize(
    "change",
    [
        {"definition": "", "manager_method": "all"},
        {"definition": "", "static_ids": []},
        {"static_ids": ["{key}"]},
    ],
    ids=str,
)
def test_outdated__by_every_kind_of_change(change, lazy, staff, users, make):
    segment = make(definition=EVEN)
    for name, value in change.items():
        setattr(segment, name, [users[1].pk] if value == ["{key}"] else value)
    segment.save()
    assert state(segment) == ("outdated", 5)
    assert segment.refresh().status == "refreshed"
    assert state(segment)[0] == "refreshed"


def test_outdated__is_not_what_only_a_label_changes(lazy, staff, make):
    segment = make(definition=EVEN)
    for name, value in {"name": "New", "slug": "new", "is_active": False, "priority": 3}.items():
        setattr(segment, name, value)
        segment.save()
    assert state(segment) == ("refreshed", 5)


def test_outdated__is_not_what_is_refreshed_at_once(staff, make):
    segment = make(definition=EVEN)
    segment.definition = OTHERS
    segment.save()
    assert state(segment) == ("refreshed", 5)


def test_outdated__replaces_the_failure_of_the_former_definition(lazy, failing):
    with pytest.raises(SegmentError):
        failing.refresh()
    failing.definition = OTHERS
    failing.save()
    failing.refresh_from_db()
    assert (failing.status, failing.last_error, failing.failures) == ("outdated", "", 0)


def test_failure__of_the_new_definition_is_a_failure(outdated):
    outdated.definition = f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1"
    outdated.save()
    assert state(outdated) == ("outdated", 4)
    with pytest.raises(SegmentError):
        outdated.refresh()
    assert state(outdated) == ("failed", 4)
    outdated.definition = EVEN
    outdated.save()
    assert state(outdated) == ("outdated", 4)


@pytest.mark.django_db(transaction=True)
def test_outdated__until_the_worker_has_refreshed(staff, make, settings, clean_views):
    from segments import tasks

    settings.SEGMENTS_REFRESH_ASYNC = True
    segment = make(definition=EVEN)
    assert state(segment) == ("unpopulated", None)
    segment.definition = OTHERS
    segment.save()
    assert state(segment) == ("unpopulated", None)
    tasks.refresh_segment.func(segment.pk)
    segment.definition = EVEN
    segment.save()
    assert state(segment) == ("outdated", 5)
    assert tasks.refresh_segment.func(segment.pk) == "refreshed"
    assert state(segment) == ("refreshed", 5)


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_outdated__where_views_follow_on_commit(exec_alias, lazy, staff, make, clean_views):
    segment = make(definition=EVEN)
    segment.definition = OTHERS
    segment.save()
    assert (segment.status, *state(segment)) == ("outdated", "outdated", 5)


@pytest.mark.roles
def test_outdated__after_a_sync_of_another_definition(staff, make):
    segment = make(definition=EVEN)
    Segment.objects.update(definition=OTHERS)
    assert [step.what for step in sync.sync()] == [["the live view has another definition"]]
    assert state(segment) == ("outdated", 5)
    assert segment.refresh().status == "refreshed"


def test_outdated__is_listed_and_has_an_age(outdated):
    (listed,) = run("list_segments", "--json").splitlines()
    assert json.loads(listed)["status"] == "outdated"
    assert "outdated" in run("list_segments")
    assert attempt("list_segments", max_age=1).error is None


def test_outdated__is_due(outdated, settings):
    settings.SEGMENTS_REFRESH_EVERY = 3600
    assert run("refresh_segments", "--due").startswith("vip: 5 members")
    assert run("refresh_segments", "--due") == "No segment is due.\n"


def test_outdated__is_shown_in_the_admin(outdated, client):
    client.force_login(get_user_model().objects.create_superuser("root"))
    page = client.get(reverse("admin:segments_segment_changelist"), {"status": "outdated"})
    assert "The definition has changed since the members were computed." in page.text
    assert page.context["cl"].result_count == 1
    page = client.get(reverse("admin:segments_segment_changelist"), {"status": "failed"})
    assert page.context["cl"].result_count == 0
