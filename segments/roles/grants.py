"""The statements that give the views an owner of their own, and those that take this back.

`manage.py grant_segments` prints them, and runs them with `--apply`. They can be run again.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, LiteralString, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.roles import rights
from segments.roles.rights import Table, ViewOwner, parse_table
from segments.sql import names, owned
from segments.sql.session import fetch_all, fetch_value
from segments.sql.statements import compose

Statements = Iterator[sql.Composed]


class BorrowedRole(NamedTuple):
    """A role whose rights the statements take and this session lacks."""

    name: str
    can_grant_self: bool
    previous_options: LiteralString | None


def role_exists(connection: BaseDatabaseWrapper, owner: ViewOwner) -> bool:
    """Return whether the role exists.

    Raises:
        SegmentExecutionError: when it is the application's role or a superuser.
    """
    is_superuser = fetch_value(connection, "select_is_superuser", role=owner.name)
    hint = "Name a role that serves only this purpose; grant_segments creates it."
    if owner.name == owner.app_role:
        raise SegmentExecutionError(f'"{owner.name}" is the role of the application', hint=hint)
    if is_superuser:
        raise SegmentExecutionError(f'the role "{owner.name}" is a superuser', hint=hint)
    return is_superuser is not None


def grants(
    connection: BaseDatabaseWrapper, owner: ViewOwner, borrowed: list[BorrowedRole]
) -> Statements:
    """Yield the statements that create the role and let it own the views.

    Raises:
        SegmentExecutionError: when a table of ours does not exist.
    """
    on_tables = [*_grants_on_tables(connection, owner)]
    yield compose(
        "create_role",
        name=sql.Literal(owner.name),
        role=sql.Identifier(owner.name),
        login=sql.SQL("LOGIN" if owner.records_refreshes else "NOLOGIN"),
    )
    yield from with_borrowed(connection, borrowed, _grants(connection, owner, on_tables))


def revokes(
    connection: BaseDatabaseWrapper, owner: ViewOwner, borrowed: list[BorrowedRole]
) -> Statements:
    """Yield the statements that give the views to the application's role and revoke the grants.

    The role itself stays, and the application's role its member, since other databases of the
    server may need both.
    """
    return with_borrowed(connection, borrowed, _revokes(connection, owner))


def missing(connection: BaseDatabaseWrapper, owner: ViewOwner) -> list[str]:
    """Return in words what the roles lack after the grants.

    Postgres only warns when the grantor lacks the privilege.
    """
    app = owner.app_role
    return [
        *(f"{owner.name} lacks: {words}" for words in rights.missing(connection, owner)),
        *(f"{app} lacks: {words}" for words in rights.missing_for_app(connection, app)),
    ]


def roles_to_borrow(connection: BaseDatabaseWrapper, owner: ViewOwner) -> list[BorrowedRole]:
    """Return the roles whose rights the statements take and this session lacks."""
    granted = [name for _, name in fetch_all(connection, "select_granted", role=owner.name)]
    read = [table.identifier.as_string() for table in owner.tables]
    rows = fetch_all(
        connection,
        "select_roles_to_borrow",
        role=owner.name,
        app_role=owner.app_role,
        member=owner.member,
        tables=[*owned.TABLES, names.user_table().as_string(), *read, *granted],
        old=connection.pg_version < 160000,  # type: ignore[attr-defined]
    )
    return [BorrowedRole(*row) for row in rows]


def with_borrowed(
    connection: BaseDatabaseWrapper, borrowed: list[BorrowedRole], statements: Statements
) -> Statements:
    """Yield statements between those that make a session with CREATEROLE a member of roles."""
    me, borrowed = sql.SQL("CURRENT_USER"), [role for role in borrowed if role.can_grant_self]
    new = connection.pg_version >= 160000  # type: ignore[attr-defined]
    borrow = "grant_membership_with" if new else "grant_membership"
    options = sql.SQL("INHERIT TRUE, SET TRUE")
    for role in borrowed:
        yield compose(borrow, role=sql.Identifier(role.name), member=me, options=options)
    yield from statements
    for role in borrowed:
        end = "grant_membership_with" if role.previous_options else "revoke_membership"
        options = sql.SQL(role.previous_options or "")
        yield compose(end, role=sql.Identifier(role.name), member=me, options=options)


def _grants(
    connection: BaseDatabaseWrapper, owner: ViewOwner, on_tables: list[sql.Composed]
) -> Statements:
    role, app, readers = _identifiers(owner)
    members, live = sql.Identifier(conf.schema()), sql.Identifier(conf.live_schema())
    ((name, public_connects),) = fetch_all(connection, "select_database")
    database = sql.Identifier(name)
    if owner.member:
        yield compose("grant_membership", role=role, member=app)
    yield compose("grant_temporary", database=database, roles=_list(role, app))
    logins = [role, *readers] if owner.records_refreshes else readers
    if logins and not public_connects:
        yield compose("grant_connect", database=database, roles=_list(*logins))
    for schema in (members, live):
        yield compose("create_owned_schema", schema=schema, role=role)
    yield from _transfer(connection, role)
    yield from on_tables
    yield compose("grant_usage", schema=live, role=app)
    everyone = _list(app, *readers)
    yield compose("grant_usage", schema=members, role=everyone)
    yield compose("grant_select_on_all", schema=members, roles=everyone)
    yield compose("grant_select_by_default", owner=role, schema=members, roles=everyone)


def _grants_on_tables(connection: BaseDatabaseWrapper, owner: ViewOwner) -> Statements:
    """Yield the statements that let the role use our tables, and those that definitions read."""
    role = sql.Identifier(owner.name)
    own = {name: parse_table(connection, name) for name in owned.TABLES}
    users = parse_table(connection, names.user_table().as_string())
    reads = [replace(users, columns=(names.user_key_column(),)), *owner.tables]
    for schema in sorted({table.schema for table in (*own.values(), *reads)}):
        yield compose("grant_usage", schema=sql.Identifier(schema), role=role)
    # An earlier run may have granted more, but the users' columns may be granted by hand.
    stale = [replace(table, columns=()) for table in (*own.values(), *owner.tables)]
    for table in dict.fromkeys(stale):
        yield compose("revoke_all", target=table.identifier, role=role)
    for name, privilege, columns in owner.own_privileges:
        yield _grant(privilege, replace(own[name], columns=columns), role)
    for table in reads:
        yield _grant("SELECT", table, role)


def _grant(privilege: LiteralString, table: Table, role: sql.Identifier) -> Any:
    """Return the statement that grants a privilege on the table's columns, or on all of it."""
    right: sql.Composable = sql.SQL(privilege)
    if table.columns:
        right += sql.SQL(" ({})").format(_list(*map(sql.Identifier, table.columns)))
    return compose("grant_on_table", privilege=right, table=table.identifier, role=role)


