"""Outcome: what came of a refresh, how it is stored, and who is told."""

import json
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import django.db
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, for_log
from segments.locking import try_locked_row
from segments.models import Segment, SegmentRefresh, Status
from segments.signals import segment_refresh_failed, segment_refreshed
from segments.sql import session, statement
from segments.sql.traces import Trace

logger = logging.getLogger(__name__)

LOCKED = "locked"
"""The status of a refresh that left a segment to another session; nothing is stored of it."""

DETACHED = "detached"
"""The status of a refresh that stood aside for a schema change; nothing is stored of it."""

NEEDED = "needed"
"""The status of a refresh that was to recompute nothing, and would have had to."""

STATE = (
    "members_count",
    "refreshed_at",
    "status",
    "last_error",
    "failures",
    "attempted_at",
    "trace",
)
"""The fields that refreshes store on a row."""


@dataclass(frozen=True)
class RefreshResult:
    """What a refresh did.

    Attributes:
        status: `refreshed`; `unchanged` if nothing that the segment reads was written since the
            last refresh, so that its members stand; `locked` if another session was refreshing or
            changing the segment, or `detached` during a schema change, and nothing was done;
            `failed` (only where several are refreshed) with the `error`.
        members_count: The members now; None if the segment has never been populated.
        added, removed: How many rows of the view are new, and how many are gone.
        duration: From the start to just before the commit.
        slug: The segment.
        error: Why it failed.
        notes: What else is to be known, in words: what had to be put back, and which of the
            segments that it reads have failed, so that their last good members counted.
        dependents: What came of the segments that read this one, if those were asked for.
    """

    status: str
    members_count: int | None = None
    added: int = 0
    removed: int = 0
    duration: timedelta = timedelta()
    slug: str = ""
    error: SegmentError | None = None
    notes: tuple[str, ...] = ()
    dependents: tuple["RefreshResult", ...] = ()


@dataclass(frozen=True)
class Clock:
    """When a refresh started, for people and for measuring."""

    started_at: datetime = field(default_factory=timezone.now)
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> timedelta:
        """The time since then."""
        return timedelta(seconds=time.monotonic() - self._start)


def record(
    connection: BaseDatabaseWrapper,
    row: Segment,
    clock: Clock,
    result: RefreshResult,
    *,
    trace: Trace | None = None,
    until: datetime | None = None,
) -> RefreshResult:
    """Store what came of a refresh, and tell who listens in the database; return it with its time.

    Args:
        row: Gets its state set.
        trace: What the members were computed from.
        until: Up to when they are known to stand, if they were not computed.
    """
    result = replace(result, duration=clock.elapsed)
    moment = trace.moment if trace else until
    query = statement(
        "record_refresh",
        segment=sql.Identifier(Segment._meta.db_table),
        refresh=sql.Identifier(SegmentRefresh._meta.db_table),
        state=sql.SQL(", ").join(map(sql.Identifier, STATE)),
    )
    params: dict[str, Any] = {
        "segment": row.pk,
        "started_at": clock.started_at,
        "moment": trace.moment if trace else None,
        "refreshed_at": max(filter(None, (moment, row.refreshed_at))) if moment else None,
        "duration": result.duration,
        "status": str(result.status),
        "members_count": result.members_count,
        "added": None if result.error else result.added,
        "removed": None if result.error else result.removed,
        "error": str(result.error or ""),
        "trace": trace.digest if trace else None,
        "kept": conf.history(),
        # That members stand may be lost in a crash, and is not worth a wait for the disk.
        "light": bool(until) and not trace and not connection.savepoint_ids,
        "channel": conf.schema(),
        "payload": json.dumps(
            {
                "segment": row.slug,
                "id": row.pk,
                "status": str(result.status),
                "members_count": result.members_count,
                "added": result.added,
                "removed": result.removed,
            }
        ),
    }
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        for name, value in zip(STATE, cursor.fetchone(), strict=False):
            setattr(row, name, value)
    return result


def record_failure(alias: str, segment: Segment, clock: Clock, error: SegmentError) -> None:
    """Store a failure on the segment and in its history, apart from what was rolled back.

    Not where another session has the segment, or has refreshed it since: its outcome counts.
    """
    result = RefreshResult(Status.FAILED, slug=segment.slug, error=error)
    try:
        with session.limited(alias, segment.slug) as connection:
            row, _ = try_locked_row(connection, segment.pk)
            if row is not None and row.attempted_at == segment.attempted_at:
                record(connection, row, clock, result)
    except Segment.DoesNotExist:
        return
    except (django.db.Error, SegmentError) as trouble:
        # The database is gone, or may only be read; what matters is why the refresh failed.
        logger.warning(
            "The failure of segment %s was not stored: %s", segment.slug, for_log(trouble)
        )


def announce(segment: Segment, result: RefreshResult) -> None:
    """Send the signal for what came of a refresh, once that is committed."""
    told: dict[str, Any] = {"sender": Segment, "segment": segment, "result": result}
    if result.error:
        send = partial(segment_refresh_failed.send_robust, **told, error=result.error)
    elif result.status in (Status.REFRESHED, Status.UNCHANGED):
        send = partial(segment_refreshed.send_robust, **told)
    else:
        return
    connection = connections[conf.exec_connection()]
    if connection.in_atomic_block:
        connection.on_commit(send)
    else:  # It is committed, or the caller does that by hand, and Django does not know when.
        send()


def copy_state(source: Segment, target: Segment) -> None:
    """Copy what refreshes store on a row."""
    for name in STATE:
        setattr(target, name, getattr(source, name))
