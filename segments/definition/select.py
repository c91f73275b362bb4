"""From an author's words to one SELECT of distinct, existing, non-null user ids.

Nothing else puts an author's text into a statement. `gate` then checks what the text calls.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq, sql
from psycopg.errors import error_from_result

from segments.exceptions import SegmentDefinitionError, translated
from segments.sql import names
from segments.sql.owned import STATIC_MEMBER
from segments.sql.session import as_owner, fetch_value
from segments.sql.statements import compose

PLACEHOLDER = "\0"
"""Marks the place of the definition in its wrapper; no definition can have this character."""


@dataclass(frozen=True)
class Definition:
    """What an author wrote.

    Attributes:
        slug: The segment, for messages.
        text: A SELECT, or None for a list of static ids alone.
        field: The field of the segment that errors belong to.
        stable_text: What identifies the definition if its text varies, as the parameters of a
            manager method's query do; None if it does not.
        static_ids_of: The segment whose static ids count as well, or None.
    """

    slug: str
    text: str | None
    field: str = "definition"
    stable_text: str | None = None
    static_ids_of: int | None = None


@dataclass(frozen=True)
class Compiled:
    """A SELECT for the live view.

    Attributes:
        definition: What it was compiled from.
        select: The SELECT itself.
        fingerprint: Of the whole SELECT.
        stable_fingerprint: Of the part that does not vary from one compilation to the next.
    """

    definition: Definition
    select: str
    fingerprint: str
    stable_fingerprint: str

    def as_sql(self) -> sql.SQL:
        """Return the SELECT for composition."""
        return sql.SQL(self.select)


@dataclass(frozen=True)
class Column:
    """A column of a definition's result, as Postgres describes it; OID 0 means no table."""

    name: str
    type: int
    table: int
    number: int


def compile_definition(
    connection: BaseDatabaseWrapper,
    definition: Definition,
    known_fingerprint: str | None = None,
) -> Compiled:
    """Compile a definition, static ids, or the union of both. Executes nothing of the definition.

    Must be called in a transaction. Costs two or three round trips, and keeps the tables that the
    definition names from being dropped until the end of the transaction.

    Args:
        known_fingerprint: That of a live view; Postgres has parsed its whole SELECT already.

    Raises:
        SegmentDefinitionError: with what is wrong and where.
    """
    selects, offset = [], 0
    if definition.text is not None:
        wrapped, offset = _wrapped(connection, definition, definition.text)
        selects.append(wrapped)
    if definition.static_ids_of is not None:
        selects.append(_static(connection, definition.static_ids_of))
    select = "\nUNION\n".join(selects)
    # Whether a list has become empty makes no difference to the definition beside it.
    stable_text = definition.stable_text or selects[0]
    compiled = Compiled(definition, select, _digest(select), _digest(stable_text))
    if definition.text is not None and compiled.fingerprint != known_fingerprint:
        # This finds what may stand alone, but not in a view: DML, SHOW, a semicolon.
        with translated(
            SegmentDefinitionError,
            definition.slug,
            field=definition.field,
            source=definition.text,
            offset=offset,
        ):
            describe(connection, selects[0])
    return compiled


def check_text(slug: str, text: str, field: str = "definition") -> None:
    """Raise SegmentDefinitionError for characters that Postgres cannot store."""
    wrong = "a NUL character" if "\0" in text else None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        wrong = f"a character that is not Unicode, at index {error.start}"
    if wrong:
        raise SegmentDefinitionError(f"the definition has {wrong}", slug=slug, field=field)


def describe(connection: BaseDatabaseWrapper, query: str) -> list[Column]:
    """Return the columns of one statement, which Postgres parses and does not run.

    Parse takes a single, complete statement. It refuses several of them, and parentheses that
    would break out of a wrapper.

    Raises:
        psycopg.Error: when Postgres refuses it.
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


def _wrapped(
    connection: BaseDatabaseWrapper, definition: Definition, text: str
) -> tuple[str, int]:
    """Return the SELECT around a definition that Postgres has parsed, and the text's offset."""

    def refused(why: str, hint: str | None = None) -> SegmentDefinitionError:
        return SegmentDefinitionError(why, slug=definition.slug, field=definition.field, hint=hint)

    check_text(definition.slug, text, definition.field)
    if not text.strip():
        raise refused("the definition is empty")
    try:
        with translated(
            SegmentDefinitionError, definition.slug, field=definition.field, source=text
        ):
            columns = describe(connection, text)
    except ValueError as error:
        if isinstance(error, SegmentDefinitionError):
            raise
        raise refused(f"the definition cannot be used: {error}") from error
    if not columns:
        raise refused(
            "the definition returns no columns", "It must be one SELECT that returns user ids."
        )
    column, certain = _id_column(connection, columns, refused)
    wrapper: str = compose(
        "wrap_distinct" if certain else "wrap_semi_join",
        definition=sql.SQL(PLACEHOLDER),
        column=sql.Identifier(column.name),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
        key_type=_type(connection),
    ).as_string()
    return wrapper.replace(PLACEHOLDER, text), wrapper.index(PLACEHOLDER)


def _id_column(
    connection: BaseDatabaseWrapper, columns: list[Column], refused: Any
) -> tuple[Column, bool]:
    """Choose the column of user ids, and say whether all of its values are known to be users'.

    The user key's name wins, then `user_id`, then the only column. If a definition has the first
    two, as `SELECT * FROM orders` does, and only the second is known to hold users' keys, the
    first is the key of something else. If neither is known to, the author must choose.
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
        fetch_value(
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
    select: str = compose(
        "wrap_static_ids",
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
        key_type=_type(connection),
        static=sql.Identifier(STATIC_MEMBER),
        segment=sql.Literal(segment),
    ).as_string()
    return select


def _type(connection: BaseDatabaseWrapper) -> sql.SQL:
    return sql.SQL(names.key_type(connection))


def _type_name(connection: BaseDatabaseWrapper, oid: int) -> str:
    return str(fetch_value(connection, "select_type_name", oid=oid))


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]
