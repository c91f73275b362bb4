"""Sessions that a test holds up in the middle of a refresh, and sessions that observe them.

A refresh can be held up at each of `POINTS`. That needs no clock: the session waits for a lock of
the test, and Postgres shows that it waits.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections

from tests.conftest import USERS
from tests.sessions import connect
from tests.waiting import PATIENCE, until

POINTS = ("refresh", "reconcile", "history", "commit")
"""Inside REFRESH; in the middle of reconciling; before the history row; inside COMMIT."""

PLACES = [*((point, True) for point in POINTS), ("refresh", False)]
"""Each point, and whether the refresh is concurrent; a plain one differs at the first only."""

KEYS = {"refresh": 1, "history": 2, "commit": 3}
"""The advisory lock that a refresh waits for; when reconciling it waits for a row."""

SETUP = """
CREATE FUNCTION public.pause(point int) RETURNS boolean LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(point); RETURN true; END$$;
CREATE FUNCTION public.pause() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM public.pause(TG_ARGV[0]::int); RETURN NEW; END$$;
CREATE TRIGGER pause_history BEFORE INSERT ON segments_segmentrefresh FOR EACH ROW
    WHEN (NEW.status = 'refreshed') EXECUTE FUNCTION public.pause(2);
CREATE CONSTRAINT TRIGGER pause_commit AFTER INSERT ON segments_segmentrefresh
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.status = 'refreshed') EXECUTE FUNCTION public.pause(3);
CREATE CONSTRAINT TRIGGER pause_deletion AFTER DELETE ON segments_segment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.pause(3);
"""

STAFF = f"SELECT id FROM {USERS} WHERE is_staff AND (SELECT public.pause(1))"
"""A definition of the staff that waits at the point `refresh`."""

OTHERS = f"SELECT id FROM {USERS} WHERE NOT is_staff AND (SELECT public.pause(1))"
"""A definition of everybody else that waits there."""

committing = pytest.mark.django_db(transaction=True, available_apps=settings.INSTALLED_APPS)
"""The mark of the tests. With `available_apps`, Django's flush sends no `post_migrate`."""


def open_session():
    """Open a session as a person would, with a statement timeout."""
    return connect(application_name="by hand", options=f"-c statement_timeout={PATIENCE}s")


def ask(statement, *params):
    """Run a statement in a new session and return its rows."""
    with open_session() as opened:
        cursor = opened.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else None


def answers():
    """Return whether the server takes connections."""
    try:
        return bool(ask("SELECT 1"))
    except psycopg.OperationalError:
        return False


def waits(pid):
    """Return whether a backend waits for a lock of another one."""
    return ask("SELECT cardinality(pg_blocking_pids(%s)) > 0", pid)[0][0]


class Elsewhere:
    """A thread with its own Django connection, which does its work in order."""

    def __init__(self):
        self._executor = ThreadPoolExecutor(max_workers=1)
        self.pid = self.run(lambda: run_here("SELECT pg_backend_pid()")[0][0])

    def start(self, work) -> Future:
        """Start a piece of work."""
        return self._executor.submit(work)

    def run(self, work):
        """Do a piece of work and return its result."""
        return self.start(work).result(PATIENCE)

    def close(self):
        """Close the connection and end the thread."""
        self.run(connections.close_all)
        self._executor.shutdown()


def run_here(statement):
    """Run a statement on the Django connection of the calling thread."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


class Hold:
    """A session that holds refreshes up at one point, until its release or a crash."""

    def __init__(self, point, segment=None):
        self.point = point
        self._session = open_session()
        if point == "reconcile":
            self._session.execute("BEGIN")
            self._session.execute(
                f"SELECT FROM segments_membership m JOIN {USERS} u ON u.id = m.user_id "
                "WHERE segment_id = %s AND username IN ('u0', 'u8') FOR UPDATE OF m",
                [segment.pk],
            )
        else:
            self._session.execute("SELECT pg_advisory_lock(%s)", [KEYS[point]])

    def wait_for(self, pid):
        """Return once a backend waits at the point."""
        own = self._session.info.backend_pid
        until(lambda: ask("SELECT %s = ANY (pg_blocking_pids(%s))", own, pid)[0][0])

    def is_lost(self):
        """Return whether a crash of the server has ended this session."""
        try:
            self._session.execute("SELECT 1")
        except psycopg.OperationalError:
            return True
        return False

    def release(self):
        """Let the refreshes continue."""
        self._session.close()


def outcome(future):
    """Return the exception that the work ended with, or None."""
    return future.exception(PATIENCE)
