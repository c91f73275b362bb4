"""Refreshes side by side: too few connections, and sessions that other threads use as well."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection, connections

from segments import conf
from segments.models import Segment
from segments.refreshing import many, pool
from tests.conftest import EVEN, USERS
from tests.own_server import connected
from tests.refreshing.test_unchanged import alone
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clean_views")]

WRITE = f"UPDATE {USERS} SET is_staff = NOT is_staff WHERE username = 'u1'"

SIZES = pytest.mark.parametrize("size", [1, 2, 3])


@contextmanager
def pooled(size):
    """Let Django's connections come from a pool of so many."""
    pytest.importorskip("psycopg_pool")
    options = connection.settings_dict["OPTIONS"] | {"pool": {"min_size": 1, "max_size": size}}
    with connected(default={"OPTIONS": options}):
        connection.ensure_connection()
        try:
            yield
        finally:
            connections.close_all()
            connection.close_pool()


@contextmanager
def thread_writes(*statements):
    """Let another thread write on a connection of its own; it is given back at the end."""
    written, end, pids = threading.Event(), threading.Event(), []

    def write():
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                pids.append(connection.connection.info.backend_pid)
            written.set()
            end.wait()
        finally:
            written.set()
            connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    written.wait()
    try:
        yield pids
    finally:
        end.set()
        thread.join()


@pytest.fixture
def rested(staff, make, query):
    """Create segments whose next refresh finds nothing to do, unless somebody writes."""

    def create(**definitions):
        for slug, definition in definitions.items():
            make(slug, definition=definition)
        alone(query)
        assert {r.status for r in many.refresh_many(Segment.objects.all())} == {"unchanged"}

    return create


@SIZES
def test_pool__with_few_connections_goes_on(size, staff, orders, make, query, monkeypatch):
    """The caller has one of the connections; with no other, it refreshes by itself."""
    monkeypatch.setattr(pool, "FIRST", 1.0)
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    make("bad", definition="SELECT user_id FROM shop_order WHERE 1 / amount <= 1")
    for n in range(4):
        make(f"s{n}", definition=f"{EVEN} AND id % 5 <> {n}")
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
    staff(1, 2, 3)
    with pooled(size):
        started = time.monotonic()
        results = list(many.refresh_many(Segment.objects.all(), jobs=4))
        assert time.monotonic() - started < 20
        statuses = {r.slug: r.status for r in results}
        assert statuses == {"bad": "failed"} | {f"s{n}": "refreshed" for n in range(4)}
        bad = Segment.objects.get(slug="bad")
        assert (bad.status, bad.failures) == ("failed", 1)
        assert "division by zero" in bad.last_error


def test_pool__without_any_connection_is_the_caller(staff, make, monkeypatch):
    monkeypatch.setattr(pool, "FIRST", 0.2)
    make("base", definition=EVEN)
    make("near", definition="SELECT user_id FROM segments.base")
    make("far", definition="SELECT user_id FROM segments.near")
    staff(1)
    with pooled(1):
        results = many.refresh_many(Segment.objects.all(), jobs=3)
        assert next(results).slug == "base"
        assert [(r.slug, r.members_count) for r in results] == [("near", 1), ("far", 1)]


def test_pool__takes_connections_that_come_later(staff, make, monkeypatch):
    """A thread that had to wait for its connection takes part as soon as it has one."""
    monkeypatch.setattr(pool, "FIRST", 0.2)
    with pooled(2), ExitStack() as taken:
        pids = taken.enter_context(thread_writes("SELECT 1"))
        with pool.RefreshPool(1) as threads:
            assert threads.own_pids == set()
            taken.close()
            until(lambda: threads.own_pids == set(pids))
            threads.start(make(definition=EVEN), many.RefreshOptions(force=True))
            _, result = threads.next_result()
            assert result.status == "refreshed"


def test_pool__forgets_its_sessions_when_it_is_left(staff, make):
    with pool.RefreshPool(3) as threads:
        pids = set(threads.own_pids)
        assert len(pids) == 3
        assert connection.connection.info.backend_pid not in pids
    assert threads.own_pids == set()


def test_pool__replaces_the_session_of_a_killed_connection(staff, make, session):
    for n in range(3):
        make(f"s{n}", definition=EVEN)
    segments = list(Segment.objects.all())
    other = session(conf.exec_connection())
    with pool.RefreshPool(1) as threads:
        (killed,) = threads.own_pids
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [killed])
        for segment in segments:
            threads.start(segment, many.RefreshOptions(force=True))
        results = [threads.next_result() for _ in segments]
        assert len(results) == 3
        assert [result.status for _, result in results[1:]] == ["refreshed"] * 2
        assert killed not in threads.own_pids
        assert len(threads.own_pids) == 1


def test_unchanged__after_a_thread_wrote_on_the_callers_session(rested, query):
    """The caller gives its session back during the run, and another thread writes on it."""
    rested(
        base=f"SELECT id FROM {USERS} WHERE id > 0", near=f"{EVEN} AND id IN (TABLE segments.base)"
    )
    with pooled(4):
        pid = connection.connection.info.backend_pid
        results = many.refresh_many(Segment.objects.order_by("slug"), jobs=2)
        first = next(results)
        assert (first.slug, first.status) == ("base", "unchanged")
        connection.close()
        with thread_writes(WRITE, WRITE, WRITE) as pids:
            assert pids == [pid]
            assert [r.status for r in results] == ["refreshed"]
        segment = Segment.objects.get(slug="near")
        assert set(segment.member_ids()) == set(segment.members_live.values_list("pk", flat=True))


def test_unchanged__after_a_thread_gave_its_session_back(rested, query):
    """A thread of the pool gets a session with writes that Postgres has not counted yet."""
    rested(a=EVEN, b=EVEN)
    with pooled(3):
        with thread_writes(WRITE, WRITE, WRITE):
            pass
        results = list(many.refresh_many(Segment.objects.all(), jobs=2))
        assert [r.status for r in results] == ["refreshed", "refreshed"]


def test_unchanged__on_a_pool_where_nobody_wrote(rested):
    rested(a=EVEN, b=EVEN)
    with pooled(3):
        results = list(many.refresh_many(Segment.objects.all(), jobs=2))
        assert [r.status for r in results] == ["unchanged", "unchanged"]


def test_unchanged__after_the_caller_wrote_between_two_results(rested, query):
    rested(
        base=f"SELECT id FROM {USERS} WHERE id > 0", near=f"{EVEN} AND id IN (TABLE segments.base)"
    )
    results = many.refresh_many(Segment.objects.order_by("slug"), jobs=2)
    assert next(results).status == "unchanged"
    for _ in range(3):
        query(WRITE)
    assert [r.status for r in results] == ["refreshed"]
