"""Has anything that a segment reads been written since its last refresh?

Postgres counts the rows that were ever inserted, updated and deleted in each table. If a digest of
these counters is still the same, nothing was written, provided that all sessions have reported
their writes. If that is unknown, the segment is recomputed.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.pgviews.shared import function
from segments.sql import names
from segments.sql.session import fetch_all, fetch_value
from segments.sql.statements import compose

MAX_DEVIATION = 5.0
"""By how many seconds two clocks may differ before one of them counts as set."""

UNSTEADY = 90.0
"""For how many seconds nothing counts as unchanged after the server's clock was set."""

_clocks: dict[str, tuple[float, float]] = {}
_jumped_at: dict[str, float] = {}


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


def report_writes(connection: BaseDatabaseWrapper) -> int:
    """Let a session report what it has written; return its process id. Not in a transaction."""
    return int(fetch_value(connection, "report_writes"))


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
    moment, seconds, text = _fetch_row(connection, query, slug)
    _clocks_agree(connection.alias, seconds)
    return ReadDigest(moment, "" if hidden else text)


def unchanged_until(
    connection: BaseDatabaseWrapper,
    slug: str,
    digest: str,
    since: datetime,
    lag: timedelta,
    own_pids: Collection[int],
    caller: int | None = None,
) -> datetime | None:
    """Return the moment until which nothing that a segment reads was written; None if unknown.

    Args:
        digest, since: The digest of the last refresh, and its moment.
        lag: How old the returned moment may be if other sessions may have unreported writes. With
            zero, the result is None if any session may have some.
        own_pids: The process ids of sessions that report their writes with each commit.
        caller: The process id of one more such session, if it has run nothing since it has
            reported its writes.
    """
    query = compose("select_unchanged", unchanged_until=function("unchanged_until"))
    until: datetime | None
    moment, seconds, until = _fetch_row(
        connection,
        query,
        slug,
        digest=digest,
        since=since,
        lag=lag,
        own_pids=list(own_pids),
        caller=caller,
    )
    # The caller's session was looked at just after the moment, and may have written since.
    return min(until, moment) if _clocks_agree(connection.alias, seconds) and until else None


def _clocks_agree(alias: str, seconds: float) -> bool:
    """Return whether the server's clock was steady, as far as this process can tell.

    It compares the time between two moments of that clock with its own monotonic clock. After a
    jump, nothing counts as unchanged until all sessions have reported what they wrote before it.

    Args:
        seconds: The server's time, in seconds since the epoch.
    """
    now = monotonic()
    before = _clocks.get(alias)
    _clocks[alias] = (seconds, now)
    if before and abs((seconds - before[0]) - (now - before[1])) > MAX_DEVIATION:
        _jumped_at[alias] = now
    return now - _jumped_at.get(alias, -math.inf) > UNSTEADY


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
