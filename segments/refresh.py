"""Refresh: recompute members in one transaction, or keep the last good ones.

In this order: take the segment's lock, set the timeouts, compile. If nothing was written since the
last refresh, that is all. Otherwise replace the live view if its SQL has changed, REFRESH
MATERIALIZED VIEW CONCURRENTLY, and reconcile the membership index. Then write history and state.
Readers see the former members until the commit, and never wait.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition.compile import compile_segment
from segments.definition.select import Compiled
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import views
from segments.refreshing.history import (
    DETACHED,
    LOCKED,
    RefreshResult,
    Stopwatch,
    announce,
    record,
    record_failure,
)
from segments.refreshing.reconcile import count_members, counters, reconcile
from segments.refreshing.unchanged import digest, unchanged_until
from segments.rows import Status, copy_state, reload_state, try_locked_row
from segments.sql import session

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefreshOptions:
    """Options of a refresh.

    Attributes:
        concurrently: Whether readers go on; otherwise all rows are rewritten, and readers wait.
        force: Whether to recompute even if nothing was written since the last refresh.
        lag: How far the proof of that may lag behind, see `unchanged.unchanged_until`.
        own_pids: The sessions that the proof need not suspect.
        reported_at: Until when these have reported their writes; None means until now.
        scheduled: Whether to leave a segment that another session has refreshed meanwhile.
    """

    concurrently: bool = True
    force: bool = False
    lag: timedelta = timedelta()
    own_pids: Collection[int] = ()
    reported_at: datetime | None = None
    scheduled: bool = False


def refresh(
    segment: "Segment", concurrently: bool = True, *, force: bool = False
) -> RefreshResult:
    """Recompute the members of a segment, as it stands in the database, in one transaction.

    Holds the segment's lock, Exclusive on its members (readers go on) and AccessShare on the
    tables that its definition reads, each to the end. Costs the evaluation of the definition and a
    pass over the members; a few milliseconds if Postgres' counters prove that nothing was written
    since. On failure the last good members stay, and status and error are stored in a second
    transaction. Inside a transaction of the caller, both are savepoints of it.

    Args:
        segment: Gets its state (members_count, refreshed_at, status, ...) set.
        concurrently: False rewrites all rows, which is faster if most of them change, and makes
            readers wait.
        force: Recompute in any case.

    Raises:
        SegmentDefinitionError: when the definition no longer compiles.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment is gone.
    """
    result = try_refresh(segment, RefreshOptions(concurrently, force))
    announce(segment, result)
    if result.error:
        raise result.error
    return result


def try_refresh(segment: "Segment", options: RefreshOptions) -> RefreshResult:
    """Refresh a segment, store the outcome, and return it, failed or not; see `refresh`.

    Sends no signal; `announce` does.
    """
    alias, slug, stopwatch = conf.exec_connection(), segment.slug, Stopwatch()
    if segment.pk is None:
        raise SegmentExecutionError("it is not saved yet", slug=slug)
    try:
        with session.transaction(alias, slug, timeout=segment.timeout) as connection:
            row, changing = _locked_row(connection, segment, options)
            if row is None or changing:
                status = LOCKED if row is None else DETACHED
                result = RefreshResult(status, segment.members_count, slug=slug)
            else:
                result = _refresh_locked(connection, row, options, stopwatch)
    except SegmentError as error:
        record_failure(alias, segment, stopwatch, error)
        reload_state(alias, segment)
        took = stopwatch.elapsed
        return RefreshResult(
            Status.FAILED, segment.members_count, duration=took, slug=slug, error=error
        )
    if row:  # Only now is it committed.
        copy_state(row, segment)
    return result


def _locked_row(
    connection: BaseDatabaseWrapper, segment: "Segment", options: RefreshOptions
) -> tuple["Segment | None", bool]:
    """Lock a segment as `try_locked_row` does; no row either if another run has refreshed it."""
    try:
        row, changing = try_locked_row(connection, segment.pk)
    except ObjectDoesNotExist as error:
        raise SegmentExecutionError("it has been deleted", slug=segment.slug) from error
    if row is None or (options.scheduled and row.attempted_at != segment.attempted_at):
        return None, changing
    segment.attempted_at = row.attempted_at
    return row, changing


def _refresh_locked(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    options: RefreshOptions,
    stopwatch: Stopwatch,
) -> RefreshResult:
    """Refresh a row that is already locked, in the caller's transaction."""
    current = views.state(connection, row.slug)
    if current.detached_manually:
        return RefreshResult(DETACHED, row.members_count, slug=row.slug)
    compiled = compile_segment(connection, row, current.fingerprint)
    until = None
    if not options.force:
        until = _unchanged_until(connection, row, compiled, current, options)
    if until:
        result = RefreshResult(Status.UNCHANGED, row.members_count, slug=row.slug)
        return record(connection, row, stopwatch, result, until=until)
    current = views.ensure(connection, row.label, compiled, current)
    return recompute(connection, row, current, stopwatch, options.concurrently)


def _unchanged_until(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    compiled: Compiled,
    current: views.State,
    options: RefreshOptions,
) -> datetime | None:
    """Return the moment until which a segment's members are known to stand, if there is one."""
    if not (
        options.concurrently
        and row.status != Status.FAILED  # The counters do not show a missing privilege.
        and row.read_digest
        and row.refreshed_at
        and views.is_current(connection, row.label, compiled, current)
    ):
        return None
    until = unchanged_until(
        connection, row.slug, row.read_digest, row.refreshed_at, options.lag, options.own_pids
    )
    return until and min(until, options.reported_at or until)


def recompute(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    current: views.State,
    stopwatch: Stopwatch,
    concurrently: bool = True,
) -> RefreshResult:
    """Recompute members in a transaction of the caller, who holds the lock and has the views.

    Args:
        current: What `views.ensure` has returned.

    Raises:
        SegmentExecutionError: the caller must roll back.
    """
    with translated(SegmentExecutionError, row.slug):
        # A view that was never populated cannot be refreshed concurrently, and one that Citus
        # recreated has unknown contents: rewrite both.
        concurrently = concurrently and current.whole
        read = digest(connection, row.slug)
        before = counters(connection, row.slug)
        with session.as_owner(connection):
            row.view.refresh(concurrently=concurrently)
        after = counters(connection, row.slug)
        entered, left = reconcile(connection, row.slug, row.pk)
        if concurrently and after.counted:
            added, removed = after.inserted - before.inserted, after.deleted - before.deleted
        else:  # A rewrite inserts all rows, and a server may be configured not to count.
            added, removed = entered, left
        count = count_members(connection, row.slug)
        result = RefreshResult(
            Status.REFRESHED, count, added, removed, slug=row.slug, notes=current.repairs
        )
        for note in result.notes:
            logger.warning("Segment %s: %s", row.slug, note)
        return record(connection, row, stopwatch, result, digest=read)
