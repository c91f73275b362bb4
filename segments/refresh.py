"""Refresh: recompute members in one transaction, or keep the last good ones.

In this order: the segment's lock, the timeouts, compile, replace the live view if its SQL changed,
REFRESH MATERIALIZED VIEW CONCURRENTLY, reconcile the membership index, write history and state.
Readers see the members of before until the commit, and never wait.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from typing import Any

import django.db
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.locking import try_locked_row
from segments.models import Segment, SegmentRefresh, Status
from segments.source import compile_segment
from segments.sql import members, names, session, views

logger = logging.getLogger(__name__)

LOCKED = "locked"
"""The status of a refresh that left a segment to another session; nothing is stored of it."""

DETACHED = "detached"
"""The status of a refresh that stood aside for a schema change; nothing is stored of it."""

STATE = ("members_count", "refreshed_at", "status", "last_error", "failures")
"""The fields that refreshes store on a row."""


@dataclass(frozen=True)
class RefreshResult:
    """What a refresh did.

    Attributes:
        status: `refreshed`; `locked` if another session was refreshing or changing the segment,
            or `detached` during a schema change, and nothing was done; `failed` (only from
            `refresh_many`) with the `error`.
        members_count: The members now; None if the segment has never been populated.
        added, removed: How many rows of the view are new, and how many are gone.
        duration: From the start to just before the commit.
        slug: The segment.
        error: Why it failed.
    """

    status: str
    members_count: int | None = None
    added: int = 0
    removed: int = 0
    duration: timedelta = timedelta()
    slug: str = ""
    error: SegmentError | None = None


@dataclass(frozen=True)
class Clock:
    """When a refresh started, for people and for measuring."""

    started_at: datetime = field(default_factory=timezone.now)
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> timedelta:
        """The time since then."""
        return timedelta(seconds=time.monotonic() - self._start)


def refresh(segment: Segment, concurrently: bool = True) -> RefreshResult:
    """Recompute the members of a segment, as it stands in the database, in one transaction.

    Holds the segment's lock, Exclusive on its members (readers go on) and AccessShare on the
    tables that its definition reads, each to the end. Costs the evaluation of the definition, and
    a pass over the members. On failure the last good members stay, and status and error are stored
    in a second transaction. Inside a transaction of the caller, both are savepoints of it.

    Args:
        segment: Gets its state (members_count, refreshed_at, status, ...) set.
        concurrently: False rewrites all rows, which is faster where most of them change, and makes
            readers wait.

    Raises:
        SegmentDefinitionError: when the definition does not compile any more.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment is gone.
    """
    alias, slug, clock = conf.exec_connection(), segment.slug, Clock()
    if segment.pk is None:
        raise SegmentExecutionError("it is not saved yet", slug=slug)
    try:
        with (
            translated(SegmentExecutionError, slug),
            session.limited(alias, slug) as connection,
        ):
            try:
                row = try_locked_row(connection, segment.pk)
            except Segment.DoesNotExist as error:
                raise SegmentExecutionError("it has been deleted", slug=slug) from error
            if row is None:
                return RefreshResult(LOCKED, segment.members_count, slug=slug)
            found = views.state(connection, row.slug)
            if found.held or session.is_schema_changing(connection):
                return RefreshResult(DETACHED, segment.members_count, slug=slug)
            compiled = compile_segment(connection, row)
            found = views.ensure(connection, row.label, compiled, found)
            result = populate(connection, row, found, clock, concurrently)
    except SegmentError as error:
        record_failure(alias, segment, clock, error)
        raise
    finally:
        _reload_state(alias, segment)
    return result


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
        # A view that was never populated, or lost its index, cannot be refreshed concurrently.
        concurrently = concurrently and found.populated and found.indexed
        before = members.counters(connection, row.slug)
        row.view.refresh(concurrently=concurrently)
        after = members.counters(connection, row.slug)
        entered, left = members.reconcile(connection, row.slug, row.pk)
        if concurrently and after.counted:
            added, removed = after.inserted - before.inserted, after.deleted - before.deleted
        else:  # A rewrite inserts all rows, and a server may be told not to count.
            added, removed = entered, left
        count = members.count(connection, row.slug)
        duration = clock.elapsed
        Segment.objects.using(connection.alias).filter(pk=row.pk).update(
            members_count=count,
            refreshed_at=clock.started_at,
            status=Status.REFRESHED,
            last_error="",
            failures=0,
        )
        SegmentRefresh.objects.using(connection.alias).create(
            segment_id=row.pk,
            started_at=clock.started_at,
            duration=duration,
            status=Status.REFRESHED,
            members_count=count,
            added=added,
            removed=removed,
        )
    return RefreshResult(Status.REFRESHED, count, added, removed, duration, row.slug)


def refresh_many(
    segments: Iterable[Segment], concurrently: bool = True
) -> Iterator[RefreshResult]:
    """Refresh segments, each in a transaction of its own, and give each result as it comes.

    Those that others read come first. One that fails does not stop the others: its result has the
    status `failed` and the error.
    """
    for segment in ordered(segments):
        clock = Clock()
        try:
            yield refresh(segment, concurrently)
        except SegmentError as error:
            yield RefreshResult(
                Status.FAILED,
                segment.members_count,
                duration=clock.elapsed,
                slug=segment.slug,
                error=error,
            )


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
                results.append(refresh(segment))
        except SegmentError as error:
            failed.append(error)
    if failed:
        raise SegmentExecutionError(
            "\n".join(map(str, failed)), hint="The other segments have been refreshed."
        ) from failed[0]
    return results


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments with those that others read before those that read them.

    The views in the database say who reads whom. Where somebody made a cycle by hand, no order is
    right, and that of the slugs is taken.
    """
    by_view = {names.view_name(s.slug): s for s in sorted(segments, key=lambda s: s.slug)}
    with translated(SegmentExecutionError):
        graph = views.reads(connections[conf.exec_connection()])
    sorter = TopologicalSorter({name: sorted(graph.get(name, ())) for name in by_view})
    for name in set(graph) - set(by_view):  # An order may hold through a segment that is left out.
        sorter.add(name, *sorted(graph[name]))
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        logger.warning("Segments read each other in a circle: %s", " -> ".join(error.args[1]))
        order = list(by_view)
    return [by_view[name] for name in order if name in by_view]


