"""Refresh many segments in order, on one or several connections. A failure stops no other."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

from django.db import connections

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError
from segments.refresh import RefreshOptions, refresh, try_refresh
from segments.refreshing import schedule
from segments.refreshing.history import RefreshResult, announce
from segments.refreshing.order import Plan, dependents, ordered
from segments.refreshing.pool import RefreshPool
from segments.refreshing.unchanged import report_writes
from segments.rows import FAILURES, Status, segment_rows
from segments.sql import names

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)

FAILURE_WORDS = {
    Status.FAILED: "which failed",
    Status.REFUSED: "whose refresh was refused",
}
"""What a note says of a segment that has kept its former members."""


def refresh_many(
    segments: Iterable["Segment"],
    concurrently: bool = True,
    *,
    force: bool = False,
    accept_loss: bool = False,
    jobs: int = 1,
    scheduled: bool = False,
    stop: Event | None = None,
) -> Iterator[RefreshResult]:
    """Refresh segments, each in its own transaction, and yield each result when it is ready.

    A segment comes after the segments that it reads. A failure yields a result with the status
    `failed` or `refused` and the error. Segments that read the failed one are computed from its
    last good members, and their `notes` say so.

    Args:
        concurrently, force, accept_loss: As for `segments.refresh.refresh`.
        jobs: How many connections refresh at the same time. In a transaction of the caller, it is
            always one, since no other connection sees uncommitted changes.
        scheduled: Whether this is a scheduled run. It skips segments that another run has
            refreshed meanwhile, and `SEGMENTS_SKIP_LAG` applies to it.
        stop: Once set, no further refresh starts.
    """
    plan = Plan(segments)
    lag = conf.skip_lag() if scheduled else RefreshOptions.lag
    options = RefreshOptions(
        concurrently, force, lag=lag, scheduled=scheduled, accept_loss=accept_loss
    )
    if jobs > 1 and len(plan) > 1 and not connections[conf.exec_connection()].in_atomic_block:
        with RefreshPool(min(jobs, len(plan))) as pool:
            results = _side_by_side(plan, options, pool, stop or Event())
            yield from _announced(plan, results)
    else:
        yield from _announced(plan, _one_by_one(plan, options, stop or Event()))


def refresh_due(jobs: int = 1, stop: Event | None = None) -> Iterator[RefreshResult]:
    """Refresh the active segments that are due, and yield each result when it is ready.

    See `refresh_many`, and `schedule.due` for which segments are due.
    """
    segments = schedule.due(segment_rows().filter(is_active=True))
    return refresh_many(segments, jobs=jobs, scheduled=True, stop=stop)


def refresh_with_dependents(
    segment: "Segment",
    concurrently: bool = True,
    *,
    force: bool = False,
    accept_loss: bool = False,
) -> RefreshResult:
    """Refresh a segment, and then the active segments that read it, directly or indirectly.

    Their results are in `dependents` of the result.

    Raises:
        SegmentError: when the segment itself fails. No other is refreshed then.
    """
    result = refresh(segment, concurrently, force=force, accept_loss=accept_loss)
    others = refresh_many(
        dependents([segment]), concurrently, force=force, accept_loss=accept_loss
    )
    return replace(result, dependents=tuple(others))


def refresh_for_user(user: Any) -> list[RefreshResult]:
    """Refresh the active segments in which a user's live membership differs from the last refresh.

    Costs one live check for each segment. Afterwards `is_member` and `is_member_live` agree for
    this user, unless another session was refreshing the same segment.

    Raises:
        SegmentExecutionError: naming the segments that failed, when all others are done.
    """
    results, errors = [], list[SegmentError]()
    for segment in ordered(segment_rows().filter(is_active=True)):
        try:
            if segment.has_member_live(user) != segment.has_member(user):
                results.append(refresh(segment, force=True))
        except SegmentError as error:
            errors.append(error)
    if errors:
        raise SegmentExecutionError(
            "\n".join(map(str, errors)), hint="The other segments have been refreshed."
        ) from errors[0]
    return results


def _announced(
    plan: Plan, results: Iterable[tuple["Segment", RefreshResult]]
) -> Iterator[RefreshResult]:
    """Add notes about failed segments that a segment reads, and send the signals."""
    failed_rows = segment_rows(conf.exec_connection()).filter(status__in=FAILURES)
    failing = {names.view_name(s.slug): (s.slug, s.status) for s in failed_rows}
    for segment, result in results:
        own, reads = names.view_name(segment.slug), plan.reads(segment)
        notes = [
            f"it reads {slug}, {FAILURE_WORDS[Status(status)]}, so its last good members were used"
            for name, (slug, status) in sorted(failing.items())
            if name in reads and name != own and result.status == Status.REFRESHED
        ]
        for note in notes:
            logger.warning("Segment %s: %s", segment.slug, note)
        failing.pop(own, None)
        if result.error:
            failing[own] = segment.slug, result.status
        result_with_notes = replace(result, notes=(*result.notes, *notes))
        announce(segment, result_with_notes)
        yield result_with_notes


def _one_by_one(
    plan: Plan, options: RefreshOptions, stop: Event
) -> Iterator[tuple["Segment", RefreshResult]]:
    """Refresh the segments on this connection as they become ready."""
    for segment in plan.ready():
        if stop.is_set():
            return
        result = try_refresh(segment, options)
        plan.done(segment)
        yield segment, result


def _side_by_side(
    plan: Plan, options: RefreshOptions, pool: RefreshPool, stop: Event
) -> Iterator[tuple["Segment", RefreshResult]]:
    """Refresh the segments on the pool's connections as they become ready.

    The caller's session may have writes that it has not reported to the statistics. It reports
    them before refreshes start, and after the caller has used a result. A segment that begins
    while the caller uses its session is recomputed.
    """
    connection = connections[conf.exec_connection()]
    while not stop.is_set():
        caller = report_writes(connection)
        for segment in plan.ready():
            pool.start(segment, replace(options, own_pids=pool.own_pids, caller=caller))
        if not pool.busy:
            return
        segment, result = pool.next_result()
        plan.done(segment)
        yield segment, result
    yield from pool.finish()
