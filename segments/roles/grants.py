"""Grants: what the owner of the views needs, and nothing else, as statements to read and to run.

Composed here and not in files of their own, since each is a line, and their order is the point.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import LiteralString

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.roles import rights
from segments.roles.rights import (
    OWN_TABLES,
    REFRESH_PRIVILEGES,
    VIEW_COLUMNS,
    Owner,
    missing_for_app,
)
from segments.sql import names
from segments.sql.session import fetch_all, fetch_value


@dataclass(frozen=True)
class Table:
    """A table that definitions may read, or some columns of it."""

    schema: str
    name: str
    columns: tuple[str, ...] = ()

    @property
    def identifier(self) -> sql.Identifier:
        """The table's name in full."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Roles:
    """Who is who.

    Attributes:
        role: Owns the views; definitions are evaluated with its rights.
        app: What the application logs in as.
        readers: May read all members, as BI tools do.
        connects: Whether `role` logs in itself, by `SEGMENTS_EXEC_CONNECTION`, and so keeps the
            books of a refresh, too.
    """

    role: str
    app: str
    readers: tuple[str, ...] = ()
    connects: bool = False
    reads: tuple[Table, ...] = field(default=())


def table(connection: BaseDatabaseWrapper, written: str) -> Table:
    """Return what `shop_order` or `shop_customer(id, username)` names.

    Raises:
        SegmentExecutionError: when there is no such table or column.
    """
    name, columns = re.fullmatch(r"\s*(.*?)\s*(?:\((.*)\))?\s*", written, re.DOTALL).groups()  # type: ignore[union-attr]
    found = fetch_all(connection, "select_relation", name=name)
    if not found:
        raise SegmentExecutionError(
            f"there is no table {name}",
            hint="Run manage.py migrate first."
            if name in OWN_TABLES
            else "Write it as in SQL, with its schema where that is not in the search_path.",
        )
    schema, relation, known = found[0]
    parts = () if columns is None else columns.split(",")
    chosen = tuple(each.strip().strip('"') for each in parts)
    unknown = [each or "of no name" for each in chosen if each not in known]
    if unknown:
        raise SegmentExecutionError(
            f"the table {name} has no column {', '.join(unknown)}",
            hint=f"It has {', '.join(known)}.",
        )
    return Table(schema, relation, chosen)


def grants(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[sql.Composed]:
    """Give the statements that set the roles up; they may be run again.

    Raises:
        SegmentExecutionError: when the tables are not there yet, or the role is none of its own.
    """
    _refuse(connection, roles)
    own, users = _own_tables(connection), _users(connection)
    role = sql.Identifier(roles.role)
    yield sql.SQL(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) "
        "THEN CREATE ROLE {} {}; END IF; END $$"
    ).format(sql.Literal(roles.role), role, sql.SQL("LOGIN" if roles.connects else "NOLOGIN"))
    given = _given(connection, roles, own, users)
    yield from _lent(connection, strangers(connection, roles), given)


