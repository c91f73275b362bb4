"""Unchanged segments after crashes, restarts, resets of statistics and changed settings."""

import os
import signal

import psycopg
import pytest
from django.db import connection

from segments.models import Segment
from tests.conftest import USERS
from tests.refreshing.test_unchanged import NEW_USER, alone, holds, rested
from tests.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("server"),
    pytest.mark.django_db(transaction=True),
]

LARGE = "SELECT user_id FROM shop_order WHERE amount >= 100"
WRITE = "UPDATE shop_order SET amount = 1 WHERE amount = 100"


@pytest.fixture(autouse=True)
def _clean(orders, clean_views, query):
    alone(query)


@pytest.fixture
def reconnect():
    """Connect again, after the server has closed all connections."""

    def again():
        connection.close()
        connection.ensure_connection()

    return again


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
@pytest.mark.parametrize("writes", [True, False])
def test_refresh__after_a_restart(mode, writes, make, query, server, reconnect):
    segment = rested(make, LARGE)
    if writes:
        query(WRITE)
    server.restart(mode)
    reconnect()
    assert segment.refresh().status == "refreshed"
    assert holds(segment, query)
    assert segment.refresh().status == "unchanged"


def test_refresh__after_a_backend_has_crashed(make, query, server, session, reconnect):
    """All sessions end and statistics are lost; the postmaster goes on."""
    segment = rested(make, LARGE)
    started = query("SELECT pg_postmaster_start_time()")
    other = session()
    other.execute(WRITE)
    os.kill(other.info.backend_pid, signal.SIGKILL)
    until(lambda: is_cut(connection.connection))
    until(lambda: takes_connections(server))
    reconnect()
    assert query("SELECT pg_postmaster_start_time()") == started
    assert segment.refresh().status == "refreshed"
    assert holds(segment, query)


def is_cut(connection):
    """Return whether a connection is lost."""
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def takes_connections(server):
    """Return whether the server accepts connections again."""
    try:
        psycopg.connect(server.url()).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    "reset",
    [
        "SELECT pg_stat_reset()",
        "SELECT pg_stat_reset_shared('wal')",
        "SELECT pg_stat_reset_single_table_counters('shop_order'::regclass)",
        "ALTER ROLE postgres SET track_counts = off",
        "ALTER ROLE postgres SET work_mem = '5MB'",
        "ALTER DATABASE {} SET track_counts = off",
        "ALTER ROLE postgres IN DATABASE {} SET track_counts = off",
    ],
)
def test_refresh__after_statistics_were_reset_or_turned_off(reset, make, query):
    segment = rested(make, LARGE)
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    query(reset.format(database))
    query(WRITE)
    try:
        assert segment.refresh().status == "refreshed"
        assert holds(segment, query)
        assert segment.refresh().status == ("refreshed" if "track" in reset else "unchanged")
    finally:
        query("ALTER ROLE postgres RESET ALL")
        query(f"ALTER DATABASE {database} RESET ALL")
        query(f"ALTER ROLE postgres IN DATABASE {database} RESET ALL")


def test_refresh__after_a_while_without_statistics(make, query, session):
    segment = rested(make, LARGE)
    for value in ("off", "on"):
        query(f"ALTER SYSTEM SET track_counts = {value}")
        query("SELECT pg_reload_conf()")
        until(lambda value=value: query("SHOW track_counts") == [(value,)])
        other = session()
        other.execute(WRITE if value == "off" else "SELECT 1")
        other.close()
    query("ALTER SYSTEM RESET track_counts")
    alone(query)
    assert segment.refresh().status == "refreshed"
    assert holds(segment, query)


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("what", [WRITE, "TRUNCATE shop_order", "DELETE FROM shop_order"])
def test_refresh__around_a_prepared_transaction(what, ends, make, query, session):
    segment = rested(make, LARGE)
    other = session()
    other.execute("BEGIN")
    other.execute(what)
    other.execute("PREPARE TRANSACTION 'a'")
    other.close()
    if what != "TRUNCATE shop_order":  # TRUNCATE locks the table.
        segment.refresh()
        assert holds(segment, query)
    other = session()
    other.execute(f"{ends} PREPARED 'a'")
    result = segment.refresh()
    assert holds(segment, query)
    assert result.status == "refreshed"


def test_refresh__of_keys_while_a_transaction_is_prepared(make, query, session):
    query(NEW_USER)
    segment = rested(make, f"SELECT id FROM {USERS} WHERE id < 1000000")
    other = session()
    other.execute("BEGIN")
    other.execute(f"UPDATE {USERS} SET first_name = 'x' WHERE username = 'u1'")
    other.execute("PREPARE TRANSACTION 'a'")
    other.close()
    alone(query)
    query("DELETE FROM segments_membership WHERE user_id = 999999")
    query(f"UPDATE {USERS} SET id = 1000001 WHERE id = 999999")
    segment.refresh()
    query("ROLLBACK PREPARED 'a'")
    assert holds(segment, query)


def test_refresh__of_a_copied_database(make, query, server):
    """A copy of the database has the digests of the original, but not its statistics."""
    segment = rested(make, LARGE)
    name = connection.settings_dict["NAME"]
    query("CHECKPOINT")
    connection.close()
    with psycopg.connect(server.url(), autocommit=True) as other:
        until(
            lambda: (
                not other.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = %s", [name]
                ).fetchall()
            )
        )
        other.execute(f'CREATE DATABASE copied TEMPLATE "{name}"')
    connection.settings_dict["NAME"] = "copied"
    try:
        assert segment.refresh().status == "refreshed"
        assert Segment.objects.get().refresh().status == "unchanged"
        assert holds(segment, query)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name
        with psycopg.connect(server.url(), autocommit=True) as other:
            other.execute("DROP DATABASE copied WITH (FORCE)")
