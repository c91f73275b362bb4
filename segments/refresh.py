"""Refresh: recompute members in one transaction, or keep the last good ones.

In this order: the segment's lock, the timeouts, compile, and, unless nothing was written since the
last time, replace the live view if its SQL changed, REFRESH MATERIALIZED VIEW CONCURRENTLY,
reconcile the membership index; then write history and state. Readers see the members of before
until the commit, and never wait.
"""

import json
import logging
import time
from collections.abc import Collection
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
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.locking import try_locked_row
from segments.models import Segment, SegmentRefresh, Status
from segments.signals import segment_refresh_failed, segment_refreshed
from segments.source import compile_segment
from segments.sql import members, session, statement, traces, views
from segments.sql.definition import Compiled

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
class How:
    """In what way to refresh.

    Attributes:
        concurrently: Whether readers go on; else all rows are rewritten, and readers wait.
        force: Whether to recompute also what was not written since the last refresh.
        lag: How far the proof of that may lag behind, see `traces.unchanged_until`.
        peers: The sessions that are not suspected there.
        scheduled: Whether to leave a segment that another session has refreshed meanwhile.
        skip_only: Whether to do nothing, and say `needed`, where members are to be recomputed.
    """

    concurrently: bool = True
    force: bool = False
    lag: timedelta = timedelta()
    peers: Collection[int] = ()
    scheduled: bool = False
    skip_only: bool = False


@dataclass(frozen=True)
class Clock:
    """When a refresh started, for people and for measuring."""

    started_at: datetime = field(default_factory=timezone.now)
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> timedelta:
        """The time since then."""
        return timedelta(seconds=time.monotonic() - self._start)


def refresh(segment: Segment, concurrently: bool = True, *, force: bool = False) -> RefreshResult:
    """Recompute the members of a segment, as it stands in the database, in one transaction.

    Holds the segment's lock, Exclusive on its members (readers go on) and AccessShare on the
    tables that its definition reads, each to the end. Costs the evaluation of the definition, and
    a pass over the members; a few milliseconds where Postgres' counters prove that nothing was
    written since. On failure the last good members stay, and status and error are stored in a
    second transaction. Inside a transaction of the caller, both are savepoints of it.

    Args:
        segment: Gets its state (members_count, refreshed_at, status, ...) set.
        concurrently: False rewrites all rows in any case, which is faster where most of them
            change, and makes readers wait.
        force: Recompute in any case.

    Raises:
        SegmentDefinitionError: when the definition does not compile any more.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment is gone.
    """
    result = attempt(segment, How(concurrently, force))
    announce(segment, result)
    if result.error:
        raise result.error
    return result


def attempt(segment: Segment, how: How) -> RefreshResult:
    """Refresh a segment, store what came of it, and return that; see `refresh`.

    Sends no signal; `announce` does.
    """
    alias, slug, clock = conf.exec_connection(), segment.slug, Clock()
    if segment.pk is None:
        raise SegmentExecutionError("it is not saved yet", slug=slug)
    try:
        with (
            translated(SegmentExecutionError, slug),
            session.limited(alias, slug, timeout=segment.timeout) as connection,
        ):
            row = _locked_row(connection, segment, how)
            result = (
                _within(connection, row, how, clock)
                if row
                else RefreshResult(LOCKED, segment.members_count, slug=slug)
            )
    except SegmentError as error:
        record_failure(alias, segment, clock, error)
        _reload_state(alias, segment)
        return RefreshResult(
            Status.FAILED, segment.members_count, duration=clock.elapsed, slug=slug, error=error
        )
    if row:  # Only now is it committed.
        copy_state(row, segment)
    return result


def _locked_row(connection: BaseDatabaseWrapper, segment: Segment, how: How) -> Segment | None:
    """Lock a segment and return its row; None where that is left to another session."""
    try:
        row = try_locked_row(connection, segment.pk)
    except Segment.DoesNotExist as error:
        raise SegmentExecutionError("it has been deleted", slug=segment.slug) from error
    if row is None or (how.scheduled and row.attempted_at != segment.attempted_at):
        return None
    segment.attempted_at = row.attempted_at
    return row


