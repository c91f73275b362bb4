"""The rights of the role that owns the views: what it needs, what it lacks, and what is too much.

Definitions are evaluated with the rights of this role, so every right of it is theirs.
"""

import re
from dataclasses import dataclass
from typing import Any, LiteralString

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.exceptions import SegmentExecutionError
from segments.sql import names, owned
from segments.sql.session import fetch_all

VIEW_COLUMNS = {
    owned.SEGMENT: (
        "id",
        "name",
        "slug",
        "description",
        "definition",
        "manager_method",
        "refresh_every",
        "is_active",
        "members_count",
        "refreshed_at",
        "status",
        "last_error",
        "failures",
        "updated_at",
        "attempted_at",
        "ids_from",
    ),
    owned.STATIC_MEMBER: ("segment_id", "user_id"),
    owned.MEMBERSHIP: ("user_id", "segment_id", "entered_at"),
    owned.REFRESH: (
        "id",
        "segment_id",
        "started_at",
        "duration",
        "status",
        "members_count",
        "added",
        "removed",
    ),
    owned.CHANGE: ("id", "segment_id", "user_id", "entered", "at", "refresh_id"),
}
"""The columns of our tables that the views read: all that the owner of the views may read."""

REFRESH_PRIVILEGES: dict[str, tuple[LiteralString, ...]] = {
    owned.SEGMENT: ("SELECT", "UPDATE"),
    owned.STATIC_MEMBER: ("SELECT",),
    owned.MEMBERSHIP: ("SELECT", "INSERT", "DELETE"),
    owned.REFRESH: ("SELECT", "INSERT", "UPDATE", "DELETE"),
    owned.CHANGE: ("SELECT", "INSERT", "DELETE"),
    owned.VERSION: ("SELECT", "UPDATE"),
}
"""Privileges of a login that runs refreshes and writes their history."""

ALLOWED_MEMBERSHIPS = ("pg_read_all_stats",)
"""Such a login may be a member of these, to see the sessions of others; see docs/scheduling.md."""


@dataclass(frozen=True)
class Table:
    """A table that definitions may read.

    Attributes:
        columns: The columns that they may read; empty means all.
    """

    schema: str
    name: str
    columns: tuple[str, ...] = ()

    @property
    def identifier(self) -> sql.Identifier:
        """The table's name with its schema."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class ViewOwner:
    """The role that owns the views.

    Attributes:
        name: The role's name.
        app_role: The role that the application logs in as.
        records_refreshes: Whether the owner logs in itself (`SEGMENTS_EXEC_CONNECTION`), so that
            it writes what refreshes record. Otherwise the application's role is a member of it.
        tables: The tables that definitions may read, besides the key of the users.
        readers: The roles that may read all members, such as that of a BI tool.
    """

    name: str
    app_role: str
    records_refreshes: bool = False
    tables: tuple[Table, ...] = ()
    readers: tuple[str, ...] = ()

    @property
    def member(self) -> str | None:
        """The role that takes on this one with SET ROLE; None if it logs in itself."""
        return None if self.records_refreshes else self.app_role

    @property
    def own_privileges(self) -> list[tuple[str, LiteralString, tuple[str, ...]]]:
        """What the role needs on our tables: (table, privilege, columns); no columns means all."""
        if not self.records_refreshes:
            return [(table, "SELECT", columns) for table, columns in VIEW_COLUMNS.items()]
        return [
            (table, privilege, ())
            for table, privileges in REFRESH_PRIVILEGES.items()
            for privilege in privileges
        ]


def parse_table(connection: BaseDatabaseWrapper, text: str) -> Table:
    """Return the table that a text such as `shop_order` or `shop_customer(id, username)` names.

    Raises:
        SegmentExecutionError: when the table or a column does not exist.
    """
    name, columns = re.fullmatch(r"\s*(.*?)\s*(?:\((.*)\))?\s*", text, re.DOTALL).groups()  # type: ignore[union-attr]
    rows = fetch_all(connection, "select_relation", name=name)
    if not rows:
        raise SegmentExecutionError(
            f"there is no table {name}",
            hint="Run manage.py migrate first."
            if name in owned.TABLES
            else "Write it as in SQL, with its schema if that is not in the search_path.",
        )
    schema, relation, known = rows[0]
    parts = () if columns is None else columns.split(",")
    chosen = tuple(column.strip().strip('"') for column in parts)
    unknown = [column or "with an empty name" for column in chosen if column not in known]
    if unknown:
        raise SegmentExecutionError(
            f"the table {name} has no column {', '.join(unknown)}",
            hint=f"It has {', '.join(known)}.",
        )
    return Table(schema, relation, chosen)


def missing(
    connection: BaseDatabaseWrapper, owner: ViewOwner, *, owns_views: bool = True
) -> list[str]:
    """Return in words what the owner of the views lacks.

    Args:
        owns_views: False for a login that refreshes views which another role owns.
    """
    user_key = (names.user_table().as_string(), "SELECT", (names.user_key_column(),))
    needed = [
        (table, privilege, column)
        for table, privilege, columns in [user_key, *owner.own_privileges]
        for column in columns or [None]
    ]
    return _words(
        connection,
        "select_missing_rights",
        role=owner.name,
        member=owner.member,
        owns=owns_views,
        tables=[table for table, _, _ in needed],
        privileges=[privilege for _, privilege, _ in needed],
        attributes=[column for _, _, column in needed],
    )


def missing_for_app(connection: BaseDatabaseWrapper, role: str) -> list[str]:
    """Return in words what the application's role lacks where another role owns the views."""
    return _words(connection, "select_missing_rights_of_app", role=role)


def surplus(connection: BaseDatabaseWrapper, owner: ViewOwner) -> list[str]:
    """Return in words what the owner of the views has that definitions should not have."""
    allowed = list(ALLOWED_MEMBERSHIPS if owner.records_refreshes else ())
    return _words(connection, "select_surplus_rights", role=owner.name, allowed=allowed)


def _words(connection: BaseDatabaseWrapper, statement: str, **params: Any) -> list[str]:
    return [words for (words,) in fetch_all(connection, statement, **params)]
