"""Refreshes and saves that are cancelled, terminated, or stopped by a limit."""

import os
import subprocess
import sys

import pytest
from django.db import OperationalError, connection

from segments.exceptions import SegmentExecutionError, SegmentLockedError
from segments.models import Segment, Status
from tests.conftest import USERS
from tests.isolated.faults.sessions import (
    OTHERS,
    PLACES,
    POINTS,
    STAFF,
    ask,
    committing,
    open_session,
    outcome,
    run_here,
    waits,
)
from tests.waiting import until

pytestmark = [pytest.mark.slow, committing]


def cancel(pid):
    assert ask("SELECT pg_cancel_backend(%s)", pid) == [(True,)]


def terminate(pid):
    assert ask("SELECT pg_terminate_backend(%s)", pid) == [(True,)]


TOLD = {cancel: "canceling statement due to user request", terminate: "terminating connection"}
"""The message of Postgres for each."""

faults = pytest.mark.parametrize("fault", TOLD, ids=lambda fault: fault.__name__)


@faults
@pytest.mark.parametrize(("point", "concurrently"), PLACES)
def test_refresh__stopped(fault, point, concurrently, segment, hold, elsewhere, sound, old, new):
    held, other = hold(point), elsewhere()
    work = other.start(lambda: segment.refresh(concurrently))
    held.wait_for(other.pid)
    fault(other.pid)
    error = outcome(work)
    held.release()
    assert isinstance(error, SegmentExecutionError)
    assert TOLD[fault] in str(error)
    assert (segment.status, segment.failures) == (Status.FAILED, 1)
    sound("vip", old, new, Status.FAILED, TOLD[fault])


@pytest.mark.parametrize("point", POINTS[:-1])  # Postgres has no timeout for a COMMIT.
def test_refresh__beyond_the_statement_timeout(point, segment, hold, sound, old, new, settings):
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0.3
    held = hold(point)
    with pytest.raises(SegmentExecutionError, match="(?s)due to statement timeout.*raise"):
        segment.refresh()
    held.release()
    settings.SEGMENTS_STATEMENT_TIMEOUT = 300
    sound("vip", old, new, Status.FAILED, "due to statement timeout")


@pytest.mark.parametrize("point", POINTS)
def test_refresh__beyond_the_lock_timeout(point, segment, hold, sound, old, new, settings):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.2
    held = hold(point)
    with pytest.raises(SegmentLockedError, match="due to lock timeout"):
        segment.refresh()
    held.release()
    sound("vip", old, new, Status.FAILED, "due to lock timeout")


@pytest.mark.parametrize("limit", ["temp_file_limit = '1MB'", "temp_file_limit = -1"])
def test_refresh__on_a_full_disk(limit, segment, elsewhere, sound, users, new, settings):
    """The server refuses to write, as with a full disk; without a limit it succeeds."""
    settings.SEGMENTS_WORK_MEM = "64kB"
    segment.definition = SPILLING
    segment.save()
    type(users[0]).objects.update(is_staff=True)
    other = elsewhere()
    other.run(lambda: run_here(f"SET {limit}"))
    error = outcome(other.start(segment.refresh))
    everyone = {user.pk for user in users}
    if limit.endswith("-1"):
        assert error is None
        sound("vip", everyone, everyone)
    else:
        assert error.sqlstate == "53400"
        sound("vip", new, everyone, Status.FAILED, "temporary file size exceeds")


SPILLING = f"""
SELECT id FROM (
    SELECT id FROM {USERS} CROSS JOIN generate_series(1, 4000) AS n
    WHERE is_staff ORDER BY md5(n::text)
) AS sorted
"""
"""With a work_mem of 64 kB this writes some 500 kB to disk for three users, and 2 MB for ten."""


@pytest.mark.parametrize("point", ["refresh", "commit"])
def test_refresh__by_a_client_that_is_killed(point, segment, hold, server, sound, old, new):
    held = hold(point)
    client = subprocess.Popen(
        [sys.executable, "-m", "tests.isolated.faults.worker", "refresh", "vip"],
        env={**os.environ, "DATABASE_URL": server.url(connection.settings_dict["NAME"])},
    )
    find = "SELECT pid FROM pg_stat_activity WHERE application_name = 'segments: vip'"
    ((pid,),) = until(lambda: ask(find))
    held.wait_for(pid)
    client.kill()
    client.wait()
    assert segment.refresh().status == "locked"  # Its backend has not noticed yet.
    held.release()
    # A backend finishes its COMMIT after its client is gone.
    sound("vip", new if point == "commit" else old, new)


def test_refresh__that_is_committed_without_an_answer(segment, elsewhere, sound, new):
    """A session that is terminated while its commit waits for a replica has committed."""
    other = elsewhere()
    with open_session() as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            until(lambda: ask("SHOW synchronous_standby_names") == [("nobody",)])
            work = other.start(segment.refresh)
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = %s"
            until(lambda: ask(waiting, other.pid))
            terminate(other.pid)
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
    assert isinstance(outcome(work), SegmentExecutionError)
    sound("vip", new, new)


def test_refresh__after_a_session_that_ended_before(segment, elsewhere, sound, new):
    """Outside a request, Django does not check whether a connection is lost."""
    other, blocker = elsewhere(), elsewhere()
    blocker.run(lambda: run_here("BEGIN; LOCK TABLE segments_segment"))
    work = other.start(Segment.objects.count)
    until(lambda: waits(other.pid))
    terminate(other.pid)
    assert isinstance(outcome(work), OperationalError)
    blocker.run(lambda: run_here("ROLLBACK"))
    assert other.run(segment.refresh).status == "refreshed"
    sound("vip", new, new)


@pytest.mark.parametrize("point", POINTS)
def test_save__stopped(point, segment, hold, elsewhere, sound, old, new):
    held, other = hold(point), elsewhere()
    segment.definition, segment.slug = OTHERS, "other"
    work = other.start(segment.save)
    held.wait_for(other.pid)
    terminate(other.pid)
    outcome(work)
    held.release()
    stored = Segment.objects.get()
    assert (stored.slug, stored.definition) == ("vip", STAFF)
    sound("vip", old, new)
    with pytest.raises(SegmentExecutionError, match=TOLD[terminate]):
        work.result()


@pytest.mark.parametrize("point", ["refresh", "history", "commit"])
def test_create__stopped(point, segment, hold, elsewhere, sound, old, new):
    held, other = hold(point), elsewhere()
    another = Segment(name="Another", slug="another", definition=STAFF)
    work = other.start(another.save)
    held.wait_for(other.pid)
    terminate(other.pid)
    outcome(work)
    held.release()
    assert another.pk is None
    views = "SELECT to_regclass('segments.another'), to_regclass('segments_live.another')"
    assert ask(views) == [(None, None)]
    sound("vip", old, new)
    another.save()
    sound("another", new, new)
    with pytest.raises(SegmentExecutionError, match=TOLD[terminate]):
        work.result()


def test_delete__stopped(segment, hold, elsewhere, sound, old, new):
    held, other, key = hold("commit"), elsewhere(), segment.pk
    work = other.start(segment.delete)
    held.wait_for(other.pid)
    terminate(other.pid)
    outcome(work)
    held.release()
    sound("vip", old, new)
    assert segment.pk == key
    with pytest.raises(SegmentExecutionError, match=TOLD[terminate]):
        work.result()
    assert segment.delete()[0] > 0
