"""Detach a live view from the tables of its definition, and say what has become of them.

A detached view reads nothing, so that its tables may be changed in any way; reading it, and
refreshing from it, fails with a message. The members are not touched. `views.ensure` attaches it.
"""

import json
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.sql import base, names, text, views
from segments.sql.labels import comment_live_view
from segments.sql.session import execute, rows, value


def dependencies(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return the tables and columns that each live view reads, by view name."""
    found = rows(connection, "select_dependencies", live_schema=conf.live_schema())
    return {view: json.loads(reads) for view, reads in found}


def detach(
    connection: BaseDatabaseWrapper, slug: str, found: views.State, reads: Any, by_hand: bool
) -> bool:
    """Detach one live view; return whether there was anything to do.

    AccessExclusive on the live view; the caller has the segment's lock. Keeps what the view used
    to read in its comment.

    Args:
        connection: That which owns the views.
        slug: The segment, or the view name of an orphan.
        found: What Postgres has of it.
        reads: What the view reads, from `dependencies`.
        by_hand: Whether only a sync or a migration may attach it again, and no refresh.
    """
    if not found.live or not found.ours or (found.detached and (found.held or not by_hand)):
        return False
    view = names.live_view(slug)
    execute(
        connection,
        "detach_live_view",
        view=view,
        function=sql.Identifier(conf.schema(), "detached"),
        slug=sql.Literal(slug),
        key_type=sql.SQL(found.key_type or names.key_type(connection)),
    )
    about = f'Segment "{slug}", detached from its tables during a schema change.'
    how = views.HELD if by_hand else views.DETACHED
    kept = json.dumps(found.reads if found.detached else reads)
    comment_live_view(connection, view, about, how, kept)
    return True


def detach_membership(connection: BaseDatabaseWrapper) -> None:
    """Free the index over all segments for a change of the type of users' keys."""
    execute(
        connection,
        "detach_membership_view",
        view=base.base_view("membership"),
        function=sql.Identifier(conf.schema(), "detached"),
        key_type=sql.SQL(base.membership_type(connection) or names.key_type(connection)),
    )


def changes(connection: BaseDatabaseWrapper, found: views.State) -> list[str]:
    """Return what has become of what a detached view used to read, in words."""
    if not found.reads:
        return []
    words = rows(connection, "select_changes", reads=json.dumps(found.reads))
    return [change for (change,) in words]


def definition(connection: BaseDatabaseWrapper, slug: str) -> str:
    """Return the SQL of a live view with the names that its tables have today."""
    view = names.live_view(slug).as_string()
    return str(value(connection, "select_definition", view=view)).strip().rstrip(";")


def table_and_column(connection: BaseDatabaseWrapper, what: str) -> tuple[str, str | None]:
    """Split `table`, `table.column` or `schema.table.column`, by what there is.

    Raises:
        SegmentExecutionError: when there is no such table or column.
    """
    found = rows(connection, "select_table_and_column", what=what)
    if not found:
        raise SegmentExecutionError(f"there is no table or column {what}")
    table, column = found[0]
    return table, column


def using(connection: BaseDatabaseWrapper, table: str, column: str | None) -> list[dict[str, Any]]:
    """Return the views that read a table or a column of it: name, view, live, own, owner."""
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_using"),
            {
                "table": table,
                "column": column,
                "schema": conf.schema(),
                "live_schema": conf.live_schema(),
            },
        )
        columns = [each[0] for each in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
