"""Segments through pgbouncer in transaction mode."""

import gc
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections, transaction

from demo.postgres import django_database
from segments import sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.sql import locks, session
from tests.own_server import DATABASE, connected
from tests.scaling.docs import block
from tests.scaling.pgbouncer import PROGRAM, pgbouncer
from tests.waiting import until

TABLE = get_user_model()._meta.db_table
POOL = 2
"""The connections of the pool."""

WORKERS = 6
KEPT = ("statement_timeout", "lock_timeout", "work_mem", "default_transaction_isolation")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="pgbouncer is not installed"),
    pytest.mark.usefixtures("people", "pool"),
]


@pytest.fixture(scope="module")
def pool(server):
    """The URL of the database through pgbouncer; Django uses it as in docs/scaling.md."""
    with pgbouncer(server, POOL) as url:
        databases = {"default": django_database(url)}
        exec(block("python", "DISABLE_SERVER_SIDE_CURSORS"), {"DATABASES": databases})
        with connected(**databases):
            yield url


@pytest.fixture
def direct(server):
    """Run a statement on a connection that does not go through pgbouncer."""

    def run(statement):
        with psycopg.connect(server.url(DATABASE), autocommit=True) as opened:
            return opened.execute(statement).fetchall()

    return run


@pytest.fixture
def pooled(pool):
    """Run a statement on every connection of the pool; return the first row of each."""

    def run(statement):
        with ExitStack() as stack:
            opened = [stack.enter_context(psycopg.connect(pool)) for _ in range(POOL)]
            return [each.execute(statement).fetchone() for each in opened]

    return run


def settings_of_pool(pooled):
    return pooled("SELECT " + ", ".join(f"current_setting('{name}')" for name in KEPT))


def work(number, people):
    """Use two segments as an application does: its own, and one that all workers share."""
    try:
        slug, mine = f"own-{number}", people[number : number + 5]
        own = Segment.objects.create(name=slug, slug=slug, static_ids=mine[:2])
        shared = Segment.objects.get(slug="shared")
        for n in range(1, 6):
            shared.description = f"{number} {n}"
            shared.save()
            assert shared.refresh().status in ("refreshed", "unchanged", "locked")
            own.static_ids = mine[:n]
            own.save()
            assert own.has_members(people) == {user.pk for user in mine[:n]}
            own.definition = f"SELECT id FROM {TABLE} WHERE username = 'u19'"
            own.save()
            assert own.refresh().members_count == n + 1
            own.definition = ""
            own.save()
            assert mine[0].is_member(slug)
            assert not people[19].is_member(own)
            assert people[19].is_member_live("shared")
            assert set(own.member_ids()) == {user.pk for user in own.members}
            assert {each.slug for each in mine[0].segments} >= {slug, "shared"}
    finally:
        connections.close_all()


@pytest.fixture
def shared(people):
    segment = Segment.objects.create(
        name="Shared", slug="shared", definition=f"SELECT id FROM {TABLE}"
    )
    yield segment
    Segment.objects.all().delete()


def test_many_at_once__get_right_answers_and_leave_nothing(shared, people, direct, pooled):
    before = settings_of_pool(pooled)
    with ThreadPoolExecutor(WORKERS) as workers:
        for done in [workers.submit(work, number, people) for number in range(WORKERS)]:
            done.result()
    assert sync.check() == []
    for number in range(WORKERS):
        own = Segment.objects.get(slug=f"own-{number}")
        assert set(own.members) == set(people[number : number + 5])
    names = direct(
        "SELECT application_name FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    assert names == [("",)] * POOL
    assert settings_of_pool(pooled) == before
    assert direct("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    assert pooled("SELECT count(*) FROM pg_prepared_statements") == [(0,)] * POOL
    assert direct("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == [(0,)]


@pytest.fixture
def others_at_work(pool):
    """Let another client take the last used connection of the pool."""

    @contextmanager
    def work():
        with psycopg.connect(pool) as other:
            other.execute("SELECT 1")
            yield

    return work


@pytest.fixture
def server_side_cursors():
    """Use server-side cursors, against the advice of the page."""
    options = connection.settings_dict
    options["DISABLE_SERVER_SIDE_CURSORS"] = False
    yield
    options["DISABLE_SERVER_SIDE_CURSORS"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # A lost cursor cannot be closed.


def test_server_side_cursors__get_lost_outside_a_transaction(
    shared, people, server_side_cursors, others_at_work
):
    stream = shared.member_ids()
    next(stream)
    with others_at_work(), pytest.raises(SegmentExecutionError, match="cursor .* does not exist"):
        list(stream)
    connection.close()


def test_server_side_cursors__work_in_a_transaction(
    shared, people, server_side_cursors, others_at_work
):
    with transaction.atomic():
        stream = shared.member_ids()
        next(stream)
        with others_at_work():
            assert len(list(stream)) == len(people) - 1


def test_lock_of_a_migration__may_stay_in_the_pool(shared, direct, others_at_work):
    """The reason why `migrate` needs a direct connection."""
    with session.transaction("default", "migrate") as opened:
        locks.begin_schema_change(opened)
    with others_at_work():
        with session.transaction("default", "sync") as opened:
            locks.end_schema_change(opened)
        assert shared.refresh().status == "detached"
    assert direct(block("sql", "pg_terminate_backend")) == [(True,)]
    connection.close()
    until(lambda: direct("SELECT FROM pg_locks WHERE locktype = 'advisory'") == [])
    assert shared.refresh(force=True).status == "refreshed"
