"""What saving and deleting a segment means to its views.

A segment's views change under its lock, which comes before any lock on its row. While the alias of
`SEGMENTS_EXEC_CONNECTION` is the one a row is saved on, both change in one transaction; else the
views follow once the row is committed.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Value
from django.db.models.functions import Replace

from segments import conf
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    SegmentLockedError,
    translated,
)
from segments.models import Segment, StaticMember
from segments.refresh import Clock, populate, record_failure
from segments.source import compile_segment
from segments.sql import base, names, session, static_ids, views
from segments.sql.definition import check_text

DEFINING = ("definition", "model_id", "manager_name", "manager_method")
"""The fields that say who is in a segment, besides its static ids."""

STATE = ("members_count", "refreshed_at", "status", "last_error", "failures")
"""The fields that refreshes store on a row."""

LABELLING = ("slug", "name", "description")
"""The fields that the comments on its views repeat."""


@dataclass(frozen=True)
class Change:
    """What saving a row means to its views."""

    created: bool
    redefined: bool
    relabelled: bool
    old_slug: str


@contextmanager
def saving(segment: Segment, using: str) -> Iterator[None]:
    """Bring static ids and views in step with a row that is saved inside; see `Segment.save`."""
    names.check_slug(segment.slug)
    check_text(segment.slug, segment.definition)
    together = using == conf.exec_connection()
    if not together:
        validate(segment)
    with session.limited(using, segment.slug) as connection:
        rows = Segment.objects.using(using)
        before = None
        if segment.pk is not None:
            with translated(SegmentExecutionError, segment.slug):
                session.lock(connection, segment.pk)
            before = rows.filter(pk=segment.pk).first()
        _check_clash(segment, using)
        _check_defined(segment, before, using)
        # A refresh may have moved on since this instance was loaded; none can while it is saved.
        copy_state(before or Segment(), segment)
        yield
        ids = segment.unsaved_static_ids
        if ids is not None:
            static_ids.replace(connection, segment.slug, segment.pk, ids)
        row = rows.get(pk=segment.pk)
        change = Change(
            created=before is None,
            redefined=ids is not None or _differ(before, row, DEFINING),
            relabelled=_differ(before, row, LABELLING),
            old_slug=before.slug if before else row.slug,
        )
        if together:
            _follow(connection, row, change)
        else:
            transaction.on_commit(partial(_follow_later, row.pk, change), using=using)
        copy_state(rows.get(pk=segment.pk), segment)


def deleting(instance: Segment, using: str, **kwargs: object) -> None:
    """Drop the views of a segment whose row is about to be deleted; a `pre_delete` receiver.

    Raises:
        SegmentExecutionError: naming the segments and views that read it.
    """
    # The slug may have been changed on the instance alone.
    stored = Segment.objects.using(using).filter(pk=instance.pk).values_list("slug", flat=True)
    slug = stored.first() or instance.slug
    if using == conf.exec_connection():
        _drop(instance.pk, slug)
    else:
        _drop(instance.pk, slug, undo=True)
        transaction.on_commit(partial(_drop, instance.pk, slug), using=using)


def validate(segment: Segment) -> None:
    """Run what defines a segment once, in a transaction that is rolled back.

    Does nothing where a saved segment is still defined as it was. Takes no lock on the segment's
    views. Costs the evaluation of the definition, up to `SEGMENTS_STATEMENT_TIMEOUT`.

    Raises:
        SegmentDefinitionError, SegmentExecutionError: with what is wrong, and `field` set.
    """
    alias, ids = conf.exec_connection(), segment.unsaved_static_ids
    before = Segment.objects.using(alias).filter(pk=segment.pk).first()
    if before and ids is None and not _differ(before, segment, DEFINING):
        return
    _check_defined(segment, before, alias)
    field = "manager_method" if segment.kind == "manager" else "definition"
    with (
        translated(SegmentExecutionError, segment.slug, field=field),
        session.limited(alias, segment.slug, undo=True) as connection,
    ):
        if ids is not None:
            static_ids.check(connection, segment.slug, ids)
        compiled = compile_segment(connection, segment)
        base.ensure_schemas(connection)
        trial = views.create_trial(connection, segment.slug, compiled)
        _check_circle(connection, segment.slug, trial)


def check_no_schema_change(connection: BaseDatabaseWrapper, slug: str) -> None:
    """Refuse to attach a segment while its tables are to be changed.

    Raises:
        SegmentLockedError: while another session migrates, or after detach_segments.
    """
    if session.is_schema_changing(connection):
        raise SegmentLockedError(
            "a migration is under way", slug=slug, hint="Try again when it is over."
        )
    if views.state(connection, slug).held:
        raise SegmentLockedError(
            "it is detached from its tables",
            slug=slug,
            hint="When the schema change is over, run: manage.py sync_segments",
        )


def copy_state(source: Segment, target: Segment) -> None:
    """Copy what refreshes store on a row."""
    for name in STATE:
        setattr(target, name, getattr(source, name))


def _follow(connection: BaseDatabaseWrapper, row: Segment, change: Change) -> None:
    """Change the views of a segment after its row."""
    clock = Clock()
    with translated(SegmentExecutionError, row.slug):
        session.lock(connection, row.pk)
        if change.relabelled and not change.created:
            views.relabel(connection, change.old_slug, row.label)
        if change.created or change.redefined:
            check_no_schema_change(connection, row.slug)
            found = views.ensure(connection, row.label, compile_segment(connection, row))
            if found.live:  # What was not there before cannot have been read by anything.
                _check_circle(connection, row.slug, names.view_name(row.slug))
            if change.created or conf.refresh_on_save():
                populate(connection, row, found, clock)


def _follow_later(key: int, change: Change) -> None:
    """Change the views of a segment whose row was saved on another alias, and is committed.

    A failure is stored on the segment, as that of a refresh is, and raised out of the commit.
    """
    alias, clock = conf.exec_connection(), Clock()
    row = Segment.objects.using(alias).filter(pk=key).first()
    if row is None:
        return
    try:
        with session.limited(alias, row.slug) as connection:
            _follow(connection, row, change)
    except SegmentError as error:
        record_failure(alias, row, clock, error)
        raise


def _drop(key: int, slug: str, undo: bool = False) -> None:
    """Drop the views of a segment, or only see whether that would be refused."""
    alias = conf.exec_connection()
    with (
        translated(SegmentExecutionError, slug),
        session.limited(alias, slug, undo) as connection,
    ):
        session.lock(connection, key)
        views.drop(connection, slug)


def _check_clash(segment: Segment, using: str) -> None:
    """Refuse a slug that another segment has, hyphens and underscores being the same."""
    others = Segment.objects.using(using).exclude(pk=segment.pk)
    name = names.view_name(segment.slug)
    other = (
        others.alias(in_view=Replace("slug", Value("-"), Value("_"))).filter(in_view=name).first()
    )
    if other:
        raise SegmentDefinitionError(
            f'the segment "{other.slug}" has the view {name} already',
            slug=segment.slug,
            field="slug",
        )


def _check_defined(segment: Segment, before: Segment | None, using: str) -> None:
    """Refuse a segment of which nothing says who is in it; a list that is empty does."""
    listed = (
        segment.unsaved_static_ids is not None
        or (before is not None and before.kind == "static")
        or StaticMember.objects.using(using).filter(segment=segment.pk).exists()
    )
    if segment.kind == "static" and not listed:
        raise SegmentDefinitionError(
            "nothing says who is in it: give a definition, static ids or a manager method",
            slug=segment.slug,
            field="definition",
        )


def _check_circle(connection: BaseDatabaseWrapper, slug: str, start: str) -> None:
    """Refuse a segment that reads itself, by whatever way, looking from one of its views."""
    own = names.view_name(slug)
    path = _path(views.reads(connection), start, own)
    if path is None and views.reads_itself(connection, start):
        path = [own]
    if path is not None:
        raise SegmentDefinitionError(
            f"it would read itself: {' -> '.join([own, *path])}", slug=slug, field="definition"
        )


def _path(graph: dict[str, set[str]], start: str, goal: str) -> list[str] | None:
    """Return the shortest way from a node to a goal, without the node that it starts at."""
    paths = [[name] for name in sorted(graph.get(start, ()))]
    seen: set[str] = set()
    for path in paths:  # Breadth first: the list grows while it is read.
        if path[-1] == goal:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            paths += [[*path, name] for name in sorted(graph.get(path[-1], ()))]
    return None


def _differ(before: Segment | None, after: Segment, fields: Iterable[str]) -> bool:
    return before is None or any(getattr(before, f) != getattr(after, f) for f in fields)
