"""Refresh: recompute members in one transaction, or keep the last good ones.

In this order: the segment's lock, the timeouts, compile, and, unless nothing was written since the
last time, replace the live view if its SQL changed, REFRESH MATERIALIZED VIEW CONCURRENTLY,
reconcile the membership index; then write history and state. Readers see the members of before
until the commit, and never wait.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import django.db
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.locking import try_locked_row
from segments.models import Segment, Status
from segments.outcome import (
    DETACHED,
    LOCKED,
    NEEDED,
    Clock,
    RefreshResult,
    announce,
    copy_state,
    record,
    record_failure,
)
from segments.source import compile_segment
from segments.sql import members, session, traces, views
from segments.sql.definition import Compiled

logger = logging.getLogger(__name__)


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
            row, changing = _locked_row(connection, segment, how)
            if row is None or changing:
                status = LOCKED if row is None else DETACHED
                result = RefreshResult(status, segment.members_count, slug=slug)
            else:
                result = _within(connection, row, how, clock)
    except SegmentError as error:
        record_failure(alias, segment, clock, error)
        reload_state(alias, segment)
        return RefreshResult(
            Status.FAILED, segment.members_count, duration=clock.elapsed, slug=slug, error=error
        )
    if row:  # Only now is it committed.
        copy_state(row, segment)
    return result


def _locked_row(
    connection: BaseDatabaseWrapper, segment: Segment, how: How
) -> tuple[Segment | None, bool]:
    """Lock a segment; see `try_locked_row`. No row, too, where another run has refreshed it."""
    try:
        row, changing = try_locked_row(connection, segment.pk)
    except Segment.DoesNotExist as error:
        raise SegmentExecutionError("it has been deleted", slug=segment.slug) from error
    if row is None or (how.scheduled and row.attempted_at != segment.attempted_at):
        return None, changing
    segment.attempted_at = row.attempted_at
    return row, changing


def _within(
    connection: BaseDatabaseWrapper, row: Segment, how: How, clock: Clock
) -> RefreshResult:
    """Do what `attempt` does with a locked row, in the one transaction in which it does it."""
    found = views.state(connection, row.slug)
    if found.held:
        return RefreshResult(DETACHED, row.members_count, slug=row.slug)
    compiled = compile_segment(connection, row, found.fingerprint)
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
        and row.status != Status.FAILED  # Counters tell nothing of rights that it lacks.
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
        with session.as_owner(connection):
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


def reload_state(alias: str, segment: Segment) -> None:
    """Set on an instance what a refresh has stored, if the database can still be asked."""
    try:
        stored = Segment.objects.using(alias).filter(pk=segment.pk).first()
    except django.db.Error:
        logger.warning("The state of segment %s could not be read", segment.slug)
        return
    if stored:
        copy_state(stored, segment)
