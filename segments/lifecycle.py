"""What saving and deleting a segment means to its views.

A segment's views change under its lock, which comes before any lock on its row. While the alias of
`SEGMENTS_EXEC_CONNECTION` is the one a row is saved on, both change in one transaction; else the
views follow once the row is committed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    SegmentLockedError,
    from_driver,
    translated,
)
from segments.locking import check_no_migration, locked
from segments.models import Membership, Segment, StaticMember
from segments.outcome import Clock, announce, copy_state, record_failure
from segments.refresh import populate, reload_state
from segments.source import compile_segment
from segments.sql import names, session, static_ids, views
from segments.sql.definition import check_text
from segments.validation import (
    DEFINING,
    check_circle,
    check_clash,
    check_cost,
    check_defined,
    check_timeout,
    differ,
    taken_by,
    try_definition,
)

LABELLING = ("slug", "name", "description")
"""The fields that the comments on its views repeat."""


@dataclass(frozen=True)
class Change:
    """What saving a row means to its views."""

    created: bool
    redefined: bool
    relabelled: bool
    priced: bool
    old_slug: str


@contextmanager
def saving(segment: Segment, using: str) -> Iterator[None]:
    """Bring static ids and views in step with a row that is saved inside; see `Segment.save`."""
    names.check_slug(segment.slug)
    check_text(segment.slug, segment.definition)
    together = using == conf.exec_connection()
    if not together:
        last = Segment.objects.using(using).filter(pk=segment.pk).first()
        check_timeout(segment, last)
        try_definition(segment, last)
    with locked(using, segment.pk, segment.slug, segment.timeout) as (connection, before):
        check_clash(segment, using)
        check_defined(segment, before, using)
        check_timeout(segment, before)
        if not together:
            _check_free(segment, before, using)
        # A refresh may have moved on since this instance was loaded; none can while it is saved.
        copy_state(before or Segment(), segment)
        with _row_locks(segment.slug):
            yield
        ids = segment.unsaved_static_ids
        if ids is not None:
            static_ids.replace(connection, segment.slug, segment.pk, ids)
        row = Segment.objects.using(using).get(pk=segment.pk)
        change = Change(
            created=before is None,
            redefined=ids is not None or differ(before, row, DEFINING),
            relabelled=differ(before, row, LABELLING),
            # Or else that was done before the row was saved.
            priced=together and not segment.allow_cost and differ(before, row, DEFINING),
            old_slug=before.slug if before else row.slug,
        )
        if together:
            _follow(connection, row, change)
        else:
            _once_committed(using, _follow_later, segment, row, change)
        copy_state(Segment.objects.using(using).get(pk=segment.pk), segment)


@contextmanager
def deleting(segment: Segment, using: str) -> Iterator[None]:
    """Drop the views of a segment, as it stands in the database, whose row is deleted inside.

    Raises:
        SegmentExecutionError: naming the segments and views that read it.
        SegmentLockedError: when another session has it for too long.
    """
    with locked(using, segment.pk, segment.slug) as (connection, row):
        if row is not None:
            _drop(connection, row, using)
        # Without the instances that Django collects where anybody listens to deletions.
        for model in (Membership, StaticMember):
            model.objects.using(using).filter(segment=segment.pk)._raw_delete(using)
        with _row_locks(segment.slug):
            yield


def _follow(connection: BaseDatabaseWrapper, row: Segment, change: Change) -> None:
    """Change the views of a segment after its row; the caller has its lock."""
    clock = Clock()
    with translated(SegmentExecutionError, row.slug):
        if change.created:  # Its key is known only now.
            session.lock(connection, row.pk)
        if change.relabelled and not change.created:
            views.relabel(connection, change.old_slug, row.label)
        if change.created or change.redefined:
            check_no_migration(connection, row.slug)
            found = views.state(connection, row.slug)
            if found.held:
                raise SegmentLockedError(
                    "it is detached from its tables",
                    slug=row.slug,
                    hint="When the schema change is over, run: manage.py sync_segments",
                )
            compiled = compile_segment(connection, row)
            if change.priced:
                check_cost(connection, row, compiled)
            found = views.ensure(connection, row.label, compiled, found)
            if found.live:  # What was not there before cannot have been read by anything.
                check_circle(connection, row.slug, names.view_name(row.slug))
            at_once = change.created or conf.refresh_on_save()
            if at_once and not conf.refresh_async():
                announce(row, populate(connection, row, found, clock))
                return
            # What failed before may work now, and so is due.
            rows = Segment.objects.using(connection.alias).filter(pk=row.pk)
            rows.update(failures=0, attempted_at=None)
            if at_once:
                from segments import tasks  # Needs a tasks framework, and that is optional.

                tasks.enqueue_refresh(row)


def _follow_later(segment: Segment, saved: Segment, change: Change) -> None:
    """Change the views of a segment whose row was saved on another alias, and is committed.

    A failure is stored on the segment, as that of a refresh is, and raised out of the commit. The
    instance that was saved gets the state that comes of either.
    """
    alias, clock = conf.exec_connection(), Clock()
    try:
        with locked(alias, saved.pk, saved.slug, saved.timeout) as (connection, row):
            if row is not None:
                # Step by step, as it was saved: later ones may move what this one makes.
                row.slug, row.name, row.description = saved.slug, saved.name, saved.description
                _follow(connection, row, change)
            else:  # Deleted in the same transaction.
                _drop_left(connection, change.old_slug)
    except SegmentError as error:
        record_failure(alias, saved, clock, error)
        raise
    finally:
        reload_state(alias, segment)


def _drop(connection: BaseDatabaseWrapper, row: Segment, using: str) -> None:
    """Drop the views of a segment, or see to that once the deletion of its row is committed."""
    with translated(SegmentExecutionError, row.slug):
        if using == conf.exec_connection():
            views.drop(connection, row.slug)
            return
        try:
            _try_drop([row])
        except psycopg.errors.DependentObjectsStillExist:
            # What reads it may go in the same transaction, and have its views as yet.
            going = _going(using)
            if not going:
                raise
            _try_drop([*going, row])
    _once_committed(using, _drop_later, row)


def _try_drop(rows: list[Segment]) -> None:
    """Drop views, in this order, and roll that back, to see whether it would be refused."""
    with session.limited(conf.exec_connection(), rows[-1].slug, undo=True) as other:
        for row in rows:
            views.drop(other, row.slug)


def _going(using: str) -> list[Segment]:
    """Return the segments of which a transaction has deleted the rows, and not yet the views."""
    return [deleted for (deleted,) in _waiting(using, _drop_later)]


def _once_committed(using: str, step: Callable[..., None], *args: Any) -> None:
    """Have views follow once the transaction is committed, whatever becomes of other segments.

    What has failed is raised after the last step, since an error ends Django's round of callbacks.
    """
    connection: Any = connections[using]
    told = [each for each in connection.run_on_commit if _is_call(each[1], _tell)]
    errors: list[SegmentError] = told[0][1].args[0] if told else []
    connection.run_on_commit = [each for each in connection.run_on_commit if each not in told]
    transaction.on_commit(partial(_attempt, errors, step, *args), using=using)
    # Of no savepoint, the rollback of which would take this along.
    connection.run_on_commit.append((set(), partial(_tell, errors), False))


def _attempt(errors: list[SegmentError], step: Callable[..., None], *args: Any) -> None:
    try:
        step(*args)
    except SegmentError as error:
        errors.append(error)


def _tell(errors: list[SegmentError]) -> None:
    """Raise what has failed."""
    if len(errors) > 1:
        raise SegmentExecutionError("\n".join(map(str, errors))) from errors[0]
    if errors:
        raise errors[0]


def _waiting(using: str, step: Callable[..., None]) -> list[tuple[Any, ...]]:
    """Return the arguments with which a step is taken once the transaction is committed."""
    connection: Any = connections[using]
    calls = [call for _, call, *_ in connection.run_on_commit if _is_call(call, _attempt)]
    return [call.args[2:] for call in calls if call.args[1] is step]


def _is_call(call: Any, function: Callable[..., None]) -> bool:
    return isinstance(call, partial) and call.func is function


def _drop_later(deleted: Segment) -> None:
    """Drop the views of a segment whose row was deleted on another alias, and is no more."""
    with locked(conf.exec_connection(), deleted.pk, deleted.slug) as (connection, _):
        _drop_left(connection, deleted.slug)


def _drop_left(connection: BaseDatabaseWrapper, slug: str) -> None:
    """Drop the views that a deleted segment has left, unless another has their name by now."""
    if not taken_by(connection, names.view_name(slug)):
        with translated(SegmentExecutionError, slug):
            views.drop(connection, slug)


@contextmanager
def _row_locks(slug: str) -> Iterator[None]:
    """Translate locks that were not had; what else Django says of a row is its own concern."""
    try:
        yield
    except OperationalError as error:
        raise from_driver(error, SegmentExecutionError, slug) from error


def _check_free(segment: Segment, before: Segment | None, using: str) -> None:
    """Refuse a slug whose view is there already, where the views follow on commit.

    Until then, and for good if that fails, the segment would have the members of another.
    """
    name = names.view_name(segment.slug)
    if before is not None and name == names.view_name(before.slug):
        return
    gone = [deleted.pk for deleted in _going(using)]
    steps = [
        saved.pk
        for _, saved, change in _waiting(using, _follow_later)
        if name in map(names.view_name, (saved.slug, change.old_slug)) and saved.pk not in gone
    ]
    if steps and {*steps} == {segment.pk}:
        return  # It gets a name back that it has not lost yet.
    with translated(SegmentExecutionError, segment.slug):
        found = views.state(connections[conf.exec_connection()], segment.slug)
    if steps or found.ours:
        raise SegmentDefinitionError(
            f"the view {name} of another segment is there still",
            slug=segment.slug,
            field="slug",
            hint="If that was deleted or renamed in this transaction, commit that first; "
            "else run: manage.py sync_segments --prune",
        )
