"""Runs: refresh many segments, in order, on one connection or several.

One that fails does not stop the others. With several connections each refresh starts as soon as
all that it reads is done; whether it is needed at all is looked up on the caller's connection,
which is quicker than to hand it over.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

from django.db import connections

from segments import conf, schedule
from segments.exceptions import SegmentError, SegmentExecutionError
from segments.models import Segment, Status
from segments.order import Plan, dependents, ordered
from segments.outcome import NEEDED, RefreshResult, announce
from segments.refresh import How, attempt, refresh
from segments.sql import names
from segments.workers import Workers

logger = logging.getLogger(__name__)


def refresh_many(
    segments: Iterable[Segment],
    concurrently: bool = True,
    *,
    force: bool = False,
    jobs: int = 1,
    scheduled: bool = False,
    stop: Event | None = None,
) -> Iterator[RefreshResult]:
    """Refresh segments, each in a transaction of its own, and give each result as it comes.

    Those that others read come first. One that fails gives a result with the status `failed` and
    the error; those that read it are refreshed on its last good members, and their `notes` say so.

    Args:
        concurrently, force: As for `segments.refresh.refresh`.
        jobs: How many connections refresh at the same time. In a transaction of the caller it is
            one, since no other sees what that has not committed.
        scheduled: Whether this is a run by the clock, which leaves out what another one has done
            meanwhile, and where `SEGMENTS_SKIP_LAG` counts.
        stop: Once set, no further refresh is started.
    """
    plan = Plan(segments)
    how = How(
        concurrently, force, lag=conf.skip_lag() if scheduled else How.lag, scheduled=scheduled
    )
    if jobs > 1 and len(plan) > 1 and not connections[conf.exec_connection()].in_atomic_block:
        with Workers(min(jobs, len(plan))) as workers:
            attempts = _side_by_side(plan, how, workers, stop or Event())
            yield from _told(plan, attempts)
    else:
        yield from _told(plan, _one_by_one(plan, how, stop or Event()))


def refresh_due(jobs: int = 1, stop: Event | None = None) -> Iterator[RefreshResult]:
    """Refresh the active segments that are due, and give each result as it comes.

    See `refresh_many`; `schedule.due` says which are due.
    """
    segments = schedule.due(Segment.objects.filter(is_active=True))
    return refresh_many(segments, jobs=jobs, scheduled=True, stop=stop)


def refresh_with_dependents(
    segment: Segment, concurrently: bool = True, *, force: bool = False
) -> RefreshResult:
    """Refresh a segment, and then the active ones that read it, directly or not.

    Raises:
        SegmentError: when the first fails; nothing else is refreshed then. What came of the others
            is in `dependents` of the result.
    """
    result = refresh(segment, concurrently, force=force)
    others = refresh_many(dependents([segment]), concurrently, force=force)
    return replace(result, dependents=tuple(others))


def refresh_for_user(user: Any) -> list[RefreshResult]:
    """Refresh the active segments in which a user's live membership differs from the last refresh.

    Costs one live check a segment. Afterwards `is_member` and `is_member_live` agree for this
    user, as far as nobody else was refreshing the same segment.

    Raises:
        SegmentExecutionError: naming the segments that failed, after all others have been done.
    """
    results, failed = [], list[SegmentError]()
    for segment in ordered(Segment.objects.filter(is_active=True)):
        try:
            if segment.has_member_live(user) != segment.has_member(user):
                results.append(refresh(segment, force=True))
        except SegmentError as error:
            failed.append(error)
    if failed:
        raise SegmentExecutionError(
            "\n".join(map(str, failed)), hint="The other segments have been refreshed."
        ) from failed[0]
    return results


def _told(
    plan: Plan, attempts: Iterable[tuple[Segment, RefreshResult]]
) -> Iterator[RefreshResult]:
    """Send the signals, and note which of the segments that one reads have failed."""
    rows = Segment.objects.using(conf.exec_connection())
    failing = {names.view_name(s.slug): s.slug for s in rows.filter(status=Status.FAILED)}
    for segment, result in attempts:
        own, reads = names.view_name(segment.slug), plan.reads(segment)
        notes = [
            f"it reads {slug}, which failed, and has taken its last good members"
            for name, slug in sorted(failing.items())
            if name in reads and name != own and result.status == Status.REFRESHED
        ]
        for note in notes:
            logger.warning("Segment %s: %s", segment.slug, note)
        failing.pop(own, None)
        if result.error:
            failing[own] = segment.slug
        told = replace(result, notes=(*result.notes, *notes))
        announce(segment, told)
        yield told


def _one_by_one(plan: Plan, how: How, stop: Event) -> Iterator[tuple[Segment, RefreshResult]]:
    """Refresh what is ready on this connection until nothing is."""
    for segment in plan.ready():
        if stop.is_set():
            return
        result = attempt(segment, how)
        plan.done(segment)
        yield segment, result


def _side_by_side(
    plan: Plan, how: How, workers: Workers, stop: Event
) -> Iterator[tuple[Segment, RefreshResult]]:
    """Refresh what is ready on the workers' connections until nothing is."""
    skip_only = replace(how, skip_only=True, peers=workers.peers)
    forced = replace(how, force=True)
    while not stop.is_set():
        for segment in plan.ready():
            result = RefreshResult(NEEDED) if how.force else attempt(segment, skip_only)
            if result.status == NEEDED:
                workers.start(segment, forced)
            else:
                plan.done(segment)
                yield segment, result
        if not workers.busy:
            return
        segment, result = workers.next_result()
        plan.done(segment)
        yield segment, result
    yield from workers.finish()
