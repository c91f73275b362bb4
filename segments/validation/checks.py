"""The checks of a segment, which run before it is saved or its views change."""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition import static_ids
from segments.definition.compile import compile_segment
from segments.definition.kinds import DEFINING_FIELDS, StaticList, kind_of
from segments.definition.select import Compiled
from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentExecutionError,
    translated,
)
from segments.pgviews import views
from segments.pgviews.shared import ensure_shared_exists
from segments.rows import segment_rows, slug_of_view, static_member_rows
from segments.sql import names, session
from segments.validation import trial
from segments.validation.renaming import check_rename

if TYPE_CHECKING:
    from segments.models import Segment


def validate(segment: "Segment") -> None:
    """Run all checks of a segment; see `try_definition` for the cost.

    Raises:
        SegmentDefinitionError, SegmentExecutionError: with the reason, and `field` set.
    """
    alias = conf.exec_connection()
    before = segment_rows(alias).filter(pk=segment.pk).first()
    check_defined(segment, before, alias)
    check_limits(segment)
    check_timeout(segment, before)
    if before and not slug_of_view(alias, names.view_name(segment.slug), segment.pk):
        # If it is to rewrite definitions, it locks their segments, here for a moment only.
        with session.transaction(alias, segment.slug, rollback=True, field="slug"):
            check_rename(before, segment, alias, segment.rewrite_readers)
    try_definition(segment, before)


def try_definition(segment: "Segment", before: "Segment | None") -> None:
    """Evaluate a new or changed definition once, in a transaction that is rolled back.

    Takes no lock on the segment's views. Costs one evaluation of the definition, up to
    `SEGMENTS_STATEMENT_TIMEOUT`.
    """
    ids = segment.unsaved_static_ids
    if before and ids is None and not differ(before, segment, DEFINING_FIELDS):
        return
    with session.transaction(
        conf.exec_connection(),
        segment.slug,
        rollback=True,
        timeout=segment.timeout,
        field=kind_of(segment).error_field,
    ) as connection:
        if ids is not None:
            static_ids.check(connection, segment.slug, ids)
        compiled = compile_segment(connection, segment)
        ensure_shared_exists(connection)
        if not segment.allow_cost and differ(before, segment, DEFINING_FIELDS):
            check_cost(connection, segment, compiled)
        view = trial.populate(connection, segment.slug, compiled)
        check_circle(connection, segment.slug, view)


def validate_slug(value: str) -> None:
    """Raise ValidationError unless the value can be the slug of a segment."""
    try:
        names.check_slug(value)
    except SegmentDefinitionError as error:
        raise ValidationError(error.message) from error


def check_clash(segment: "Segment", using: str) -> None:
    """Refuse a slug if another segment has it, or differs only in hyphens and underscores."""
    name = names.view_name(segment.slug)
    other = slug_of_view(using, name, segment.pk)
    if other:
        raise SegmentDefinitionError(
            f'the segment "{other}" already has the view {name}',
            slug=segment.slug,
            field="slug",
        )


def check_free(segment: "Segment") -> None:
    """Refuse a slug whose view already exists, if views change only after the commit.

    Until then, or for good if that fails, the segment would have the members of another one.
    """
    alias, name = conf.exec_connection(), names.view_name(segment.slug)
    committed = segment_rows(alias).filter(pk=segment.pk).values_list("slug", flat=True).first()
    if committed is not None and name == names.view_name(committed):
        return
    with translated(SegmentExecutionError, segment.slug):
        exists = views.state(connections[alias], segment.slug).ours
    if exists:
        raise SegmentDefinitionError(
            f"the view {name} of another segment still exists",
            slug=segment.slug,
            field="slug",
            hint="If that segment was deleted or renamed in this transaction, commit first. "
            "Otherwise run: manage.py sync_segments --prune",
        )


