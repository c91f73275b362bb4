"""Fixtures for all tests: users, orders, segments, sessions and Postgres' catalog."""

import os
from datetime import UTC, datetime

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.test import TransactionTestCase
from psycopg.conninfo import make_conninfo

from demo.postgres import database_url
from segments import conf, sync
from segments.models import Segment, SegmentRefresh
from segments.sql.owned import RESERVED_SLUGS
from segments.sql.session import as_owner
from tests import emptying
from tests.own_server import own_server
from tests.sessions import connect
from tests.waiting import BLOCKED

TransactionTestCase._fixture_teardown = emptying.empty

USERS = "accounts_segmentableuser"

EVEN = f"SELECT id FROM {USERS} WHERE is_staff"
"""A definition whose members the fixture `staff` chooses."""

HOLD = """
CREATE FUNCTION public.hold() RETURNS boolean LANGUAGE plpgsql
AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN true; END'
"""
"""A function for definitions that waits while a test holds the advisory lock 7."""

HELD = f"{BLOCKED} AND objid = 7"
"""Counts the sessions that wait in that function."""

ORPHANED = """
SELECT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN (%s, %s) AND c.relname <> ALL (%s)
)
"""
"""Whether there are views although all segments are deleted."""


def pytest_collection_modifyitems(items):
    """Mark the tests that commit as slow: their databases have to be emptied."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        commits = marker and marker.kwargs.get("transaction")
        if commits or "transactional_db" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def forget(segments):
    """Delete the rows of segments, and leave their views."""
    SegmentRefresh.objects.filter(segment__in=segments).delete()
    segments._raw_delete("default")


def drop_views():
    """Delete all segments and their views, and the views that no segment has."""
    Segment.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(ORPHANED, [conf.schema(), conf.live_schema(), [*RESERVED_SLUGS]])
        if cursor.fetchall() == [(False,)]:
            return
    assert [entry.error for entry in sync.sync(prune=True) if entry.error] == []


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker):
    """A server for this module only; Django's connections lead there."""
    with django_db_blocker.unblock(), own_server() as started:
        with django_db_blocker.block():  # Tests still need the mark django_db.
            yield started


@pytest.fixture
def users(db, django_user_model):
    """Ten users with the names u0 to u9."""
    return django_user_model.objects.bulk_create(
        [django_user_model(username=f"u{n}") for n in range(10)]
    )


@pytest.fixture
def orders(users, query):
    """One order for each user, of 0, 50, 100 ... 450."""
    from tests.shop.models import Order

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    created = Order.objects.bulk_create(
        [Order(user=user, amount=50 * n, placed_at=moment) for n, user in enumerate(users)]
    )
    query("SET CONSTRAINTS ALL IMMEDIATE")  # A test may alter the table only after that.
    return created


@pytest.fixture
def staff(users):
    """Choose the staff by the numbers in the users' names."""

    def choose(*numbers):
        model = type(users[0])
        model.objects.update(is_staff=False)
        model.objects.filter(username__in=[f"u{n}" for n in numbers]).update(is_staff=True)

    choose(0, 2, 4, 6, 8)
    return choose


@pytest.fixture
def make(db):
    """Create a segment from keyword arguments; its name is made from its slug."""

    def create(slug="vip", **fields):
        if not {"definition", "static_ids", "manager_method"} & set(fields):
            fields["definition"] = f"SELECT id FROM {USERS}"
        return Segment.objects.create(name=slug.title(), slug=slug, **fields)

    return create


@pytest.fixture
def query(db):
    """Run SQL on the connection of the test, and return its rows."""

    def run(sql, *params):
        with connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture
def owner(db):
    """Run SQL as the owner of the views, on the connection that creates them; return rows."""

    def run(sql, *params):
        alias = conf.exec_connection()
        with (
            transaction.atomic(using=alias),
            as_owner(connections[alias]),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else None

    return run


@pytest.fixture
def failing(orders, make, query):
    """A segment whose definition fails since its first refresh."""
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    segment = make("failing", definition="SELECT user_id FROM shop_order WHERE 1 / amount <= 1")
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
    return segment


@pytest.fixture
def relation(query):
    """Return (oid, kind, comment, acl, populated) of a relation, or None."""

    def look(name):
        rows = query(
            "SELECT oid, relkind::text, obj_description(oid, 'pg_class'), relacl::text, "
            "relispopulated FROM pg_class WHERE oid = to_regclass(%s)",
            name,
        )
        return rows[0] if rows else None

    return look


@pytest.fixture
def names(query):
    """Return the names of all views and indexes in the segments' two schemas."""

    def look():
        return {
            name
            for (name,) in query(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname IN ('segments', 'segments_live')"
            )
        }

    return look


@pytest.fixture
def dba(query):
    """Run SQL with all privileges: as the application, or as a superuser in a role set-up.

    In a role set-up it is committed at once.
    """
    if not hasattr(settings, "SETUP"):
        return query

    def run(sql):
        where = make_conninfo(database_url(), dbname=connection.settings_dict["NAME"])
        with psycopg.connect(where, autocommit=True) as privileged:
            privileged.execute(sql)

    return run


@pytest.fixture
def creates_schemas(dba, settings):
    """Let the owner of the views create schemas; in two role set-ups it may not otherwise."""
    if getattr(settings, "SETUP", "one_role") == "one_role":
        yield
        return
    settings.SEGMENTS_READER_ROLES = [settings.APP]
    database = connection.settings_dict["NAME"]
    dba(f"GRANT CREATE ON DATABASE {database} TO {settings.OWNER}")
    yield
    dba(f"REVOKE CREATE ON DATABASE {database} FROM {settings.OWNER}")


@pytest.fixture
def role(query, owner, dba):
    """Create a role for this test; a rollback or the end of the role set-up removes it."""
    members = {}

    def create(name):
        unique = f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
        if unique not in members:
            if not query("SELECT 1 FROM pg_roles WHERE rolname = %s", unique):
                dba(f'CREATE ROLE "{unique}"')
            ((me,),) = query("SELECT session_user::text")
            ((members[unique],),) = owner("SELECT current_user::text")
            dba(f'GRANT "{unique}" TO "{me}", "{members[unique]}"')
        return unique

    yield create
    if hasattr(settings, "SETUP"):
        for unique, member in members.items():
            dba(f'REVOKE "{unique}" FROM "{member}"')


@pytest.fixture
def session(transactional_db):
    """Open further sessions to the test database, and close them at the end."""
    opened = []

    def open_session(alias="default"):
        opened.append(connect(alias))
        return opened[-1]

    yield open_session
    for connected in opened:
        connected.close()


@pytest.fixture
def exec_alias(settings):
    """Evaluate definitions on the connection `exec`."""
    settings.SEGMENTS_EXEC_CONNECTION = "exec"
    yield "exec"
    connections["exec"].close()


@pytest.fixture
def clean_views(transactional_db):
    """Drop the views that a test has committed: Django's flush empties only tables."""
    yield
    drop_views()
