"""Traces: has anything been written since the last refresh of what a segment reads?

Postgres counts the rows that were ever inserted, updated and deleted in each table. A digest of
those counters that is the same as before proves that nothing was written, as far as every session
has reported its writes by then. Where that is not known, the segment is recomputed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.sql import names, statement
from segments.sql.base import function
from segments.sql.session import value


@dataclass(frozen=True)
class Trace:
    """What a segment reads, and how often that was written, at a moment of the server's clock.

    Attributes:
        moment: What was committed until then, and reported, is in the digest.
        digest: Empty where members may change without leaving a trace.
    """

    moment: datetime
    digest: str


def take(connection: BaseDatabaseWrapper, slug: str) -> Trace:
    """Return the trace of a segment as of now. Costs a look into the catalog, and no locks."""
    value(connection, "clear_statistics")
    query = statement(
        "select_hidden",
        reads=statement("reads_of_segment", live=sql.Placeholder("live")),
        calls=statement("calls_of_segment"),
    )
    (hidden,) = _ask(connection, query, slug)
    moment, digest = _ask(connection, statement("select_trace", trace=function("trace")), slug)
    return Trace(moment, "" if hidden else digest)


def unchanged_until(
    connection: BaseDatabaseWrapper,
    slug: str,
    digest: str,
    since: datetime,
    lag: timedelta,
    peers: Collection[int],
) -> datetime | None:
    """Return the moment until which nothing that a segment reads was written; None if unknown.

    Args:
        digest, since: The trace of the last refresh, and its moment.
        lag: How far back that moment may lie, where other sessions may have written since without
            having reported it yet; with zero, None is returned as soon as one may have.
        peers: The process ids of sessions that report their writes with each commit.
    """
    query = statement("select_unchanged", unchanged_until=function("unchanged_until"))
    until: datetime | None
    (until,) = _ask(
        connection, query, slug, digest=digest, since=since, lag=lag, peers=list(peers)
    )
    return until


def _ask(
    connection: BaseDatabaseWrapper, query: sql.Composed, slug: str, **more: Any
) -> tuple[Any, ...]:
    params = {
        "live": names.live_view(slug).as_string(),
        "members": names.members_view(slug).as_string(),
        "users": names.user_table().as_string(),
        "key": names.user_key_column(),
        **more,
    }
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        found: tuple[Any, ...] = cursor.fetchone()
        return found
