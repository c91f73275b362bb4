"""A segment whose members have changed, sessions, and the conditions after any fault."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from segments import sync
from segments.models import Membership, Segment, Status
from tests.conftest import drop_views
from tests.isolated.faults import sessions
from tests.isolated.faults.sessions import STAFF, Elsewhere, Hold, ask
from tests.waiting import until


@pytest.fixture(scope="module", autouse=True)
def server(server):
    """A server for each module, whose refreshes can be held up."""
    ask(sessions.SETUP)
    return server


@pytest.fixture
def database(transactional_db):
    """The test database; committed views are dropped at the end."""
    yield
    connection.close()  # Its server may have stopped.
    drop_views()


@pytest.fixture
def users(database):
    """The users u0 to u9; those with even numbers are staff."""
    model = get_user_model()
    return model.objects.bulk_create(
        [model(username=f"u{n}", is_staff=n % 2 == 0) for n in range(10)]
    )


@pytest.fixture
def old(users):
    """The members of the segment at its last refresh."""
    return {user.pk for user in users[::2]}


@pytest.fixture
def new(users):
    """The members of the segment from its next refresh on."""
    return {user.pk for user in users[:3]}


@pytest.fixture
def segment(users, new):
    """A segment whose next refresh will remove three members and add one."""
    segment = Segment.objects.create(name="VIP", slug="vip", definition=STAFF)
    model = type(users[0])
    model.objects.update(is_staff=False)
    model.objects.filter(pk__in=new).update(is_staff=True)
    return segment


@pytest.fixture
def elsewhere(database):
    """Open a Django session in another thread."""
    opened = []

    def create():
        opened.append(Elsewhere())
        return opened[-1]

    yield create
    for each in opened:
        each.close()


@pytest.fixture
def hold(segment):
    """Hold refreshes up at a point."""
    opened = []

    def create(point):
        opened.append(Hold(point, segment))
        return opened[-1]

    yield create
    for each in opened:
        each.release()


LEFT = """
SELECT 'lock', locktype FROM pg_locks WHERE locktype = 'advisory'
UNION ALL
SELECT 'session', application_name FROM pg_stat_activity
WHERE datname = current_database() AND state LIKE 'idle in transaction%'
UNION ALL
SELECT 'temporary table', relname FROM pg_class WHERE relpersistence = 't'
UNION ALL
SELECT 'temporary file', name FROM pg_database
CROSS JOIN LATERAL pg_ls_dir('base/' || oid) AS name
WHERE datname = current_database() AND name ~ '^t[0-9]+_[0-9]+'
UNION ALL
SELECT 'trial view', relname FROM pg_class WHERE relname LIKE '% trial %'
"""
"""Lists leftovers that a person would have to clear away."""


@pytest.fixture
def sound(database):
    """Assert that a segment is consistent, now and after its next refresh."""

    def stands(slug, expected):
        # A terminated backend takes a moment to end.
        until(lambda: not ask(LEFT))
        segment = Segment.objects.get(slug=slug)
        members = {key for (key,) in ask(f"SELECT user_id FROM segments.{slug}")}
        assert members == expected
        indexed = Membership.objects.filter(segment=segment)
        assert set(indexed.values_list("user_id", flat=True)) == members
        assert segment.members_count == len(members)
        assert sync.check() == []
        return segment

    def check(slug, now, then, status=Status.REFRESHED, message=""):
        """Assert its members, its state and its history.

        Args:
            slug: The segment.
            now: Its current members.
            then: Its members after another refresh.
            status: The status in its row; None if that depends on chance.
            message: A part of the error in its row.
        """
        connection.close()  # Its server may have stopped.
        segment = stands(slug, now)
        failed = segment.status == Status.FAILED
        if status is not None:
            assert segment.status == status
            assert message in segment.last_error
        assert segment.failures == failed
        assert bool(segment.last_error) == failed
        assert segment.refreshes.filter(status=Status.FAILED).count() == failed
        result = segment.refresh()
        assert result.status == "refreshed"
        segment = stands(slug, then)
        assert (segment.status, segment.last_error, segment.failures) == ("refreshed", "", 0)

    return check
