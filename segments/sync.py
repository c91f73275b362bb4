"""Sync: find where views and rows differ, and make the views match the rows."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    translated,
)
from segments.locking import check_no_migration, locked
from segments.models import Segment, Status
from segments.outcome import STATE
from segments.refresh import refresh
from segments.source import compile_segment
from segments.sql import base, detaching, names, readers, session, views
from segments.sql.definition import Compiled
from segments.validation import taken_by

ORPHANED = "no segment has this view"

UNDEFINED_TABLE = "42P01"

AWAITED = {UNDEFINED_TABLE, "55000"}
"""undefined_table and object_not_in_prerequisite_state: what a definition reads is yet to come."""

STALE = {UNDEFINED_TABLE, "42703"}
"""undefined_table and undefined_column: the text of a definition names what has another name."""


@dataclass(frozen=True)
class Drift:
    """Where the views of a segment differ from its row.

    Attributes:
        slug: The segment; the view name for an orphan.
        what: What differs, in words; empty if nothing does.
        error: Why it cannot be known, or could not be mended.
    """

    slug: str
    what: list[str] = field(default_factory=list)
    error: SegmentError | None = None

    def __bool__(self) -> bool:
        return bool(self.what) or self.error is not None


def drift(segment: Segment, found: views.State) -> Drift:
    """Compare the views of a segment with its row. Compiles it, and changes nothing."""
    what: list[str] = []
    try:
        with (
            translated(SegmentExecutionError, segment.slug),
            session.limited(conf.exec_connection(), segment.slug, undo=True) as connection,
        ):
            what += _visible(connection, segment, found)
            if found.live:
                what += _defined(connection, compile_segment(connection, segment), found)
    except SegmentError as error:
        return Drift(segment.slug, [*what, *_explained(segment, found, error)], error)
    return Drift(segment.slug, what)


def _visible(
    connection: BaseDatabaseWrapper, segment: Segment, found: views.State
) -> Iterator[str]:
    """Say what differs as far as that is seen without compiling the segment."""
    if not found.live:
        yield "the live view is missing"
    if found.detached:
        yield "the live view is detached from its tables"
    if found.members is None:
        yield "the materialized view is missing"
        return
    if not found.populated:
        yield "the materialized view is not populated"
    if not found.indexed:
        yield "the unique index is missing"
    if not found.commented:
        yield "the comment is missing"
    for role, _ in readers.ungranted(connection, names.members_view(segment.slug)):
        yield f"role {role} may not read it"


def _defined(
    connection: BaseDatabaseWrapper, compiled: Compiled, found: views.State
) -> Iterator[str]:
    """Say what differs in the definition of a live view."""
    key_type = names.key_type(connection)
    if found.key_type != key_type:
        yield f"the views give ids as {found.key_type}, and those of users are {key_type}"
    elif not found.detached and found.shape != compiled.shape:
        yield "the live view has another definition"


def detach(slugs: Iterable[str] | None = None, by_hand: bool = True) -> Iterator[Drift]:
    """Detach live views from their tables, each in a transaction of its own.

    Waits for a running refresh of each for up to `SEGMENTS_LOCK_TIMEOUT`; one that cannot be
    detached by then stays attached and carries its error.

    Args:
        slugs: Which segments; None: all, and the views that no segment has any more.
        by_hand: Whether they stay detached until a sync or a migration, and no refresh attaches
            them.
    """
    alias = conf.exec_connection()
    with translated(SegmentExecutionError), session.limited(alias, "detach") as connection:
        found, reads = views.states(connection), detaching.dependencies(connection)
        if not found:
            return
        base.ensure_base(connection)
    keys = dict(Segment.objects.using(alias).values_list("slug", "pk"))
    views_of = {names.view_name(slug): slug for slug in keys}
    for name in found:
        slug = views_of.get(name, name)
        if slugs is not None and slug not in slugs:
            continue
        try:
            with translated(SegmentExecutionError, slug), session.limited(alias, slug) as opened:
                if slug in keys:
                    session.lock(opened, keys[slug])
                state = views.state(opened, slug)
                detached = detaching.detach(opened, slug, state, reads.get(name, []), by_hand)
        except SegmentError as error:
            yield Drift(slug, ["not detached"], error)
            continue
        if detached:
            yield Drift(slug, ["detached"])


def check() -> list[Drift]:
    """Return all that differs between rows and views, orphans included. Changes nothing."""
    connection = connections[conf.exec_connection()]
    with translated(SegmentExecutionError):
        what, found = base.drift(connection), views.states(connection)
        absent = readers.missing_roles(connection)
    what += [f"role {name} of SEGMENTS_READER_ROLES does not exist" for name in absent]
    result = [Drift("", what)]
    for segment in Segment.objects.using(connection.alias):
        name = names.view_name(segment.slug)
        result.append(drift(segment, found.get(name, views.State(name))))
    result += [Drift(name, [ORPHANED]) for name in _orphans(connection)]
    return [entry for entry in result if entry]


def sync(prune: bool = False) -> Iterator[Drift]:
    """Mend what differs, each segment in a transaction of its own, and give what was mended.

    Creates missing views and populates them, replaces definitions, puts back indexes, comments and
    GRANTs, and takes GRANTs from roles that are no more in `SEGMENTS_READER_ROLES`. What could not
    be mended carries its error, and does not stop the rest.

    Args:
        prune: Drop the views that no segment has, unless anything else reads them.
    """
    alias = conf.exec_connection()
    with translated(SegmentExecutionError), session.limited(alias, "sync") as connection:
        session.end_schema_change(connection)
        what = base.drift(connection)
        refused = readers.revoke_former(connection)
        base.ensure_base(connection)
    if what or refused:
        yield Drift("", what, next(iter(refused), None))
    waiting = list(Segment.objects.using(alias))
    found = views.states(connection)
    while waiting:
        # What a definition reads may be a segment that is yet to be created, so those that miss
        # something get another chance for as long as others succeed.
        failed = []
        for segment in waiting:
            name = names.view_name(segment.slug)
            entry = _mend(segment, found.get(name, views.State(name)))
            if entry.error and entry.error.sqlstate in AWAITED:
                failed.append((segment, entry))
            elif entry:
                yield entry
        if len(failed) == len(waiting):
            yield from (entry for _, entry in failed)
            break
        waiting = [segment for segment, _ in failed]
    if prune:
        yield from drop_orphans(connection)


def drop_orphans(connection: BaseDatabaseWrapper, has_rows: bool = True) -> Iterator[Drift]:
    """Drop the views that no segment has, those that read others first.

    Args:
        has_rows: Whether there is a table of segments.
    """
    waiting = _orphans(connection, has_rows)
    while waiting:
        refused = []
        for name in waiting:
            try:
                with (
                    translated(SegmentExecutionError, name),
                    session.limited(connection.alias, name) as opened,
                ):
                    # With the views locked, a segment of that name is there, or cannot come to be.
                    views.drop(opened, name)
                    if has_rows and taken_by(opened, name):
                        raise SegmentExecutionError("a segment has it meanwhile", slug=name)
                yield Drift(name, [ORPHANED])
            except SegmentError as error:
                refused.append(Drift(name, [ORPHANED], error))
        if len(refused) == len(waiting):
            yield from refused
            return
        waiting = [entry.slug for entry in refused]


def _mend(segment: Segment, found: views.State) -> Drift:
    """Bring the views of one segment in step with its row, and populate them if they are new."""
    alias = conf.exec_connection()
    entry = Drift(segment.slug, ["detached"]) if found.detached else drift(segment, found)
    if not entry:
        return entry  # Without its lock, which a running refresh may have for long.
    what: list[str] = []
    try:
        with (
            translated(SegmentExecutionError, segment.slug),
            locked(alias, segment.pk, segment.slug) as (connection, row),
        ):
            check_no_migration(connection, segment.slug)
            if row is None or row.slug != segment.slug:  # Deleted or renamed meanwhile.
                return Drift(segment.slug)
            if not found.detached:  # What was, can be replaced whatever it is by now.
                found = views.state(connection, row.slug)
            what += _visible(connection, row, found)
            compiled = compile_segment(connection, row)
            if found.live:
                what += _defined(connection, compiled, found)
            made = views.ensure(connection, row.label, compiled, found)
            if made.members is None:
                _store(row, {name: getattr(Segment(), name) for name in STATE})
            elif found.detached and row.status == Status.FAILED and row.refreshed_at:
                _store(row, {"status": Status.REFRESHED, "last_error": ""})
        if not (made.populated and made.indexed and made.commented):
            # Whoever made the members anew, such as Citus, may have left them empty.
            refresh(segment, concurrently=False)
    except SegmentError as error:
        if found.detached and isinstance(error, SegmentDefinitionError):
            with suppress(SegmentError):  # It is told in any case.
                _store(segment, {"status": Status.FAILED, "last_error": str(error)})
        what += _explained(segment, found, error)
        return Drift(segment.slug, what or entry.what, error)
    return Drift(segment.slug, what)


def _store(segment: Segment, state: dict[str, Any]) -> None:
    """Store on a row how the segment is doing."""
    rows = Segment.objects.using(conf.exec_connection()).filter(pk=segment.pk)
    with translated(SegmentExecutionError, segment.slug):
        rows.update(**state)


def _explained(segment: Segment, found: views.State, error: SegmentError) -> list[str]:
    """Say what has become of what a definition names, where that is why it does not compile."""
    if error.sqlstate not in STALE or not found.live:
        return []
    try:
        with (
            translated(SegmentExecutionError, segment.slug),
            session.limited(conf.exec_connection(), segment.slug, undo=True) as connection,
        ):
            if found.detached:
                return detaching.changes(connection, found)
            return [f"its view now reads:\n{detaching.definition(connection, segment.slug)}"]
    except SegmentError:
        return []  # The view has gone meanwhile, and what is wrong is told already.


def _orphans(connection: BaseDatabaseWrapper, has_rows: bool = True) -> list[str]:
    """Return the names of this package's views that no segment has."""
    rows = Segment.objects.using(connection.alias) if has_rows else Segment.objects.none()
    wanted = {names.view_name(slug) for slug in rows.values_list("slug", flat=True)}
    found = views.states(connection)
    return [name for name, state in found.items() if state.ours and name not in wanted]
