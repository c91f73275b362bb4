"""The door to Postgres: the transaction in which a segment is worked on, and how to ask in it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any
from weakref import WeakSet

import psycopg
from django.db import InterfaceError, OperationalError, connections
from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import (
    POSTGRES_ENGINE,
    SegmentExecutionError,
    from_driver,
    translated,
)
from segments.sql.statements import compose, sql_text

PINNED_SETTINGS = (
    "DateStyle", "IntervalStyle", "array_nulls", "bytea_output", "default_text_search_config",
    "extra_float_digits", "gin_fuzzy_search_limit", "lc_monetary", "lc_numeric", "lc_time",
    "quote_all_identifiers", "row_security", "search_path", "standard_conforming_strings",
    "timezone_abbreviations", "transform_null_equals", "xmlbinary", "xmloption",
)  # fmt: skip
"""The settings that change what a query means or returns, besides the time zone."""

_pinned: WeakSet[Any] = WeakSet()
"""The connections whose settings are pinned at the moment."""

LIMITS = (
    "statement_timeout", "lock_timeout", "work_mem", "application_name", "standard_strings",
    "propagation",
)  # fmt: skip
"""What `set_limits` returns after the isolation level, and `restore_limits` takes."""


@contextmanager
def transaction(
    alias: str,
    slug: str,
    *,
    task: str = "",
    rollback: bool = False,
    read_only: bool = False,
    timeout: timedelta | None = None,
    lock_timeout: timedelta | None = None,
    field: str | None = None,
    translate: bool = True,
) -> Iterator[BaseDatabaseWrapper]:
    """Open a transaction, or a savepoint in the caller's, under the timeouts of the settings.

    The caller's own timeouts are restored at the end. Any exception rolls back what was done.

    Args:
        alias: The database.
        slug: The segment that is worked on, which errors name; empty for all segments.
        task: What is done, if `application_name` is to show that in place of the segment to
            anyone who looks at the server's sessions.
        rollback: Roll back at the end in any case, since only the outcome is of interest.
        read_only: Nothing is changed or refreshed, so any isolation level will do.
        timeout, lock_timeout: How long a statement may run, and how long of that it may wait for
            a lock. None means the settings' values.
        field: The field of the segment that errors belong to.
        translate: Turn the driver's errors into SegmentExecutionError. A caller that saves rows
            in here turns this off, so that Django's own errors reach the code that saves.

    Raises:
        SegmentExecutionError: when Postgres refuses, and for a write in a caller's transaction
            that is not READ COMMITTED: it would fail as soon as another session had refreshed the
            segment.
    """
    errors = translated(SegmentExecutionError, slug, field=field) if translate else nullcontext()
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise SegmentExecutionError(
            f'"{alias}" is {connection.display_name}', slug=slug, hint=POSTGRES_ENGINE
        )
    with errors:
        # With autocommit off, the caller has a transaction without any atomic block.
        outermost = not connection.in_atomic_block and connection.get_autocommit()
        if outermost and connection.errors_occurred:  # Django does this between two requests.
            connection.errors_occurred = False
            if not connection.is_usable():
                connection.close()
        with (
            _read_committed(connection) if outermost and not read_only else nullcontext(),
            _atomic(alias, slug),
        ):
            before = _set_limits(connection, task or slug, timeout, lock_timeout)
            if not read_only and before["isolation"] != "read committed":
                raise SegmentExecutionError(
                    f'the transaction is "{before["isolation"]}", and segments need '
                    '"read committed"',
                    slug=slug,
                    hint="Do this outside the transaction, or without its isolation level.",
                )
            yield connection
            if rollback:
                django_transaction.set_rollback(True, using=alias)
            elif not outermost:
                fetch_all(connection, "restore_limits", **before)


def _set_limits(
    connection: BaseDatabaseWrapper,
    name: str,
    timeout: timedelta | None,
    lock_timeout: timedelta | None,
) -> dict[str, Any]:
    """Set the limits of a transaction; return its isolation level and the limits before."""
    (row,) = fetch_all(
        connection,
        "set_limits",
        statement_timeout=milliseconds(conf.statement_timeout() if timeout is None else timeout),
        lock_timeout=milliseconds(conf.lock_timeout() if lock_timeout is None else lock_timeout),
        work_mem=conf.work_mem(),
        application_name=application_name(name),
    )
    return dict(zip(("isolation", *LIMITS), row, strict=False))


@contextmanager
def read_committed(alias: str) -> Iterator[None]:
    """Begin the transactions of the block as READ COMMITTED, since segments need that.

    If the caller has opened one, as `ATOMIC_REQUESTS` does, it becomes READ COMMITTED as well,
    unless a statement was run in it: from then on, Postgres no longer allows that.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
    elif not connection.in_atomic_block and connection.get_autocommit():
        with _read_committed(connection):
            yield
    else:
        raw: Any = connection.connection
        if raw and raw.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            fetch_all(connection, "set_read_committed")
        yield