def check_defined(segment: "Segment", before: "Segment | None", using: str) -> None:
    """Refuse a segment without a definition; an empty list is one."""
    if kind_of(segment) is not StaticList or segment.unsaved_static_ids is not None:
        return
    if before is not None and kind_of(before) is StaticList:
        return
    if not static_member_rows(using).filter(segment=segment.pk).exists():
        raise SegmentDefinitionError(
            "it has no definition: set SQL, static ids or a manager method",
            slug=segment.slug,
            field="definition",
        )


def check_limits(segment: "Segment") -> None:
    """Refuse a timeout that Postgres does not take, before a transaction is opened with it."""
    if segment.timeout is not None and segment.timeout < timedelta():
        raise SegmentDefinitionError(
            "its timeout is below zero", slug=segment.slug, field="timeout"
        )


def check_timeout(segment: "Segment", before: "Segment | None") -> None:
    """Refuse a new timeout above `SEGMENTS_MAX_TIMEOUT`, where zero means no limit."""
    timeout, limit = segment.timeout, conf.max_timeout()
    if timeout is None or not limit or timedelta() < timeout <= limit:
        return
    if differ(before, segment, ("timeout",)):
        raise SegmentDefinitionError(
            f"its timeout may be at most {limit}",
            slug=segment.slug,
            field="timeout",
            hint="Make it shorter, or raise SEGMENTS_MAX_TIMEOUT.",
        )


def check_max_loss(segment: "Segment") -> None:
    """Refuse a `max_loss` that is not a whole number from 1 to 100, nor None."""
    field: Any = segment._meta.get_field("max_loss")
    try:
        if isinstance(segment.max_loss, bool) or field.clean(segment.max_loss, segment) not in (
            None,
            segment.max_loss,
        ):
            raise ValidationError("it is no whole number")
    except ValidationError as error:
        raise SegmentDefinitionError(
            f"its max_loss cannot be {segment.max_loss!r}: it is how many percent of its members "
            "one refresh may remove, a whole number from 1 to 100",
            slug=segment.slug,
            field="max_loss",
            hint="Use 100 for no limit, and None for that of SEGMENTS_MAX_LOSS.",
        ) from error


def check_cost(connection: BaseDatabaseWrapper, segment: "Segment", compiled: Compiled) -> None:
    """Refuse a definition whose cost, by the planner, is above `SEGMENTS_MAX_COST`."""
    limit = conf.max_cost()
    if limit is None or kind_of(segment) is StaticList:
        return
    cost = trial.price(connection, segment.slug, compiled).cost
    if cost > limit:
        raise SegmentCostError(
            f"its cost, by the planner, is {cost:,.0f}, and SEGMENTS_MAX_COST is {limit:,.0f}",
            slug=segment.slug,
            field=kind_of(segment).error_field,
            hint="Make it cheaper (is an index missing?), or allow it for this one save: "
            "segment.allow_cost = True",
        )


def check_circle(connection: BaseDatabaseWrapper, slug: str, start: str) -> None:
    """Refuse a segment that reads itself, directly or indirectly, starting at one of its views."""
    own = names.view_name(slug)
    path = _path(views.reads(connection), start, own)
    if path is None and views.reads_itself(connection, start):
        path = [own]
    if path is not None:
        raise SegmentDefinitionError(
            f"it would read itself: {' -> '.join([own, *path])}", slug=slug, field="definition"
        )


def differ(before: "Segment | None", after: "Segment", fields: Iterable[str]) -> bool:
    """Return whether there was no row before, or any of the fields has another value."""
    if before is None:
        return True
    model_fields: list[Any] = [after._meta.get_field(name) for name in fields]
    columns = [field.attname for field in model_fields]
    return any(getattr(before, column) != getattr(after, column) for column in columns)


def _path(graph: dict[str, set[str]], start: str, goal: str) -> list[str] | None:
    """Return the shortest path from a node to a goal, without the first node."""
    paths = [[name] for name in sorted(graph.get(start, ()))]
    seen: set[str] = set()
    for path in paths:  # Breadth first: the list grows during the loop.
        if path[-1] == goal:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            paths += [[*path, name] for name in sorted(graph.get(path[-1], ()))]
    return None
