"""Make the membership index match a segment's view, and count what a refresh changed."""

from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.sql import names
from segments.sql.owned import MEMBERSHIP
from segments.sql.session import fetch_all, fetch_value, planned_anew
from segments.sql.statements import compose


class Counters(NamedTuple):
    """How many rows this transaction has inserted and deleted, and whether the server counts."""

    inserted: int
    deleted: int
    counted: bool


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


def reconcile(connection: BaseDatabaseWrapper, slug: str, segment: int) -> tuple[int, int]:
    """Make the membership index match the segment's view; return how many users entered and left.

    One statement, which costs one pass over the segment's members in both. It is planned for the
    current size of the table, never with a plan from when the table was small.
    """
    query = compose(
        "reconcile_membership",
        view=names.members_view(slug),
        membership=sql.Identifier(MEMBERSHIP),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
    )
    with planned_anew(connection):
        ((entered, left),) = fetch_all(connection, query, segment=segment)
    return entered, left
