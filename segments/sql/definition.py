"""Compile: from what an author wrote to one SELECT of distinct, existing, non-null user ids.

This is the gate: nothing else puts an author's text into a statement. What the text calls is known
once there is a view of it; see `calls`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq, sql
from psycopg.errors import error_from_result

from segments.exceptions import SegmentDefinitionError, translated
from segments.sql import names, statement
from segments.sql.session import as_owner, value

PLACE = "\0"
"""Stands for the definition while the place where it goes is looked for; no definition has it."""


@dataclass(frozen=True)
class Source:
    """What an author wrote.

    Attributes:
        slug: The segment, for messages.
        definition: A SELECT, or None where there are static ids alone.
        field: The field of the segment that the definition comes from.
        shape: What identifies the definition where its text changes with time, as the parameters
            of a manager method's query do.
        static_of: The segment whose static ids count as well, or None.
    """

    slug: str
    definition: str | None
    field: str = "definition"
    shape: str | None = None
    static_of: int | None = None


@dataclass(frozen=True)
class Compiled:
    """A SELECT to make the live view of, with what tells it from others, and where it is from."""

    source: Source
    select: str
    fingerprint: str
    shape: str

    def as_sql(self) -> sql.SQL:
        """Return the SELECT for composition."""
        return sql.SQL(self.select)


@dataclass(frozen=True)
class Column:
    """A column that a definition gives, as Postgres describes it (OIDs; 0: of no table)."""

    name: str
    type: int
    table: int
    number: int


def compile_source(
    connection: BaseDatabaseWrapper, source: Source, known: str | None = None
) -> Compiled:
    """Compile a definition, static ids, or the union of both. Executes nothing of the definition.

    Args:
        known: The fingerprint of a live view, of which Postgres has parsed the whole.

    Must be called in a transaction. Costs two or three round trips, and locks the tables that the
    definition names against being dropped, to the end of the transaction.

    Raises:
        SegmentDefinitionError: with what is wrong and where.
    """
    selects, offset = [], 0
    if source.definition is not None:
        wrapped, offset = _wrapped(connection, source, source.definition)
        selects.append(wrapped)
    if source.static_of is not None:
        selects.append(_static(connection, source.static_of))
    select = "\nUNION\n".join(selects)
    # Whether a list is empty by now is no difference in the definition beside it.
    shape = source.shape or selects[0]
    compiled = Compiled(source, select, _digest(select), _digest(shape))
    if source.definition is not None and compiled.fingerprint != known:
        # What may stand alone but not in a view comes to light here: DML, SHOW, a semicolon.
        with translated(
            SegmentDefinitionError,
            source.slug,
            field=source.field,
            source=source.definition,
            offset=offset,
        ):
            describe(connection, selects[0])
    return compiled


def check_text(slug: str, definition: str, field: str = "definition") -> None:
    """Raise SegmentDefinitionError for characters that Postgres has no room for."""
    wrong = "a NUL character" if "\0" in definition else None
    try:
        definition.encode()
    except UnicodeEncodeError as error:
        wrong = f"a character that is not Unicode, at index {error.start}"
    if wrong:
        raise SegmentDefinitionError(f"the definition has {wrong}", slug=slug, field=field)


def describe(connection: BaseDatabaseWrapper, query: str) -> list[Column]:
    """Return the columns of one statement, which Postgres parses and does not run.

    Parse takes a single statement, complete in itself: several of them, and parentheses that
    would break out of a wrapper around them, are refused here.

    Raises:
        psycopg.Error: what Postgres says against it.
        ValueError: when it has parameters.
    """
    raw: Any = connection.connection
    encoding: str = raw.info.encoding
    with as_owner(connection):
        parsed = raw.pgconn.prepare(b"", query.encode(encoding))
        if parsed.status != pq.ExecStatus.COMMAND_OK:
            raise error_from_result(parsed, encoding=encoding)
        described = raw.pgconn.describe_prepared(b"")
        if described.status != pq.ExecStatus.COMMAND_OK:
            raise error_from_result(described, encoding=encoding)
    if described.nparams:
        raise ValueError("it has parameters ($1); a definition must be complete in itself")
    return [
        Column(
            (described.fname(i) or b"").decode(encoding),
            described.ftype(i),
            described.ftable(i),
            described.ftablecol(i),
        )
        for i in range(described.nfields)
    ]


def _wrapped(connection: BaseDatabaseWrapper, source: Source, definition: str) -> tuple[str, int]:
    """Return the SELECT around a definition that Postgres has parsed, and where that begins."""

    def refused(why: str, hint: str | None = None) -> SegmentDefinitionError:
        return SegmentDefinitionError(why, slug=source.slug, field=source.field, hint=hint)

    check_text(source.slug, definition, source.field)
    if not definition.strip():
        raise refused("the definition is empty")
    try:
        with translated(
            SegmentDefinitionError, source.slug, field=source.field, source=definition
        ):
            columns = describe(connection, definition)
    except ValueError as error:
        if isinstance(error, SegmentDefinitionError):
            raise
        raise refused(f"the definition cannot be used: {error}") from error
    if not columns:
        raise refused(
            "the definition gives no columns", "It must be one SELECT that gives user ids."
        )
    column, certain = _id_column(connection, columns, refused)
    wrapper: str = statement(
        "wrap_distinct" if certain else "wrap_semi_join",
        definition=sql.SQL(PLACE),
        column=sql.Identifier(column.name),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
        key_type=_type(connection),
    ).as_string()
    return wrapper.replace(PLACE, definition), wrapper.index(PLACE)


def _id_column(
    connection: BaseDatabaseWrapper, columns: list[Column], refused: Any
) -> tuple[Column, bool]:
    """Choose the column of user ids, and say whether all of them are known to be users'.

    The user key's name wins, then `user_id`, then the only column. Where a definition has the
    first two, as `SELECT * FROM orders` does, and only the second is known to hold users' keys,
    the first is the key of something else; where neither is, the author must say.
    """
    key = names.user_key_column()
    candidates = [c for name in dict.fromkeys((key, "user_id")) for c in columns if c.name == name]
    if not candidates and len(columns) == 1:
        candidates = columns
    if not candidates:
        found = ", ".join(f'"{c.name}"' for c in columns)
        raise refused(
            f'the definition has no column "{key}" or "user_id" to take user ids from; '
            f"it has {found}",
            f'Name the column of user ids: SELECT ... AS "{key}"',
        )
    certain = [c for c in candidates if _certain(connection, c)]
    if not certain and len({c.name for c in candidates}) > 1:
        raise refused(
            f'the definition has "{key}" and "user_id", and neither is known to hold user ids',
            "Select the one that does.",
        )
    column = (certain or candidates)[0]
    accepted = names.accepted_types(connection)
    if accepted is not None and column.type not in accepted:
        raise refused(
            f'the column "{column.name}" is of type {_type_name(connection, column.type)}; '
            f"user ids are of type {names.key_type(connection)}",
            "Select the column of user ids, or cast this one to their type.",
        )
    return column, bool(certain)


def _certain(connection: BaseDatabaseWrapper, column: Column) -> bool:
    """Return whether the column's origin proves that every value is the key of a user."""
    return bool(column.table) and bool(
        value(
            connection,
            "select_origin",
            users=names.user_table().as_string(),
            key=names.user_key_column(),
            table=column.table,
            column=column.number,
        )
    )


def _static(connection: BaseDatabaseWrapper, segment: int) -> str:
    """Return the SELECT of a segment's static ids."""
    select: str = statement(
        "wrap_static_ids",
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
        key_type=_type(connection),
        static=sql.Identifier("segments_staticmember"),
        segment=sql.Literal(segment),
    ).as_string()
    return select


def _type(connection: BaseDatabaseWrapper) -> sql.SQL:
    return sql.SQL(names.key_type(connection))


def _type_name(connection: BaseDatabaseWrapper, oid: int) -> str:
    return str(value(connection, "select_type_name", oid=oid))


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]