@contextmanager
def _read_committed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Begin transactions as READ COMMITTED, whatever the connection's default is."""
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
def _atomic(alias: str, slug: str) -> Iterator[None]:
    """Open a transaction; turn what fails at its end, such as a lost server, into SegmentError."""
    inside: BaseException | None = None
    try:
        with django_transaction.atomic(using=alias):
            try:
                yield
            except BaseException as error:
                inside = error
                raise
    except (OperationalError, InterfaceError) as error:
        if error is inside:
            raise
        raise from_driver(error, SegmentExecutionError, slug) from error


def fetch_all(
    connection: BaseDatabaseWrapper, statement: str | sql.Composed, /, **params: Any
) -> list[tuple[Any, ...]]:
    """Run a statement, by its name or composed, and return its rows.

    The two schemas are always among its parameters, as `schema` and `live_schema`.
    """
    query: Any = sql_text(statement) if isinstance(statement, str) else statement
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    with connection.cursor() as cursor:
        cursor.execute(query, schemas | params)
        return cursor.fetchall() if cursor.description else []


def fetch_value(
    connection: BaseDatabaseWrapper, statement: str | sql.Composed, /, **params: Any
) -> Any:
    """Run a statement and return the first column of its first row; None without a row."""
    rows = fetch_all(connection, statement, **params)
    return rows[0][0] if rows else None


@contextmanager
def planned_anew(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Run statements without preparing them, so that Postgres reuses no plan for them."""
    raw: Any = connection.connection
    before = raw.prepare_threshold
    raw.prepare_threshold = None
    try:
        yield
    finally:
        raw.prepare_threshold = before


def run_ddl(connection: BaseDatabaseWrapper, name: str, /, **parts: sql.Composable) -> None:
    """Run a DDL statement as the owner of the views, on the extended protocol.

    That protocol takes one statement only. psycopg uses it without parameters when binary results
    are asked for; Django's cursors would use the simple protocol, on which a `;` in a definition
    starts another statement.
    """
    raw: Any = connection.connection
    with as_owner(connection):
        psycopg.Cursor(raw).execute(compose(name, **parts), binary=True)


@contextmanager
def pinned(connection: BaseDatabaseWrapper, *, evaluate: bool = False) -> Iterator[None]:
    """Fix all settings that change what a definition means or returns, for the block.

    Wrap in this whatever parses or evaluates a definition, and nothing else. Code of the project
    must not run in it, and no times may be read: Django takes it for granted that the session has
    its own time zone. After an error the settings stay until the caller rolls back. A block
    that only parses, within another one, costs nothing.

    Args:
        evaluate: Whether the definition is evaluated. Functions that it calls then find only the
            names of Postgres; those of the definition were looked up when it was parsed.
    """
    raw: Any = connection.connection
    if raw in _pinned and not evaluate:
        yield
        return
    former = fetch_value(
        connection,
        "pin_settings",
        function=f"{conf.live_schema()}.settings()",
        time_zone=conf.time_zone(),
        evaluate=evaluate,
    )
    outermost = raw not in _pinned
    _pinned.add(raw)
    try:
        yield
    finally:
        if outermost:
            _pinned.discard(raw)
    if former is not None:
        fetch_value(connection, "restore_settings", former=former)


@contextmanager
def as_owner(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Take on the rights of `SEGMENTS_EXEC_ROLE`, if it is set, until the end of the transaction.

    Never evaluate a definition in here, except by a command that Postgres runs
    security-restricted, such as REFRESH: elsewhere a definition can give up the role. After an
    error the role stays on until the caller rolls back.
    """
    role = conf.exec_role()
    if role is None:
        yield
        return
    before = fetch_value(connection, "select_role")
    fetch_value(connection, "set_role", role=role)
    yield
    fetch_value(connection, "set_role", role=before)


def application_name(slug: str) -> str:
    """Return the name of a session while it works on a segment."""
    return f"segments: {slug}"[:63]


def milliseconds(value: timedelta) -> str:
    """Return a timeout as Postgres takes it, rounded up: zero would mean no limit."""
    return str(-(-value // timedelta(milliseconds=1)))
