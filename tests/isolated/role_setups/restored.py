"""Undo the committed changes of a test: rows, views and tables.

If views follow on commit, no test can be rolled back. Segments are deleted and tables emptied
after each test. If it has changed anything else, such as the columns of a table, the database is
copied again from its original. Django's flush would take longer than most tests; it is left out.
"""

import os

import psycopg
import pytest
from django.db import connections
from django.db.models import ProtectedError
from django.test import TransactionTestCase
from psycopg import sql

from demo.postgres import database_url
from tests.databases import address, database

DATABASE = os.environ["SEGMENTS_DATABASE"]

OBJECTS = """
SELECT n.nspname, n.nspacl::text, c.relname, c.relkind, c.relacl::text, c.relrowsecurity,
       a.attname, a.atttypid, a.attnotnull, a.attacl::text
FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid LEFT JOIN pg_attribute a
  ON a.attrelid = c.oid AND a.attnum > 0
WHERE n.nspname !~ '^pg_|^information_schema$'
UNION ALL
SELECT n.nspname, NULL, p.oid::regprocedure::text, NULL, p.proacl::text, NULL,
       md5(p.prosrc), NULL, NULL, NULL
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_|^information_schema$'
UNION ALL
SELECT conrelid::regclass::text, NULL, conname, contype, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_constraint WHERE conrelid <> 0
"""
"""Lists the objects of a database."""

EMPTY = """
DO $$
DECLARE
    t regclass;
BEGIN
    SET LOCAL session_replication_role = replica;  -- Without foreign keys, and so in any order.
    FOR t IN
        SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
            AND relname NOT IN ('django_content_type', 'auth_permission', 'django_migrations')
    LOOP
        EXECUTE format('DELETE FROM %s', t);
    END LOOP;
END $$
"""
"""Deletes all rows except those that migrations create."""


def _objects(name):
    with psycopg.connect(address(name)) as privileged:
        return set(privileged.execute(OBJECTS))


def _copy(source, name):
    """Replace a database by a copy of another, with its privileges, which Postgres leaves out."""
    connections.close_all()
    with psycopg.connect(database_url(), autocommit=True) as server:
        names = {"name": sql.Identifier(name), "source": sql.Identifier(source)}
        for statement in (
            "DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            "CREATE DATABASE {name} TEMPLATE {source}",
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        ):
            server.execute(sql.SQL(statement).format(**names))
        rights = server.execute(
            "SELECT privilege_type, grantee::regrole::text "
            "FROM pg_database, aclexplode(datacl) WHERE datname = %s",
            [source],
        )
        for right, role in rights:
            server.execute(
                sql.SQL(f"GRANT {right} ON DATABASE {{name}} TO {{role}}").format(
                    role=sql.SQL("PUBLIC") if role == "-" else sql.Identifier(role), **names
                )
            )


@pytest.fixture(scope="session")
def prepared(django_db_setup):
    """A copy of the database before the tests, and its list of objects."""
    with database("setup_prepared") as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: None)
        _copy(DATABASE, name)
        yield name, _objects(name)


@pytest.fixture
def restored(transactional_db, prepared):
    """Restore the database after the test."""
    yield
    # Pytest loads this module before Django loads models.
    from segments.exceptions import SegmentError
    from segments.models import Segment
    from segments.sync import repair

    copy, objects = prepared
    try:
        Segment.objects.all().delete()
        list(repair.drop_orphans(connections["exec"]))
        with psycopg.connect(address(DATABASE)) as privileged:
            privileged.execute("SET lock_timeout = '5s'")
            privileged.execute(EMPTY)
            same = set(privileged.execute(OBJECTS)) == objects
    except (SegmentError, ProtectedError, psycopg.Error):
        same = False
    if not same:
        _copy(copy, DATABASE)