def revokes(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[sql.Composed]:
    """Give the statements that take all of that back, and leave the views to the application.

    Also where schemas and tables are gone. A role with rights `elsewhere` stays.

    Raises:
        SegmentExecutionError: when the role is none of its own.
    """
    if _refuse(connection, roles) is None:
        return
    stays = bool(elsewhere(connection, roles))
    lent = strangers(connection, roles, revoke=True)
    yield from _lent(connection, lent, _taken(connection, roles, stays))
    if not stays:
        yield sql.SQL("DROP ROLE {}").format(sql.Identifier(roles.role))


def elsewhere(connection: BaseDatabaseWrapper, roles: Roles) -> list[str]:
    """Return the other databases of the server in which the role has rights."""
    return [name for (name,) in fetch_all(connection, "select_other_databases", role=roles.role)]


def _refuse(connection: BaseDatabaseWrapper, roles: Roles) -> bool | None:
    """Raise for a role that is none of its own; return None where it is not there."""
    found: bool | None = fetch_value(connection, "select_is_superuser", role=roles.role)
    hint = "Name a role that is there for this alone; grant_segments creates it."
    if roles.role == roles.app:
        raise SegmentExecutionError(f'"{roles.role}" is the role of the application', hint=hint)
    if found:
        raise SegmentExecutionError(f'the role "{roles.role}" is a superuser', hint=hint)
    return found


def missing(connection: BaseDatabaseWrapper, roles: Roles) -> list[str]:
    """Return in words what the roles still lack once the statements were run."""
    member = None if roles.connects else roles.app
    owner = Owner(roles.role, member=member, books=roles.connects)
    lacking = [
        *((roles.role, words) for words in rights.missing(connection, owner)),
        *((roles.app, words) for words in missing_for_app(connection, roles.app)),
    ]
    return [f"{name} lacks: {words}" for name, words in lacking]


@dataclass(frozen=True)
class Stranger:
    """A role whose rights this session needs for the statements, and lacks.

    Attributes:
        name: The role.
        may_join: Whether this session may make itself a member, as who has created it may.
        had: The options of the membership that it has granted itself before, if it has.
    """

    name: str
    may_join: bool
    had: LiteralString | None


def strangers(
    connection: BaseDatabaseWrapper, roles: Roles, revoke: bool = False
) -> list[Stranger]:
    """Return whose rights this session needs for the statements, and lacks."""
    reads = [each.identifier.as_string() for each in roles.reads]
    found = fetch_all(
        connection,
        "select_owners",
        role=roles.role,
        app=roles.app,
        given_to="" if roles.connects or revoke else roles.app,
        revoke=revoke,
        tables=[*OWN_TABLES, names.user_table().as_string(), *reads],
        schema=conf.schema(),
        live_schema=conf.live_schema(),
    )
    return [Stranger(*row) for row in found]


def _lent(
    connection: BaseDatabaseWrapper,
    strangers: list[Stranger],
    statements: Iterator[sql.Composed],
) -> Iterator[sql.Composed]:
    """Give statements between those that lend this session what it needs for them.

    Who has CREATEROLE and is no superuser may do to the things of others what those may, once it
    is a member of them; since PostgreSQL 16, it is not even of the roles that it creates.
    """
    me = sql.Identifier(str(fetch_value(connection, "select_current_role")))
    lent = [(sql.Identifier(each.name), each.had) for each in strangers if each.may_join]
    new = connection.pg_version >= 160000  # type: ignore[attr-defined]
    for role, _ in lent:
        options = sql.SQL(" WITH INHERIT TRUE, SET TRUE" if new else "")
        yield sql.SQL("GRANT {} TO {}{}").format(role, me, options)
    yield from statements
    for role, had in lent:
        if had:
            yield sql.SQL("GRANT {} TO {} WITH {}").format(role, me, sql.SQL(had))
        else:
            yield sql.SQL("REVOKE {} FROM {}").format(role, me)


def _given(
    connection: BaseDatabaseWrapper, roles: Roles, own: list[Table], users: Table
) -> Iterator[sql.Composed]:
    role, app = sql.Identifier(roles.role), sql.Identifier(roles.app)
    readers = [*map(sql.Identifier, roles.readers)]
    database = _database(connection)
    if not roles.connects:
        yield sql.SQL("GRANT {} TO {}").format(role, app)
    for each in [*[role] * roles.connects, *readers]:
        yield from _connect(connection, "GRANT CONNECT ON DATABASE {} TO {}", each)
    yield sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}, {}").format(database, role, app)
    for name in (conf.schema(), conf.live_schema()):
        schema = sql.Identifier(name)
        yield sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(schema, role)
        yield sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, role)
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, app)
    yield from _owned_by(connection, role)
    yield from _readable(roles, own, users)
    yield from _for_readers(role, [app, *readers])


