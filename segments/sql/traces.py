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

from segments.sql import names, statement, text
from segments.sql.session import rows, value


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
    hidden = _ask(connection, "select_hidden", slug)[0]
    moment, digest = _ask(connection, "select_trace", slug)
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
    value(connection, "clear_statistics")
    # Before the counters: who reports in between is taken for one who has not.
    now, told = rows(connection, "select_writers", since=since, peers=list(peers))[0]
    if told is None or told < now - lag or _ask(connection, "select_trace", slug)[1] != digest:
        return None
    return told  # type: ignore[no-any-return]


def _ask(connection: BaseDatabaseWrapper, file: str, slug: str) -> tuple[Any, ...]:
    query = statement(file, reads=sql.SQL(text("reads_of_segment")))
    params = {
        "live": names.live_view(slug).as_string(),
        "members": names.members_view(slug).as_string(),
        "users": names.user_table().as_string(),
        "key": names.user_key_column(),
    }
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        found: tuple[Any, ...] = cursor.fetchone()
        return found