def _within(
    connection: BaseDatabaseWrapper, row: Segment, how: How, clock: Clock
) -> RefreshResult:
    """Do what `attempt` does with a locked row, in the one transaction in which it does it."""
    found = views.state(connection, row.slug)
    if found.held or session.is_schema_changing(connection):
        return RefreshResult(DETACHED, row.members_count, slug=row.slug)
    compiled = compile_segment(connection, row)
    until = None if how.force else _unchanged_until(connection, row, compiled, found, how)
    if until:
        unchanged = RefreshResult(Status.UNCHANGED, row.members_count, slug=row.slug)
        return record(connection, row, clock, unchanged, until=until)
    if how.skip_only:
        return RefreshResult(NEEDED, row.members_count, slug=row.slug)
    found = views.ensure(connection, row.label, compiled, found)
    return populate(connection, row, found, clock, how.concurrently)


def _unchanged_until(
    connection: BaseDatabaseWrapper,
    row: Segment,
    compiled: Compiled,
    found: views.State,
    how: How,
) -> datetime | None:
    """Return the moment until which a segment's members are known to stand, if there is one."""
    if not (
        how.concurrently
        and row.trace
        and row.refreshed_at
        and views.is_current(connection, row.label, compiled, found)
    ):
        return None
    return traces.unchanged_until(
        connection, row.slug, row.trace, row.refreshed_at, how.lag, how.peers
    )


def populate(
    connection: BaseDatabaseWrapper,
    row: Segment,
    found: views.State,
    clock: Clock,
    concurrently: bool = True,
) -> RefreshResult:
    """Do the work of a refresh in a transaction of the caller, who has the lock and the views.

    Args:
        found: What `views.ensure` has found.

    Raises:
        SegmentExecutionError: the caller must roll back.
    """
    with translated(SegmentExecutionError, row.slug):
        # One that was never populated, or was made anew by others, such as Citus, cannot be
        # refreshed concurrently, or holds what nobody knows.
        concurrently = concurrently and found.populated and found.indexed and found.commented
        trace = traces.take(connection, row.slug)
        before = members.counters(connection, row.slug)
        row.view.refresh(concurrently=concurrently)
        after = members.counters(connection, row.slug)
        entered, left = members.reconcile(connection, row.slug, row.pk)
        if concurrently and after.counted:
            added, removed = after.inserted - before.inserted, after.deleted - before.deleted
        else:  # A rewrite inserts all rows, and a server may be told not to count.
            added, removed = entered, left
        count = members.count(connection, row.slug)
        result = RefreshResult(
            Status.REFRESHED, count, added, removed, slug=row.slug, notes=found.repairs
        )
        for note in result.notes:
            logger.warning("Segment %s: %s", row.slug, note)
        return record(connection, row, clock, result, trace=trace)


def record(
    connection: BaseDatabaseWrapper,
    row: Segment,
    clock: Clock,
    result: RefreshResult,
    *,
    trace: traces.Trace | None = None,
    until: datetime | None = None,
) -> RefreshResult:
    """Store what came of a refresh, and tell who listens in the database; return it with its time.

    Args:
        row: Gets its state set.
        trace: What the members were computed from.
        until: Up to when they are known to stand, if they were not computed.
    """
    result = replace(result, duration=clock.elapsed)
    until = trace.moment if trace else until
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
        "refreshed_at": max(filter(None, (until, row.refreshed_at))) if until else None,
        "duration": result.duration,
        "status": str(result.status),
        "members_count": result.members_count,
        "added": None if result.error else result.added,
        "removed": None if result.error else result.removed,
        "error": str(result.error or ""),
        "trace": trace.digest if trace else None,
        "kept": conf.history(),
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
            row = try_locked_row(connection, segment.pk)
            if row is not None and row.attempted_at == segment.attempted_at:
                record(connection, row, clock, result)
    except Segment.DoesNotExist:
        return
    except (django.db.Error, SegmentError) as trouble:
        # The database is gone, or may only be read; what matters is why the refresh failed.
        logger.warning("The failure of segment %s was not stored: %s", segment.slug, trouble)


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


def _reload_state(alias: str, segment: Segment) -> None:
    """Set on an instance what a refresh has stored, if the database can still be asked."""
    try:
        stored = Segment.objects.using(alias).filter(pk=segment.pk).first()
    except django.db.Error:
        logger.warning("The state of segment %s could not be read", segment.slug)
        return
    if stored:
        copy_state(stored, segment)
