"""Reads from a streaming replica."""

from contextlib import contextmanager

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings

from demo.postgres import django_database
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from tests.own_server import DATABASE, connected
from tests.scaling.docs import block, parameters
from tests.waiting import until

TABLE = get_user_model()._meta.db_table
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("people")]


@pytest.fixture(scope="module")
def replica(server):
    """A replica with the router and the settings of docs/scaling.md."""
    namespace = {}
    exec(block("python", "class ReplicaRouter"), namespace)
    with (
        server.replica(parameters("hot_standby_feedback")) as copy,
        connected(replica=django_database(copy.url(DATABASE))),
        override_settings(DATABASE_ROUTERS=[namespace["ReplicaRouter"]()]),
    ):
        yield copy


@pytest.fixture
def segment(people, replica):
    """A segment of the staff, u0 to u4, on both servers."""
    hire(range(5))
    segment = Segment.objects.create(
        name="Staff", slug="staff", definition=f"SELECT id FROM {TABLE} WHERE is_staff"
    )
    replica.catch_up()
    yield Segment.objects.get(slug="staff")
    segment.delete()
    replica.catch_up()


def hire(numbers):
    """Make these users the staff, on the primary."""
    names = [f"u{n}" for n in numbers]
    run(connection, f"UPDATE {TABLE} SET is_staff = username = ANY(%s)", names)


def run(opened, statement, *params):
    with opened.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchone() if cursor.description else None


@contextmanager
def paused():
    """Pause the replay of the replica."""
    replica = connections["replica"]
    run(replica, "SELECT pg_wal_replay_pause()")
    until(lambda: run(replica, "SELECT pg_get_wal_replay_pause_state()") == ("paused",))
    try:
        yield
    finally:
        run(replica, "SELECT pg_wal_replay_resume()")


@contextmanager
def restarted(replica, **settings):
    """Run the replica with settings other than the recommended ones."""
    recommended = replica.settings
    restart(replica, recommended | settings)
    try:
        yield
    finally:
        restart(replica, recommended)


def restart(replica, settings):
    connections["replica"].close()
    replica.stop()
    replica.settings = settings
    replica.start()


def answers(segment, people):
    """Read the members in every way; return the numbers of the users for each way."""
    users = get_user_model().objects
    numbers = {user.pk: n for n, user in enumerate(people)}
    found = {
        "has_member": {user.pk for user in people if segment.has_member(user)},
        "is_member": {user.pk for user in people if user.is_member(segment)},
        "is_member by slug": {user.pk for user in people if user.is_member("staff")},
        "is_member_live": {user.pk for user in people if user.is_member_live(segment)},
        "has_members": segment.has_members(people),
        "has_members of a queryset": segment.has_members(users.all()),
        "members": {user.pk for user in segment.members},
        "members_live": {user.pk for user in segment.members_live},
        "member_ids": set(segment.member_ids()),
        "user.segments": {user.pk for user in people if segment in user.segments},
        "user.segment_ids": {user.pk for user in people if segment.pk in user.segment_ids},
        "view": {row.user_id for row in segment.view.objects.using("replica")},
    }
    return {way: {numbers[pk] for pk in pks} for way, pks in found.items()}


def test_reads__come_from_the_replica(segment, people):
    assert run(connections["replica"], "SELECT pg_is_in_recovery()") == (True,)
    assert run(connection, "SELECT pg_is_in_recovery()") == (False,)
    assert segment._state.db == "replica"
    assert len(segment) == 5
    for way, found in answers(segment, people).items():
        assert found == set(range(5)), way


def test_reads__are_as_old_as_what_was_replayed(segment, people, replica):
    refreshed_at = segment.refreshed_at
    with paused():
        hire(range(3, 9))
        assert segment.refresh().added == 4
        for way, found in answers(segment, people).items():
            assert found == set(range(5)), way
        assert {user.username for user in segment.members.using("default")} == {
            f"u{n}" for n in range(3, 9)
        }
        assert Segment.objects.get(slug="staff").refreshed_at == refreshed_at
    replica.catch_up()
    assert Segment.objects.get(slug="staff").refreshed_at == segment.refreshed_at
    for way, found in answers(segment, people).items():
        assert found == set(range(3, 9)), way


def test_new_segment__is_there_once_it_was_replayed(segment, people, replica):
    with paused():
        late = Segment.objects.create(name="Late", slug="late", static_ids=people[:2])
        with pytest.raises(Segment.DoesNotExist):
            people[0].is_member("late")
        with pytest.raises(SegmentExecutionError, match='"segments.late" does not exist'):
            people[0].is_member(late)
    replica.catch_up()
    assert people[0].is_member("late")
    assert not people[2].is_member(late)
    late.delete()


def test_changes__to_a_segment_of_the_replica_go_to_the_primary(segment, people, replica):
    segment.static_ids = people[10:12]
    segment.save()
    assert segment.refresh_from_db(using="default") is None
    assert segment.members_count == 7
    call_command("refresh_segments", "staff")
    replica.catch_up()
    assert segment.static_ids == f"{people[10].pk}\n{people[11].pk}"
    assert segment.has_members(people[9:12]) == {people[10].pk, people[11].pk}


def test_refresh__is_refused_by_the_replica(segment, settings, replica):
    settings.SEGMENTS_EXEC_CONNECTION = "replica"
    with pytest.raises(SegmentExecutionError, match="read-only transaction") as caught:
        segment.refresh()
    assert caught.value.sqlstate == "25006"
    assert "a replica cannot" in str(caught.value)
    settings.SEGMENTS_EXEC_CONNECTION = "default"
    assert segment.refresh(force=True).status == "refreshed"


def long_report(replica):
    """Read the members on the replica in a long transaction; return the session and them."""
    reader = psycopg.connect(replica.url(DATABASE))
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return reader, reader.execute("SELECT array_agg(user_id) FROM segments.staff").fetchone()


def churn(segment):
    """Change the members again and again, and vacuum after each change."""
    for n in range(6):
        hire(range(n + 1, n + 8))
        assert segment.refresh().removed
        run(connection, "VACUUM segments.staff")


def conflicts(replica):
    with psycopg.connect(replica.url(DATABASE)) as opened:
        return opened.execute("SELECT sum(conflicts) FROM pg_stat_database").fetchone()[0]


def test_long_report__is_not_cancelled_by_refreshes(segment, replica):
    before = conflicts(replica)
    reader, members = long_report(replica)
    with reader:
        churn(segment)
        replica.catch_up()
        again = reader.execute("SELECT array_agg(user_id) FROM segments.staff").fetchone()
        assert again == members
        assert len(members[0]) == 5
    assert len(segment) == 7
    assert conflicts(replica) == before


def test_long_report__is_cancelled_without_feedback(segment, replica):
    with restarted(replica, hot_standby_feedback="off", max_standby_streaming_delay="0"):
        reader, _ = long_report(replica)
        churn(segment)
        replica.catch_up()
        with pytest.raises(psycopg.Error, match="conflict with recovery"):
            reader.execute("SELECT array_agg(user_id) FROM segments.staff")
        reader.close()


def test_long_report__is_cancelled_by_a_plain_refresh(segment, replica):
    with restarted(replica, max_standby_streaming_delay="0"):
        reader, _ = long_report(replica)
        segment.refresh(concurrently=False)
        replica.catch_up()
        with pytest.raises(psycopg.Error, match="conflict with recovery"):
            reader.execute("SELECT array_agg(user_id) FROM segments.staff")
        reader.close()
