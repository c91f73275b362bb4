"""The transaction in which a segment is worked on: its limits, its lock, its protocol."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError, from_driver
from segments.sql import statement, text


@contextmanager
def limited(
    alias: str,
    slug: str,
    undo: bool = False,
    writes: bool = True,
    timeout: timedelta | None = None,
    lock_timeout: timedelta | None = None,
) -> Iterator[BaseDatabaseWrapper]:
    """Open a transaction, or a savepoint in the caller's, under the timeouts of the settings.

    The caller's own timeouts hold again afterwards. Any exception rolls back what was done.

    Args:
        alias: The database.
        slug: The segment that is worked on; `application_name` says so to who looks at the server.
        undo: Roll back at the end in any case, since only the outcome is of interest.
        writes: Whether views are changed or refreshed, which needs READ COMMITTED.
        timeout, lock_timeout: How long a statement may run, and how long of that it may wait for
            a lock; None: as the settings say.

    Raises:
        SegmentExecutionError: for a write in a transaction of the caller that is not READ
            COMMITTED: it would fail as soon as anybody else had refreshed the segment.
    """
    connection = connections[alias]
    # With autocommit off, there is a transaction of the caller without any atomic block.
    outermost = not connection.in_atomic_block and connection.get_autocommit()
    if outermost and connection.errors_occurred:  # What Django does between two requests.
        connection.errors_occurred = False
        if not connection.is_usable():
            connection.close()
    with (
        _read_committed(connection) if outermost and writes else nullcontext(),
        _transaction(alias, slug),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            text("set_limits"),
            {
                "statement_timeout": milliseconds(
                    conf.statement_timeout() if timeout is None else timeout
                ),
                "lock_timeout": milliseconds(
                    conf.lock_timeout() if lock_timeout is None else lock_timeout
                ),
                "work_mem": conf.work_mem(),
                "application_name": f"segments: {slug}"[:63],
            },
        )
        isolation, *before = cursor.fetchone()[:6]
        if writes and isolation != "read committed":
            raise SegmentExecutionError(
                f'the transaction is "{isolation}", and segments need "read committed"',
                slug=slug,
                hint="Do this outside the transaction, or without its isolation level.",
            )
        yield connection
        if undo:
            transaction.set_rollback(True, using=alias)
        elif not outermost:
            cursor.execute(text("restore_limits"), before)


@contextmanager
def _read_committed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Have the next transaction begin as READ COMMITTED, whatever those of the connection are."""
    connection.ensure_connection()
    raw: Any = connection.connection
    before = raw.isolation_level
    raw.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    try:
        yield
    finally:
        if not raw.closed:
            raw.isolation_level = before


@contextmanager
def _transaction(alias: str, slug: str) -> Iterator[None]:
    """Open a transaction; what goes wrong at its end, as without a server, is a SegmentError."""
    inside: BaseException | None = None
    try:
        with transaction.atomic(using=alias):
            try:
                yield
            except BaseException as error:
                inside = error
                raise
    except (OperationalError, InterfaceError) as error:
        if error is inside:
            raise
        raise from_driver(error, SegmentExecutionError, slug) from error


def rows(connection: BaseDatabaseWrapper, file: str, /, **params: Any) -> list[tuple[Any, ...]]:
    """Run the query in `<file>.sql` and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(text(file), params)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def value(connection: BaseDatabaseWrapper, file: str, /, **params: Any) -> Any:
    """Run the query in `<file>.sql` and return the start of its first row; None without one."""
    found = rows(connection, file, **params)
    return found[0][0] if found else None


def lock(connection: BaseDatabaseWrapper, segment: int) -> None:
    """Take the segment's lock until the end of the transaction, waiting up to lock_timeout."""
    value(connection, "lock_segment", key=_lock_key(segment))


def try_lock(connection: BaseDatabaseWrapper, segment: int) -> tuple[bool, bool]:
    """Take the segment's lock until the end of the transaction, unless another session has it.

    Returns:
        Whether it was taken, and `is_schema_changing`.
    """
    keys = {"key": _lock_key(segment), "schema_change": _schema_change_key()}
    ((taken, changing),) = rows(connection, "try_lock_segment", **keys)
    return taken, changing


def lock_base(connection: BaseDatabaseWrapper) -> None:
    """Take the lock of what all segments share, which two sessions cannot change at once."""
    value(connection, "lock_segment", key=f"{conf.schema()}:base")


def begin_schema_change(connection: BaseDatabaseWrapper) -> None:
    """Let the refreshes of other sessions stand aside, until this session ends or says so."""
    value(connection, "lock_schema_change", key=_schema_change_key())


def end_schema_change(connection: BaseDatabaseWrapper) -> None:
    """Let refreshes go on, if this session has stopped them."""
    value(connection, "unlock_schema_change", key=_schema_change_key())


def is_schema_changing(connection: BaseDatabaseWrapper) -> bool:
    """Return whether another session changes the schema.

    To be asked once the segment's lock was taken: a schema change that starts later waits for that
    lock before it detaches the segment.
    """
    return bool(value(connection, "select_schema_change", key=_schema_change_key()))


def execute(connection: BaseDatabaseWrapper, file: str, /, **parts: sql.Composable) -> None:
    """Run the DDL in `<file>.sql`, as the owner of the views, on the extended protocol.

    That takes one statement only. Asking for binary results is what makes psycopg use it without
    parameters; Django's cursors would use the simple one, on which a `;` in a definition starts
    another statement.
    """
    raw: Any = connection.connection
    with as_owner(connection):
        psycopg.Cursor(raw).execute(statement(file, **parts), binary=True)


@contextmanager
def as_owner(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Have the rights of `SEGMENTS_EXEC_ROLE`, if there is one, to the end of the transaction.

    Of what evaluates a definition, only what Postgres runs in a security-restricted operation may
    go here, such as a REFRESH: elsewhere a definition can give up the role. An error leaves it on,
    for whoever rolls back.
    """
    role = conf.exec_role()
    if role is None:
        yield
        return
    before = value(connection, "select_role")
    value(connection, "set_role", role=role)
    yield
    value(connection, "set_role", role=before)


def milliseconds(value: timedelta) -> str:
    """Return a timeout as Postgres takes it; rounded up, as zero would be without limit."""
    return str(-(-value // timedelta(milliseconds=1)))


def _schema_change_key() -> str:
    return f"{conf.schema()}:schema change"


def _lock_key(segment: int) -> str:
    return f"{conf.schema()}:{segment}"
