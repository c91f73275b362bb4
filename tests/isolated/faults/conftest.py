"""A segment whose members have changed, sessions, and what holds after any fault."""

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
    """The test database, to commit to; views are dropped, since the flush leaves them."""
    yield
    connection.close()  # It may be that of a server which is no more.
    drop_views()


@pytest.fixture
def users(database):
    """The users u0 to u9, of which those with even numbers are staff."""
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
    """The members that the segment has from its next refresh on."""
    return {user.pk for user in users[:3]}


@pytest.fixture
def segment(users, new):
    """A segment of which three members are gone and one is new, as a refresh will find."""
    segment = Segment.objects.create(name="VIP", slug="vip", definition=STAFF)
    model = type(users[0])
    model.objects.update(is_staff=False)
    model.objects.filter(pk__in=new).update(is_staff=True)
    return segment


@pytest.fixture
def elsewhere(database):
    """Open a session in a thread of its own."""
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
"""What somebody would have to clear away by hand."""


@pytest.fixture
def sound(database):
    """Assert that a segment is whole, and is so again after its next refresh."""

    def stands(slug, expected):
        # A backend that was told to go takes a moment to do so.
        until(lambda: not ask(LEFT))
        segment = Segment.objects.get(slug=slug)
        members = {key for (key,) in ask(f"SELECT user_id FROM segments.{slug}")}
        assert members == expected
        indexed = Membership.objects.filter(segment=segment)
        assert set(indexed.values_list("user_id", flat=True)) == members
        assert segment.members_count == len(members)
        assert sync.check() == []
        return segment

    def check(slug, now, then, status=Status.REFRESHED, told=""):
        """Assert all of it.

        Args:
            slug: The segment.
            now: Its members now.
            then: Its members after another refresh.
            status: What its row says of the last refresh; None where that is up to chance.
            told: What is part of the error that its row has.
        """
        connection.close()  # It may be that of a server which is no more.
        segment = stands(slug, now)
        failed = segment.status == Status.FAILED
        if status is not None:
            assert segment.status == status
            assert told in segment.last_error
        assert segment.failures == failed
        assert bool(segment.last_error) == failed
        assert segment.refreshes.filter(status=Status.FAILED).count() == failed
        result = segment.refresh()
        assert result.status == "refreshed"
        segment = stands(slug, then)
        assert (segment.status, segment.last_error, segment.failures) == ("refreshed", "", 0)

    return check
