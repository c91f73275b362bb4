"""Refresh: recompute members in one transaction, or keep the last good ones.

A refresh sets the timeouts and takes the segment's lock. If the definition is still the same, and
nothing was written or renamed since the last refresh, that is all. Otherwise it compiles the
definition, replaces the live view if its SQL has changed or names other objects by now, runs
REFRESH MATERIALIZED VIEW CONCURRENTLY, and reconciles the membership index. In the end it stores
history and state. Readers see the former members until the commit, and never wait.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition.compile import definition_of
from segments.definition.kinds import kind_of
from segments.definition.select import Definition, compile_definition
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import views
from segments.refreshing.guard import NO_GUARD, Guard, guard_of
from segments.refreshing.history import (
    DETACHED,
    LOCKED,
    RefreshResult,
    Stopwatch,
    announce,
    failure_status,
    record,
    record_failure,
)
from segments.refreshing.reconcile import count_members, counters, reconcile, writes_changes
from segments.refreshing.unchanged import digest, unchanged_until
from segments.rows import FAILURES, Status, copy_state, reload_state, try_locked_row
from segments.sql import session
from segments.validation.checks import check_circle

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefreshOptions:
    """Options of a refresh.

    Attributes:
        concurrently: Whether readers can go on. If not, all rows are rewritten, and readers wait.
        force: Whether to recompute the members even if nothing was written.
        lag: How old the proof that nothing was written may be; see `unchanged.unchanged_until`.
        own_pids: The process ids of sessions that the proof can ignore, as long as they are held.
        caller: The process id of the session that asks for refreshes in others, which has
            reported its writes. The proof can ignore it as long as it runs nothing else.
        scheduled: Whether to skip the segment if another session has refreshed it meanwhile.
        accept_loss: Whether the refresh may remove more members than `max_loss` allows.
        expected_loss: How many members are removed in any case, and so do not count as a loss.
    """

    concurrently: bool = True
    force: bool = False
    lag: timedelta = timedelta()
    own_pids: Collection[int] = ()
    caller: int | None = None
    scheduled: bool = False
    accept_loss: bool = False
    expected_loss: int = 0


def refresh(
    segment: "Segment",
    concurrently: bool = True,
    *,
    force: bool = False,
    accept_loss: bool = False,
    expected_loss: int = 0,
) -> RefreshResult:
    """Recompute the members of a segment, as defined in the database, in one transaction.

    Takes the segment's lock, Exclusive on its members (readers go on) and AccessShare on the
    tables that its definition reads, and holds them until the end. Costs one evaluation of the
    definition and one pass over the members, or a few milliseconds if the counters of Postgres
    prove that nothing was written. On failure, the last good members stay, and status and error
    are stored in a second transaction. In a transaction of the caller, both are savepoints.

    Args:
        segment: The segment, whose state (members_count, refreshed_at, status, ...) is set.
        concurrently: False rewrites all rows, which is faster if most of them change, but makes
            readers wait.
        force: Recompute the members even if nothing was written.
        accept_loss: Remove as many members as it takes, whatever `max_loss` says.
        expected_loss: How many members are removed in any case, and so do not count as a loss.

    Raises:
        SegmentDefinitionError: when the definition no longer compiles.
        SegmentLossError: when it would remove more members than `max_loss` allows.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
    """
    options = RefreshOptions(
        concurrently, force, accept_loss=accept_loss, expected_loss=expected_loss
    )
    result = try_refresh(segment, options)
    announce(segment, result)
    if result.error:
        raise result.error
    return result


def try_refresh(segment: "Segment", options: RefreshOptions) -> RefreshResult:
    """Refresh a segment, store the result, and return it, failed or not; see `refresh`.

    Does not send the signal; `announce` does.
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
        duration, status = stopwatch.elapsed, failure_status(error)
        return RefreshResult(
            status, segment.members_count, duration=duration, slug=slug, error=error
        )
    if row:  # It is committed only now.
        copy_state(row, segment)
    return result


def _locked_row(
    connection: BaseDatabaseWrapper, segment: "Segment", options: RefreshOptions
) -> tuple["Segment | None", bool]:
    """Lock a segment like `try_locked_row`. Return no row if another run has refreshed it."""
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
        return RefreshResult(DETACHED, row.members_count, slug=row.slug, detached_manually=True)
    definition = definition_of(connection, row)
    until = None
    if not options.force:
        until = _unchanged_until(connection, row, definition, current, options)
    if until:
        result = RefreshResult(Status.UNCHANGED, row.members_count, slug=row.slug)
        return record(connection, row, stopwatch, result, until=until)
    compiled = compile_definition(connection, definition, current.fingerprint)
    row.ids_from = compiled.ids_from
    current = views.ensure(connection, row.label, compiled, current)
    if current.rebound:
        check_circle(connection, row.slug, current.name)
    guard = guard_of(row, options.accept_loss, options.expected_loss)
    return recompute(connection, row, current, stopwatch, options.concurrently, guard)


def _unchanged_until(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    definition: Definition,
    current: views.State,
    options: RefreshOptions,
) -> datetime | None:
    """Return the moment until which a segment's members are known to be right, or None."""
    if not (
        options.concurrently
        # The counters do not show a missing privilege, nor another definition.
        and row.status not in (*FAILURES, Status.OUTDATED)
        and row.read_digest
        and row.refreshed_at
        and views.is_current(connection, row.label, definition, current)
    ):
        return None
    return unchanged_until(
        connection,
        row.slug,
        row.read_digest,
        row.refreshed_at,
        options.lag,
        options.own_pids,
        options.caller,
    )


def recompute(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    current: views.State,
    stopwatch: Stopwatch,
    concurrently: bool = True,
    guard: Guard = NO_GUARD,
) -> RefreshResult:
    """Recompute members in the caller's transaction, which holds the lock and has the views.

    Args:
        current: The state that `views.ensure` returned.
        guard: How many members may be removed.

    Raises:
        SegmentExecutionError: when Postgres cannot evaluate the definition, or the guard refuses
            its result. The caller must roll back.
    """
    with translated(SegmentExecutionError, row.slug, field=kind_of(row).error_field):
        # A view that was never populated cannot be refreshed concurrently, and one that Citus
        # recreated has unknown contents: rewrite both.
        concurrently = concurrently and current.whole
        read_digest = digest(connection, row.slug)
        before = counters(connection, row.slug)
        counts = concurrently and before.counted
        scan = guard.is_on and not counts and current.populated
        held = count_members(connection, row.slug) if scan else 0
        with session.pinned(connection, evaluate=True), session.as_owner(connection):
            row.view.refresh(concurrently=concurrently)
        after = counters(connection, row.slug)
        feed_from = stopwatch.started_at if writes_changes(row) else None
        first = not current.populated
        changed = reconcile(connection, row.slug, row.pk, first=first, feed_from=feed_from)
        if counts:
            added, removed = after.inserted - before.inserted, after.deleted - before.deleted
        else:  # A rewrite inserts all rows, and some servers do not count.
            added, removed = changed.entered, changed.left
        count = count_members(connection, row.slug)
        # What left the index counts as well: somebody may have refreshed the view by hand.
        lost = max(removed, changed.left, held + added - count)
        guard.check(row.slug, max(held, count - added + lost), lost)
        result = RefreshResult(
            Status.REFRESHED, count, added, removed, slug=row.slug, notes=current.repairs
        )
        for note in result.notes:
            logger.warning("Segment %s: %s", row.slug, note)
        return record(connection, row, stopwatch, result, digest=read_digest, changed=changed)
