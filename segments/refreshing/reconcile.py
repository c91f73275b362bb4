"""Make the membership index match a segment's view, and count what a refresh changed."""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.sql import names, owned
from segments.sql.session import fetch_all, fetch_value, planned_anew
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment


class Counters(NamedTuple):
    """How many rows this transaction has inserted and deleted, and whether the server counts."""

    inserted: int
    deleted: int
    counted: bool


def writes_changes(row: "Segment") -> bool:
    """Return whether a refresh of this row, which is locked, writes who entered and who left.

    A first population is one row of the history, unless a consumer is waiting for its members.
    Views that were lost and are populated again are no first population.
    """
    return row.track_changes and bool(row.tracked_since or row.refreshed_at)


def counters(connection: BaseDatabaseWrapper, slug: str) -> Counters:
    """Return how many rows of a view this transaction has inserted and deleted so far.

    Only the difference of two readings is meaningful.
    """
    view = names.members_view(slug).as_string()
    (row,) = fetch_all(connection, "select_counters", view=view)
    return Counters(*row)


def count_members(connection: BaseDatabaseWrapper, slug: str) -> int:
    """Return the number of rows in a segment's view. One scan of the view."""
    query = compose("count_members", view=names.members_view(slug))
    return int(fetch_value(connection, query))


class Reconciled(NamedTuple):
    """How many users entered and left, and what the feed has of it.

    Attributes:
        refresh: The row of the history that the changes refer to; None if none were written.
        first, last: The first and the last of their ids.
    """

    entered: int
    left: int
    refresh: int | None = None
    first: int | None = None
    last: int | None = None


def reconcile(
    connection: BaseDatabaseWrapper,
    slug: str,
    segment: int,
    *,
    first: bool = False,
    feed_from: datetime | None = None,
) -> Reconciled:
    """Make the membership index match the segment's view, and write what changed to the feed.

    One statement, which costs one pass over the segment's members in both. It is planned for the
    current size of the table, never with a plan from when the table was small. The caller holds
    the segment's lock.

    Args:
        first: Whether the view was populated for the first time, or was lost before.
        feed_from: When the refresh started whose changes are written; None writes none.
    """
    parts = {
        "view": names.members_view(slug),
        "membership": sql.Identifier(owned.MEMBERSHIP),
        "users": names.user_table(),
        "key": sql.Identifier(names.user_key_column()),
    }
    track = feed_from is not None
    with planned_anew(connection):
        if first and not track:
            with connection.cursor() as cursor:
                cursor.execute(compose("populate_membership", **parts), {"segment": segment})
                if cursor.rowcount:
                    return Reconciled(entered=cursor.rowcount, left=0)
        query = compose(
            "reconcile_membership",
            **parts,
            refresh=sql.Identifier(owned.REFRESH),
            change=sql.Identifier(owned.CHANGE),
        )
        (row,) = fetch_all(connection, query, segment=segment, track=track, started_at=feed_from)
    return Reconciled(*row)
