"""Compile the text of an author into one SELECT of distinct, existing, non-null user ids.

No other module puts an author's text into a statement. `gate` then checks what the text calls.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.functional import Promise
from psycopg import pq, sql
from psycopg.errors import error_from_result

from segments.definition.origins import Column, id_column
from segments.definition.text import without_semicolon
from segments.exceptions import SegmentDefinitionError, translated
from segments.sql import names
from segments.sql.keys import in_words
from segments.sql.owned import STATIC_MEMBER
from segments.sql.session import as_owner, fetch_value, pinned
from segments.sql.statements import compose, sql_text

PLACEHOLDER = "\0"
"""Marks the place of the definition in its wrapper. No definition can contain it."""


@dataclass(frozen=True)
class Definition:
    """What an author wrote.

    Attributes:
        slug: The segment, for messages.
        text: A SELECT, or None if there are only static ids.
        field: The field of the segment that errors belong to.
        stable_text: Identifies the definition if its text varies, as that of a manager method does
            with its parameters; None if it does not vary.
        static_ids_of: The segment whose static ids are members as well, or None.
    """

    slug: str
    text: str | None
    field: str = "definition"
    stable_text: str | None = None
    static_ids_of: int | None = None

    @property
    def source_fingerprint(self) -> str:
        """The fingerprint of all that is compiled. Asks nothing of Postgres."""
        wrappers = map(sql_text, ("wrap_distinct", "wrap_semi_join", "wrap_static_ids"))
        users = names.user_table().as_string(), names.user_key_column()
        return _digest(repr([self.text, self.static_ids_of, *users, *wrappers]))


@dataclass(frozen=True)
class Compiled:
    """A SELECT for the live view.

    Attributes:
        definition: What it was compiled from.
        select: The SELECT itself.
        fingerprint: Of the whole SELECT.
        stable_fingerprint: Of the definition, without what varies between compilations.
        ids_from: Where the definition takes user ids from; see `origins.IdColumn`. Empty if there
            are only static ids.
    """

    definition: Definition
    select: str
    fingerprint: str
    stable_fingerprint: str
    ids_from: str

    @property
    def fingerprints(self) -> tuple[str, str, str]:
        """What the comment on a live view keeps."""
        return self.fingerprint, self.stable_fingerprint, self.definition.source_fingerprint

    def as_sql(self) -> sql.SQL:
        """Return the SELECT for composition."""
        return sql.SQL(self.select)


def compile_definition(
    connection: BaseDatabaseWrapper,
    definition: Definition,
    known_fingerprint: str | None = None,
) -> Compiled:
    """Compile a definition, static ids, or the union of both. Executes nothing of the definition.

    Must be called in a transaction. Costs four to six round trips. Takes AccessShare on the
    tables that the definition names, until the end of the transaction.

    Args:
        known_fingerprint: The fingerprint of a live view. Postgres has parsed its SELECT already.

    Raises:
        SegmentDefinitionError: with the reason and its position.
    """
    with pinned(connection):
        return _compile(connection, definition, known_fingerprint)


def _compile(
    connection: BaseDatabaseWrapper, definition: Definition, known_fingerprint: str | None
) -> Compiled:
    selects, offset, ids_from = [], 0, ""
    if definition.text is not None:
        wrapped, offset, ids_from = _wrapped(connection, definition, definition.text)
        selects.append(wrapped)
    if definition.static_ids_of is not None:
        selects.append(_static(connection, definition.static_ids_of))
    select = "\nUNION\n".join(selects)
    # An empty list beside a definition does not change its identity.
    stable_text = definition.stable_text or selects[0]
    compiled = Compiled(definition, select, _digest(select), _digest(stable_text), ids_from)
    if definition.text is not None and compiled.fingerprint != known_fingerprint:
        # This refuses statements that cannot be in a view, such as DML and SHOW.
        with translated(
            SegmentDefinitionError,
            definition.slug,
            field=definition.field,
            source=definition.text,
            offset=offset,
        ):
            describe(connection, selects[0])
    return compiled


def check_text(slug: str, text: object, field: str = "definition") -> None:
    """Raise SegmentDefinitionError for what is no text, or has characters that Postgres lacks."""
    if not isinstance(text, str | Promise):  # A text may be translated.
        raise SegmentDefinitionError(
            f"the definition is text, not {in_words(text)}",
            slug=slug,
            field=field,
            hint="Users are selected by SQL, by static_ids, or by a method of a manager: "
            "manager_method.",
        )
    wrong = "a NUL character" if "\0" in str(text) else None
    try:
        str(text).encode()
    except UnicodeEncodeError as error:
        wrong = f"a character that is not Unicode, at index {error.start}"
    if wrong:
        raise SegmentDefinitionError(f"the definition has {wrong}", slug=slug, field=field)


def describe(connection: BaseDatabaseWrapper, query: str) -> list[Column]:
    """Return the columns of a statement, which Postgres parses but does not run.

    Postgres parses exactly one complete statement here. It refuses several statements, and
    parentheses that would break out of a wrapper.

    Raises:
        psycopg.Error: when Postgres refuses the statement.
        ValueError: when the statement has parameters.
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
        raise ValueError("it has parameters ($1), and nothing provides their values")
    return [
        Column(
            (described.fname(i) or b"").decode(encoding),
            described.ftype(i),
            described.ftable(i),
            described.ftablecol(i),
            i + 1,
        )
        for i in range(described.nfields)
    ]


def _wrapped(
    connection: BaseDatabaseWrapper, definition: Definition, text: str
) -> tuple[str, int, str]:
    """Parse a definition.

    Returns:
        The SELECT around it, the offset of its text in there, and where its ids are from.
    """

    def refused(reason: str, hint: str | None = None) -> SegmentDefinitionError:
        return SegmentDefinitionError(
            reason, slug=definition.slug, field=definition.field, hint=hint
        )

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
    ids = id_column(connection, columns, refused)
    accepted = names.accepted_types(connection)
    if accepted is not None and ids.column.type not in accepted:
        raise refused(
            f'the column "{ids.column.name}" is of type {_type_name(connection, ids.column.type)};'
            f" user ids are of type {names.key_type(connection)}",
            "Select the column of user ids, or cast this column to their type.",
        )
    aliases, name = _aliases(columns, ids.column)
    wrapper: str = compose(
        "wrap_distinct" if ids.certain else "wrap_semi_join",
        definition=sql.SQL(PLACEHOLDER),
        aliases=aliases,
        column=name,
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
        key_type=_type(connection),
    ).as_string()
    raw: Any = connection.connection
    escapes = raw.info.parameter_status("standard_conforming_strings") == "off"
    statement = without_semicolon(text, escapes)
    return wrapper.replace(PLACEHOLDER, statement), wrapper.index(PLACEHOLDER), ids.ids_from


def _aliases(columns: list[Column], column: Column) -> tuple[sql.Composable, sql.Identifier]:
    """Return names for all columns and the name of one. A name of its own needs no others."""
    if sum(other.name == column.name for other in columns) == 1:
        return sql.SQL(""), sql.Identifier(column.name)
    numbers = sql.SQL(", ").join(sql.Identifier(str(other.position)) for other in columns)
    return sql.SQL(" ({})").format(numbers), sql.Identifier(str(column.position))


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