def due(segments: Iterable[Segment], now: datetime | None = None) -> list[Segment]:
    """Return the segments whose interval has passed since their last refresh.

    That is `refresh_every`, or else `SEGMENTS_REFRESH_EVERY`; without either none is ever due.
    """
    moment, default = now or timezone.now(), conf.refresh_every()
    result = []
    for segment in segments:
        every = segment.refresh_every if segment.refresh_every is not None else default
        if every is not None and (
            segment.refreshed_at is None or segment.refreshed_at + every <= moment
        ):
            result.append(segment)
    return result


def record_failure(alias: str, segment: Segment, clock: Clock, error: SegmentError) -> None:
    """Store a failure on the segment and in its history, apart from what was rolled back.

    Not where another session has the segment, or has refreshed it since: its outcome counts.
    """
    try:
        with session.limited(alias, segment.slug) as connection:
            row = try_locked_row(connection, segment.pk)
            if row is None or (row.refreshed_at and row.refreshed_at > clock.started_at):
                return
            Segment.objects.using(alias).filter(pk=row.pk).update(
                status=Status.FAILED, last_error=str(error), failures=row.failures + 1
            )
            SegmentRefresh.objects.using(alias).create(
                segment_id=row.pk,
                started_at=clock.started_at,
                duration=clock.elapsed,
                status=Status.FAILED,
                error=str(error),
            )
    except Segment.DoesNotExist:
        return
    except (django.db.Error, SegmentError) as trouble:
        # The database is gone, or may only be read; what matters is why the refresh failed.
        logger.warning("The failure of segment %s was not stored: %s", segment.slug, trouble)


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
