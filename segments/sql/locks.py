"""The advisory locks: of a segment, of what all segments share, and of a schema change."""

from contextlib import suppress
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.sql.session import fetch_all, fetch_value
from segments.sql.statements import sql_text


def lock(connection: BaseDatabaseWrapper, segment: int) -> None:
    """Take the segment's lock until the end of the transaction, waiting up to lock_timeout."""
    fetch_value(connection, "lock_segment", key=lock_key(segment))


def try_lock(connection: BaseDatabaseWrapper, segment: int) -> tuple[bool, bool]:
    """Take the segment's lock until the end of the transaction, unless another session has it.

    Returns:
        Whether it was taken, and `is_schema_changing`.
    """
    keys = {"key": lock_key(segment), "schema_change": schema_change_key()}
    ((taken, changing),) = fetch_all(connection, "try_lock_segment", **keys)
    return taken, changing


def lock_shared(connection: BaseDatabaseWrapper) -> None:
    """Take the lock of what all segments share, which only one session at a time may change."""
    fetch_value(connection, "lock_segment", key=f"{conf.schema()}:base")


def begin_schema_change(connection: BaseDatabaseWrapper) -> None:
    """Make the refreshes of other sessions stand aside until this session ends the change.

    Waits up to lock_timeout for another schema change, and for all transactions of other sessions
    that may have attached a segment, such as running refreshes.
    """
    fetch_value(connection, "lock_schema_change", key=schema_change_key())


def holds_schema_change(connection: BaseDatabaseWrapper) -> bool:
    """Return whether this session has begun a schema change and not ended it."""
    return bool(fetch_value(connection, "select_held_schema_change", key=schema_change_key()))


def end_schema_change(connection: BaseDatabaseWrapper) -> None:
    """Let refreshes go on, if this session has stopped them."""
    fetch_value(connection, "unlock_schema_change", key=schema_change_key())


def release_schema_change(raw: "psycopg.Connection[Any]") -> None:
    """End the schema change of a connection that Django has given back to a pool.

    Does nothing if its session has ended, which released the lock.
    """
    with suppress(psycopg.Error), raw.transaction():
        psycopg.Cursor(raw).execute(sql_text("unlock_schema_change"), {"key": schema_change_key()})


def is_schema_changing(connection: BaseDatabaseWrapper) -> bool:
    """Return whether another session changes the schema.

    If none does, none begins before the end of this transaction.
    """
    return bool(fetch_value(connection, "select_schema_change", key=schema_change_key()))


def schema_change_key() -> str:
    """Return what the advisory lock of a schema change is the hash of."""
    return f"{conf.schema()}:schema change"


def lock_key(segment: int) -> str:
    """Return what a segment's advisory lock is the hash of."""
    return f"{conf.schema()}:{segment}"