def _taken(connection: BaseDatabaseWrapper, roles: Roles, stays: bool) -> Iterator[sql.Composed]:
    role, app = sql.Identifier(roles.role), sql.Identifier(roles.app)
    schema = sql.Identifier(conf.schema())
    there = [
        each
        for each in (conf.schema(), conf.live_schema())
        if fetch_value(connection, "select_schema", schema=each)
    ]
    for row in fetch_all(connection, "select_default_grants", role=roles.role):
        yield sql.SQL(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} REVOKE ALL ON TABLES FROM {}"
        ).format(role, *map(sql.Identifier, row))
    for reader in map(sql.Identifier, roles.readers):
        for statement in (
            "REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}",
            "REVOKE ALL ON SCHEMA {} FROM {}",
        ):
            if conf.schema() in there:
                yield sql.SQL(statement).format(schema, reader)
        yield from _connect(connection, "REVOKE CONNECT ON DATABASE {} FROM {}", reader)
    for each in there:
        yield sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(each), app)
    yield from _owned_by(connection, app)
    for (granted,) in fetch_all(connection, "select_granted", role=roles.role):
        yield sql.SQL("{}").format(sql.SQL(granted))
    if not stays:
        yield sql.SQL("REVOKE {} FROM {}").format(role, app)


def _database(connection: BaseDatabaseWrapper) -> sql.Identifier:
    return sql.Identifier(str(fetch_value(connection, "select_database")))


def _connect(
    connection: BaseDatabaseWrapper, statement: LiteralString, role: sql.Identifier
) -> Iterator[sql.Composed]:
    """Give a statement on the right to connect, where not everybody has that."""
    if not fetch_value(connection, "select_public_connect"):
        yield sql.SQL(statement).format(_database(connection), role)


def _own_tables(connection: BaseDatabaseWrapper) -> list[Table]:
    return [table(connection, name) for name in OWN_TABLES]


def _users(connection: BaseDatabaseWrapper) -> Table:
    found = table(connection, names.user_table().as_string())
    return Table(found.schema, found.name, (names.user_key_column(),))


def _readable(roles: Roles, own: list[Table], users: Table) -> Iterator[sql.Composed]:
    """Give the statements that let the role read what it is to read, and nothing else of it."""
    role = sql.Identifier(roles.role)
    reads = [users, *roles.reads]
    for schema in sorted({each.schema for each in (*own, *reads)}):
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role)
    # An earlier run may have granted more of these; of the users, if they are named.
    for whole in dict.fromkeys(Table(each.schema, each.name) for each in (*own, *roles.reads)):
        yield sql.SQL("REVOKE ALL ON {} FROM {}").format(whole.identifier, role)
    given = [(right, each) for each in own for right in _own_rights(each, roles.connects)]
    for right, each in [*given, *((_right("SELECT", each.columns), each) for each in reads)]:
        yield sql.SQL("GRANT {} ON {} TO {}").format(right, each.identifier, role)


def _own_rights(table: Table, books: bool) -> list[sql.Composed]:
    if books:
        return [_right(privilege) for privilege in REFRESH_PRIVILEGES[table.name]]
    return [_right("SELECT", VIEW_COLUMNS[table.name])]


def _owned_by(connection: BaseDatabaseWrapper, role: sql.Identifier) -> Iterator[sql.Composed]:
    """Give the statements that make a role the owner of what this package has made."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    for kind, name in fetch_all(connection, "select_owned", **schemas):
        yield sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), sql.SQL(name), role)


def _for_readers(
    role: sql.Identifier, readers: Iterable[sql.Identifier]
) -> Iterator[sql.Composed]:
    schema = sql.Identifier(conf.schema())
    for reader in readers:
        for statement in (
            "GRANT USAGE ON SCHEMA {schema} TO {reader}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} IN SCHEMA {schema} "
            "GRANT SELECT ON TABLES TO {reader}",
        ):
            yield sql.SQL(statement).format(schema=schema, reader=reader, role=role)


def _right(privilege: LiteralString, columns: tuple[str, ...] = ()) -> sql.Composed:
    """Return a privilege, on these columns or on all."""
    named = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("{} ({})" if columns else "{}").format(sql.SQL(privilege), named)
