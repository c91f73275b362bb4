"""Grants: what the owner of the views needs, and nothing else, as statements to read and to run.

Composed here and not in files of their own, since each is a line, and their order is the point.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.sql import names
from segments.sql.session import rows, value

OWN_TABLES = (
    "segments_segment",
    "segments_staticmember",
    "segments_membership",
    "segments_segmentrefresh",
)


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
    found = rows(connection, "select_relation", name=name)
    if not found:
        raise SegmentExecutionError(
            f"there is no table {name}",
            hint="Run manage.py migrate first." if name in OWN_TABLES else None,
        )
    schema, relation, known = found[0]
    chosen = tuple(each.strip().strip('"') for each in columns.split(",")) if columns else ()
    unknown = [each for each in chosen if each not in known]
    if unknown:
        raise SegmentExecutionError(
            f"the table {name} has no column {', '.join(unknown)}",
            hint=f"It has {', '.join(known)}.",
        )
    return Table(schema, relation, chosen)


def grants(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[sql.Composed]:
    """Give the statements that set the roles up; they may be run again."""
    role, app = sql.Identifier(roles.role), sql.Identifier(roles.app)
    database = sql.Identifier(str(value(connection, "select_database")))
    yield sql.SQL(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) "
        "THEN CREATE ROLE {} {}; END IF; END $$"
    ).format(sql.Literal(roles.role), role, sql.SQL("LOGIN" if roles.connects else "NOLOGIN"))
    if not roles.connects:
        yield sql.SQL("GRANT {} TO {}").format(role, app)
    yield sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}, {}").format(database, role, app)
    for name in (conf.schema(), conf.live_schema()):
        schema = sql.Identifier(name)
        yield sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(schema, role)
        yield sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, role)
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, app)
    yield from _owned_by(connection, role)
    own = [table(connection, name) for name in OWN_TABLES]
    users = table(connection, names.user_table().as_string())
    key = Table(users.schema, users.name, (names.user_key_column(),))
    for name in sorted({each.schema for each in (*own, key, *roles.reads)}):
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(name), role)
    rights = sql.SQL("SELECT, INSERT, UPDATE, DELETE" if roles.connects else "SELECT")
    for each in own:
        yield sql.SQL("GRANT {} ON {} TO {}").format(rights, each.identifier, role)
    for each in (key, *roles.reads):
        yield sql.SQL("GRANT SELECT{} ON {} TO {}").format(_columns(each), each.identifier, role)
    yield from _for_readers(role, [app, *map(sql.Identifier, roles.readers)])


def revokes(connection: BaseDatabaseWrapper, roles: Roles) -> Iterator[sql.Composed]:
    """Give the statements that take all of that back, and leave the views to the application."""
    role, app = sql.Identifier(roles.role), sql.Identifier(roles.app)
    if not value(connection, "select_role_exists", role=roles.role):
        return
    schema = sql.Identifier(conf.schema())
    for reader in (app, *map(sql.Identifier, roles.readers)):
        yield sql.SQL(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} REVOKE SELECT ON TABLES FROM {}"
        ).format(role, schema, reader)
    for each in (conf.schema(), conf.live_schema()):
        yield sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(each), app)
    yield from _owned_by(connection, app)
    for statement in rows(connection, "select_granted", role=roles.role):
        yield sql.SQL("{}").format(sql.SQL(statement[0]))
    yield sql.SQL("REVOKE {} FROM {}").format(role, app)
    yield sql.SQL("DROP ROLE {}").format(role)


def _owned_by(connection: BaseDatabaseWrapper, role: sql.Identifier) -> Iterator[sql.Composed]:
    """Give the statements that make a role the owner of what this package has made."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    for kind, name in rows(connection, "select_owned", **schemas):
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


def _columns(table: Table) -> sql.Composable:
    if not table.columns:
        return sql.SQL("")
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    return sql.SQL(" ({})").format(columns)
