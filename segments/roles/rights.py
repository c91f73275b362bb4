"""Rights: what the role that owns the views needs in the database, lacks, and has too much of.

Definitions are evaluated with them, so each is one that they have as well.
"""

from dataclasses import dataclass
from typing import Any, LiteralString

from django.db.backends.base.base import BaseDatabaseWrapper

from segments.sql import names
from segments.sql.session import fetch_all

VIEW_COLUMNS = {
    "segments_segment": (
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
    ),
    "segments_staticmember": ("segment_id", "user_id"),
    "segments_membership": ("user_id", "segment_id", "entered_at"),
    "segments_segmentrefresh": ("segment_id", "started_at", "duration"),
}
"""The columns that views read: the catalog, the memberships, and the segments with a list."""

REFRESH_PRIVILEGES: dict[str, tuple[LiteralString, ...]] = {
    "segments_segment": ("SELECT", "UPDATE"),
    "segments_staticmember": ("SELECT",),
    "segments_membership": ("SELECT", "INSERT", "DELETE"),
    "segments_segmentrefresh": ("SELECT", "INSERT", "DELETE"),
}
"""What a login needs that refreshes by itself, and so keeps the books."""

OWN_TABLES = tuple(VIEW_COLUMNS)

ALLOWED_MEMBERSHIPS = ("pg_read_all_stats",)
"""Of use to who refreshes, since it looks at the sessions of others; see docs/scheduling.md."""


@dataclass(frozen=True)
class Owner:
    """The role that owns the views.

    Attributes:
        role: Its name.
        member: Who takes it on with SET ROLE; None where it logs in itself.
        owns: Whether it owns the views, or merely refreshes them.
        books: Whether it keeps the books of a refresh.
    """

    role: str
    member: str | None = None
    owns: bool = True
    books: bool = False


def missing(connection: BaseDatabaseWrapper, owner: Owner) -> list[str]:
    """Return in words what a role lacks that is to own the views, or to refresh them."""
    found = fetch_all(
        connection,
        "select_exec_role",
        role=owner.role,
        member=owner.member,
        owns=owner.owns,
        **_needed(owner),
    )
    return [words for (words,) in found]


def missing_for_app(connection: BaseDatabaseWrapper, role: str) -> list[str]:
    """Return in words what the application's role lacks where another one owns the views."""
    return [words for (words,) in fetch_all(connection, "select_app_role", role=role)]


def surplus(connection: BaseDatabaseWrapper, owner: Owner) -> list[str]:
    """Return in words what the owner of the views has that definitions should not have."""
    found = fetch_all(
        connection,
        "select_excess",
        role=owner.role,
        own=list(OWN_TABLES),
        tolerated=list(ALLOWED_MEMBERSHIPS if owner.books else ()),
        **_needed(owner),
    )
    return [words for (words,) in found]


def _needed(owner: Owner) -> dict[str, Any]:
    """Return tables, a privilege on each, and the column that it is about; None: all."""
    needed: list[tuple[str, str, str | None]] = [
        (names.user_table().as_string(), "SELECT", names.user_key_column())
    ]
    if owner.books:
        needed += [
            (name, right, None) for name, rights in REFRESH_PRIVILEGES.items() for right in rights
        ]
    else:
        needed += [
            (name, "SELECT", each) for name, columns in VIEW_COLUMNS.items() for each in columns
        ]
    return {
        "tables": [table for table, _, _ in needed],
        "privileges": [privilege for _, privilege, _ in needed],
        "attributes": [column for _, _, column in needed],
    }
