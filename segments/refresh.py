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
from segments.refreshing.history import (
    DETACHED,
    LOCKED,
    RefreshResult,
    Stopwatch,
    announce,
    record,
    record_failure,
)
from segments.refreshing.reconcile import count_members, counters, reconcile, writes_changes
from segments.refreshing.unchanged import digest, unchanged_until
from segments.rows import Status, copy_state, reload_state, try_locked_row
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
    """

    concurrently: bool = True
    force: bool = False
    lag: timedelta = timedelta()
    own_pids: Collection[int] = ()
    caller: int | None = None
    scheduled: bool = False


def refresh(
    segment: "Segment", concurrently: bool = True, *, force: bool = False
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

    Raises:
        SegmentDefinitionError: when the definition no longer compiles.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
    """
    result = try_refresh(segment, RefreshOptions(concurrently, force))
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
        duration = stopwatch.elapsed
        return RefreshResult(
            Status.FAILED, segment.members_count, duration=duration, slug=slug, error=error
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
    return recompute(connection, row, current, stopwatch, options.concurrently)


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
        and row.status not in (Status.FAILED, Status.OUTDATED)
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
) -> RefreshResult:
    """Recompute members in the caller's transaction, which holds the lock and has the views.

    Args:
        current: The state that `views.ensure` returned.

    Raises:
        SegmentExecutionError: when Postgres cannot evaluate the definition. The caller must roll
            back.
    """
    with translated(SegmentExecutionError, row.slug, field=kind_of(row).error_field):
        # A view that was never populated cannot be refreshed concurrently, and one that Citus
        # recreated has unknown contents: rewrite both.
        concurrently = concurrently and current.whole
        read_digest = digest(connection, row.slug)
        before = counters(connection, row.slug)
        with session.pinned(connection, evaluate=True), session.as_owner(connection):
            row.view.refresh(concurrently=concurrently)
        after = counters(connection, row.slug)
        feed_from = stopwatch.started_at if writes_changes(row) else None
        changed = reconcile(connection, row.slug, row.pk, feed_from=feed_from)
        if concurrently and after.counted:
            added, removed = after.inserted - before.inserted, after.deleted - before.deleted
        else:  # A rewrite inserts all rows, and some servers do not count.
            added, removed = changed.entered, changed.left
        count = count_members(connection, row.slug)
        result = RefreshResult(
            Status.REFRESHED, count, added, removed, slug=row.slug, notes=current.repairs
        )
        for note in result.notes:
            logger.warning("Segment %s: %s", row.slug, note)
        return record(connection, row, stopwatch, result, digest=read_digest, changed=changed)