def _revokes(connection: BaseDatabaseWrapper, owner: ViewOwner) -> Statements:
    role, app, readers = _identifiers(owner)
    members = sql.Identifier(conf.schema())
    ((name, public_connects),) = fetch_all(connection, "select_database")
    database = sql.Identifier(name)
    if fetch_value(connection, "select_schema"):
        everyone = _list(app, *readers)
        yield compose("revoke_select_by_default", owner=role, schema=members, roles=everyone)
        if readers:
            yield compose("revoke_select_on_all", schema=members, roles=_list(*readers))
            schema = sql.SQL("SCHEMA {}").format(members)
            yield compose("revoke_all", target=schema, role=_list(*readers))
    if readers and not public_connects:
        yield compose("revoke_connect", database=database, roles=_list(*readers))
    yield from _transfer(connection, app)
    for kind, name in fetch_all(connection, "select_granted", role=owner.name):
        target = sql.SQL("{} {}").format(sql.SQL(kind), sql.SQL(name))
        yield compose("revoke_all", target=target, role=role)


def _transfer(connection: BaseDatabaseWrapper, role: sql.Identifier) -> Statements:
    """Yield the statements that make a role the owner of both schemas and of all in them."""
    for kind, name in fetch_all(connection, "select_owned"):
        yield compose("alter_owner", kind=sql.SQL(kind), name=sql.SQL(name), role=role)


def _identifiers(owner: ViewOwner) -> tuple[sql.Identifier, sql.Identifier, list[sql.Identifier]]:
    readers = [sql.Identifier(name) for name in owner.readers]
    return sql.Identifier(owner.name), sql.Identifier(owner.app_role), readers


def _list(*identifiers: sql.Identifier) -> sql.Composed:
    return sql.SQL(", ").join(identifiers)
