"""Has anything that a segment reads been written since its last refresh?

Postgres counts the rows that were ever inserted, updated and deleted in each table. If a digest of
these counters is still the same, nothing was written, provided that all sessions have reported
their writes. If that is unknown, the segment is recomputed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.pgviews.shared import function
from segments.sql import names
from segments.sql.session import fetch_all, fetch_value
from segments.sql.statements import compose


@dataclass(frozen=True)
class ReadDigest:
    """A digest of what a segment reads and how often it was written.

    Attributes:
        moment: When it was computed, by the server's clock. It covers what was committed, and
            reported, until then.
        digest: The digest; empty if members may change without a change of the counters.
    """

    moment: datetime
    digest: str


def digest(connection: BaseDatabaseWrapper, slug: str) -> ReadDigest:
    """Return the current digest of what a segment reads. Reads the catalog, and locks nothing."""
    fetch_value(connection, "clear_statistics")
    query = compose(
        "select_hidden",
        reads=compose("reads_of_segment", live=sql.Placeholder("live")),
        calls=compose("calls_of_segment"),
    )
    (hidden,) = _fetch_row(connection, query, slug)
    query = compose("select_read_digest", read_digest=function("read_digest"))
    moment, text = _fetch_row(connection, query, slug)
    return ReadDigest(moment, "" if hidden else text)


def unchanged_until(
    connection: BaseDatabaseWrapper,
    slug: str,
    digest: str,
    since: datetime,
    lag: timedelta,
    own_pids: Collection[int],
) -> datetime | None:
    """Return the moment until which nothing that a segment reads was written; None if unknown.

    Args:
        digest, since: The digest of the last refresh, and its moment.
        lag: How old the returned moment may be if other sessions may have unreported writes. With
            zero, the result is None if any session may have some.
        own_pids: The process ids of sessions that report their writes with each commit.
    """
    query = compose("select_unchanged", unchanged_until=function("unchanged_until"))
    pids = list(own_pids)
    until: datetime | None
    (until,) = _fetch_row(
        connection, query, slug, digest=digest, since=since, lag=lag, own_pids=pids
    )
    return until


def _fetch_row(
    connection: BaseDatabaseWrapper, query: sql.Composed, slug: str, **params: Any
) -> tuple[Any, ...]:
    (row,) = fetch_all(
        connection,
        query,
        live=names.live_view(slug).as_string(),
        members=names.members_view(slug).as_string(),
        users=names.user_table().as_string(),
        key=names.user_key_column(),
        **params,
    )
    return row
