"""Segments over the tables of another server, through postgres_fdw."""

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from segments import sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from tests.scaling.docs import block
from tests.scaling.growth import SETTINGS
from tests.servers import Server, skip_without_library
from tests.waiting import until

SETUP = block("sql", "CREATE SERVER events")
DEFINITION = block("sql", "HAVING count(*)")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shop")]


def local(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def plan(statement):
    return "\n".join(line for (line,) in local(f"EXPLAIN (VERBOSE, COSTS OFF) {statement}"))


def numbers(segment, people):
    """Return the numbers of the users in the segment."""
    keys = {user.pk: n for n, user in enumerate(people)}
    return sorted(keys[pk] for pk in segment.member_ids())


@pytest.fixture(scope="module")
def other_server():
    """A second server, with the table of events."""
    with Server(SETTINGS) as started:
        with psycopg.connect(started.url(), autocommit=True) as opened:
            skip_without_library(opened.cursor(), "postgres_fdw")
        yield started


@pytest.fixture(scope="module")
def remote(other_server):
    """Run a statement on the second server."""

    def run(statement):
        with psycopg.connect(other_server.url(), autocommit=True) as opened:
            cursor = opened.execute(statement)
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture(scope="module")
def shop(people, other_server, remote):
    """The table of events there, and the foreign table of the page here."""
    remote("CREATE TABLE event (user_id bigint NOT NULL, placed_at timestamptz NOT NULL)")
    remote("CREATE INDEX ON event (placed_at)")
    local(SETUP.replace("host 'events.example.com'", f"host '{other_server.home}'"))


@pytest.fixture
def active(people, remote):
    """A segment of users with three events: u0 to u4, and one that is unknown here."""
    remote("TRUNCATE event")
    for user in people[:5]:
        remote(f"INSERT INTO event SELECT {user.pk}, now() FROM generate_series(1, 3)")
    remote("INSERT INTO event SELECT 1000000, now() FROM generate_series(1, 3)")
    remote(f"INSERT INTO event VALUES ({people[9].pk}, now())")
    segment = Segment.objects.create(name="Active", slug="active", definition=DEFINITION)
    yield segment
    segment.delete()


def test_members__are_computed_there_and_kept_here(active, people):
    assert active.members_count == 5
    assert numbers(active, people) == [0, 1, 2, 3, 4]
    assert people[0].is_member("active")
    assert not people[9].is_member("active")
    assert set(active.members) == set(people[:5])
    assert list(people[0].segments) == [active]
    assert sync.check() == []


def test_aggregate__runs_there(active):
    shown = plan("SELECT user_id FROM segments_live.active")
    (sent,) = [line for line in shown.splitlines() if "Remote SQL" in line]
    assert "GROUP BY" in sent
    assert "HAVING" in sent


def test_filter__by_a_fixed_moment_is_remote_and_by_now_is_local(active):
    fixed = plan("SELECT user_id FROM event WHERE placed_at > '2026-01-01T00:00Z'")
    assert "WHERE" in fixed
    moving = plan("SELECT user_id FROM event WHERE placed_at > now() - interval '1 day'")
    assert "WHERE" not in moving
    assert "Filter: " in moving


def test_change_there__is_seen_by_the_next_refresh(active, people, remote):
    remote(f"INSERT INTO event SELECT {people[7].pk}, now() FROM generate_series(1, 3)")
    remote(f"DELETE FROM event WHERE user_id = {people[0].pk}")
    assert people[7].is_member_live(active)
    assert not people[7].is_member(active)
    result = active.refresh()
    assert (result.added, result.removed) == (1, 1)
    assert numbers(active, people) == [1, 2, 3, 4, 7]


def test_stopped_server__keeps_the_last_members(active, people, other_server, remote):
    try:
        other_server.crash()
        with pytest.raises(SegmentExecutionError) as caught:
            active.refresh()
        assert "events" in str(caught.value)
        assert Segment.objects.get(slug="active").status == "failed"
        assert active.status == "failed"
        assert active.last_error == str(caught.value)
        assert numbers(active, people) == [0, 1, 2, 3, 4]
        assert people[0].is_member("active")
        with pytest.raises(SegmentExecutionError):
            people[0].is_member_live("active")
    finally:
        other_server.start()
    remote(f"DELETE FROM event WHERE user_id = {people[0].pk}")
    assert active.refresh().removed == 1
    assert active.status == "refreshed"
    assert numbers(active, people) == [1, 2, 3, 4]


def test_timeout__ends_the_query_there(active, settings, remote):
    local("CREATE FOREIGN TABLE slow (user_id bigint) SERVER events")
    remote("CREATE VIEW slow AS SELECT 1::bigint AS user_id FROM pg_sleep(60)")
    running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0.3
    with pytest.raises(SegmentExecutionError, match="statement timeout"):
        Segment.objects.create(name="Slow", slug="slow", definition="SELECT user_id FROM slow")
    until(lambda: remote(running) == [(0,)])


def test_local_definition__may_join_both(active, people):
    segment = Segment.objects.create(
        name="Chosen",
        slug="chosen",
        definition="SELECT e.user_id FROM event e JOIN "
        f"{get_user_model()._meta.db_table} u ON u.id = e.user_id WHERE u.username < 'u2'",
    )
    assert numbers(segment, people) == [0, 1]
    segment.delete()
