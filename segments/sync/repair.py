"""Find where the views of segments differ from their rows, and repair them."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition.compile import compile_segment, definition_of
from segments.definition.select import Compiled, compile_definition
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    translated,
)
from segments.pgviews import shared, views
from segments.pgviews.binding import difference
from segments.refresh import refresh
from segments.rows import (
    STATE,
    Status,
    check_no_migration,
    copy_state,
    locked,
    segment_rows,
    slug_of_view,
    slugs_by_view,
    store,
    store_redefined,
)
from segments.sql import locks, names, session
from segments.sync.detach import StepResult, changes, current_sql
from segments.validation.checks import check_circle

if TYPE_CHECKING:
    from segments.models import Segment

ORPHANED = "no segment has this view"

UNDEFINED_TABLE = "42P01"

RETRYABLE = {UNDEFINED_TABLE, "55000"}
"""undefined_table and object_not_in_prerequisite_state: another step may create the object."""

RENAMED = {UNDEFINED_TABLE, "42703"}
"""undefined_table and undefined_column: the object may have another name now."""


def check() -> list[StepResult]:
    """Return all differences between rows and views, including orphans. Changes nothing."""
    connection = connections[conf.exec_connection()]
    with translated(SegmentExecutionError):
        what, states = shared.drift(connection), views.states(connection)
        absent = shared.missing_roles(connection)
        taken = [*_taken_names(connection)]
    what += [f"role {name} of SEGMENTS_READER_ROLES does not exist" for name in absent]
    results = [StepResult("", what), *taken]
    for segment in segment_rows(connection.alias):
        name = names.view_name(segment.slug)
        results.append(_drift(segment, states.get(name, views.State(name))))
    results += [StepResult(name, [ORPHANED]) for name in orphans(connection)]
    return [result for result in results if result]


def sync(prune: bool = False) -> Iterator[StepResult]:
    """Repair all differences, each segment in its own transaction, and yield what was repaired.

    Creates and populates missing views, replaces definitions, and restores indexes, comments and
    GRANTs. The result of a failed repair has its error; the others go on.

    Args:
        prune: Also drop the orphans, unless anything else reads them.
    """
    alias = conf.exec_connection()
    with session.transaction(alias, "", task="sync") as connection:
        locks.end_schema_change(connection)
        what = shared.drift(connection)
        shared.ensure_shared(connection)
    if what:
        yield StepResult("", what)
    yield from _taken_names(connection)
    pending = list(segment_rows(alias))
    states = views.states(connection)
    while pending:
        # A definition may read a segment that is not created yet, so retry failures of that kind
        # as long as other segments succeed.
        failed = []
        for segment in pending:
            name = names.view_name(segment.slug)
            result = _repair(segment, states.get(name, views.State(name)))
            if result.error and result.error.sqlstate in RETRYABLE:
                failed.append((segment, result))
            elif result:
                yield result
        if len(failed) == len(pending):
            yield from (result for _, result in failed)
            break
        pending = [segment for segment, _ in failed]
    if prune:
        yield from drop_orphans(connection)


def _taken_names(connection: BaseDatabaseWrapper) -> Iterator[StepResult]:
    """Yield the segments that have the name of a shared view, since they are older than it."""
    for name in shared.taken_names(connection):
        error = SegmentExecutionError(
            f"the view {conf.schema()}.{name} over all segments needs this name",
            slug=name,
            hint="Rename the segment with segment.rename(), then run manage.py sync_segments",
        )
        yield StepResult(name, [], error)


def orphans(connection: BaseDatabaseWrapper, has_rows: bool = True) -> list[str]:
    """Return the names of the orphans: views of this package that belong to no segment.

    Args:
        has_rows: Whether the table of segments exists.
    """
    slugs = slugs_by_view(connection.alias) if has_rows else {}
    states = views.states(connection)
    return [name for name, state in states.items() if state.ours and name not in slugs]


def drop_orphans(connection: BaseDatabaseWrapper, has_rows: bool = True) -> Iterator[StepResult]:
    """Drop the orphans in reverse order of dependency.

    Args:
        has_rows: As for `orphans`.
    """
    pending = orphans(connection, has_rows)
    while pending:
        refused = []
        for name in pending:
            try:
                with session.transaction(connection.alias, name) as opened:
                    # Nobody can create a segment of that name while its views are locked.
                    views.drop(opened, name)
                    if has_rows and slug_of_view(opened.alias, name):
                        raise SegmentExecutionError("it belongs to a segment again", slug=name)
                yield StepResult(name, [ORPHANED])
            except SegmentError as error:
                refused.append(StepResult(name, [ORPHANED], error))
        if len(refused) == len(pending):
            yield from refused
            return
        pending = [result.slug for result in refused]


def _drift(segment: "Segment", current: views.State) -> StepResult:
    """Compare the views of a segment with its row. Compiles the definition, changes nothing."""
    what: list[str] = []
    try:
        with session.transaction(
            conf.exec_connection(), segment.slug, rollback=True
        ) as connection:
            what += _visible(connection, segment, current)
            if current.live:
                what += _defined(connection, compile_segment(connection, segment), current)
    except SegmentError as error:
        return StepResult(segment.slug, [*what, *_explain(segment, current, error)], error)
    return StepResult(segment.slug, what)


def _visible(
    connection: BaseDatabaseWrapper, segment: "Segment", current: views.State
) -> Iterator[str]:
    """Yield the differences that show without compiling the definition."""
    if not current.live:
        yield "the live view is missing"
    if current.detached:
        yield "the live view is detached from its tables"
    if current.members_oid is None:
        yield "the materialized view is missing"
        return
    if not current.populated:
        yield "the materialized view is not populated"
    if not current.indexed:
        yield "the unique index is missing"
    if not current.commented:
        yield "the comment is missing"
    for role, _ in shared.ungranted(connection, names.members_view(segment.slug)):
        yield f"role {role} may not read it"


def _defined(
    connection: BaseDatabaseWrapper, compiled: Compiled, current: views.State
) -> Iterator[str]:
    """Yield the differences in the definition of a live view."""
    key_type = names.key_type(connection)
    if current.key_type != key_type:
        yield f"the views have ids of type {current.key_type}, but ids of users are {key_type}"
    elif current.detached:
        return
    elif current.stable_fingerprint != compiled.stable_fingerprint:
        yield "the live view has another definition"
    else:
        changed = difference(connection, compiled.definition.slug, compiled)
        if changed and changed.words:
            yield changed.words


def _repair(segment: "Segment", current: views.State) -> StepResult:
    """Make the views of one segment match its row, and populate them if they are new."""
    if current.detached:
        result = StepResult(segment.slug, ["detached"])
    else:
        result = _drift(segment, current)
    if not result:
        return result  # Do not wait for its lock, which a running refresh may hold for long.
    what: list[str] = []
    try:
        with locked(conf.exec_connection(), segment.pk, segment.slug) as (connection, row):
            check_no_migration(connection, segment.slug)
            if row is None or row.slug != segment.slug:  # It was deleted or renamed meanwhile.
                return StepResult(segment.slug)
            if not current.detached:  # A detached view can be replaced in any case.
                current = views.state(connection, row.slug)
            what += _visible(connection, row, current)
            definition = definition_of(connection, row)
            with session.pinned(connection):
                compiled = compile_definition(connection, definition)
                redefined = [*_defined(connection, compiled, current)] if current.live else []
                what += redefined
                ensured = views.ensure(connection, row.label, compiled, current)
            if ensured.rebound:
                check_circle(connection, row.slug, ensured.name)
            if ensured.members_oid is None:
                # The index keeps the members, and so the feed goes on from them.
                since = row.tracked_since or (row.refreshed_at if row.track_changes else None)
                copy_state(None, row)
                store(row, tracked_since=since, **{name: getattr(row, name) for name in STATE})
            elif current.detached and row.status == Status.FAILED and row.refreshed_at:
                store(row, status=Status.REFRESHED, last_error="")
            elif redefined:
                store_redefined(row, ensured.populated)
        if not ensured.whole:
            # The members may be empty, if Citus or another tool has recreated them.
            refresh(segment, concurrently=False)
    except SegmentError as error:
        if current.detached and isinstance(error, SegmentDefinitionError):
            with suppress(SegmentError):  # The result reports the first error in any case.
                store(segment, status=Status.FAILED, last_error=str(error))
        what += _explain(segment, current, error)
        return StepResult(segment.slug, what or result.what, error)
    return StepResult(segment.slug, what)


def _explain(segment: "Segment", current: views.State, error: SegmentError) -> list[str]:
    """Return what became of the tables of a definition, if that is why it does not compile."""
    if error.sqlstate not in RENAMED or not current.live:
        return []
    try:
        with session.transaction(
            conf.exec_connection(), segment.slug, rollback=True
        ) as connection:
            if current.detached:
                return changes(connection, current)
            return [f"its view now reads:\n{current_sql(connection, segment.slug)}"]
    except SegmentError:
        return []  # The view no longer exists, and the caller reports the first error.
