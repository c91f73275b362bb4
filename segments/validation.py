"""Validation: what is wrong with a segment, found out before it is saved or its views change."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Value
from django.db.models.functions import Replace

from segments import conf
from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentExecutionError,
    translated,
)
from segments.models import Segment, StaticMember
from segments.source import compile_segment
from segments.sql import base, drafts, names, session, static_ids, views
from segments.sql.definition import Compiled

DEFINING = ("definition", "model_id", "manager_name", "manager_method")
"""The fields that say who is in a segment, besides its static ids."""


def validate(segment: Segment) -> None:
    """Run what defines a segment once, in a transaction that is rolled back; see `try_definition`.

    Raises:
        SegmentDefinitionError, SegmentExecutionError: with what is wrong, and `field` set.
    """
    alias = conf.exec_connection()
    before = Segment.objects.using(alias).filter(pk=segment.pk).first()
    check_defined(segment, before, alias)
    check_timeout(segment, before)
    try_definition(segment, before)


def try_definition(segment: Segment, before: Segment | None) -> None:
    """Evaluate a definition that differs from that of before, and roll that back.

    Takes no lock on the segment's views. Costs the evaluation of the definition, up to
    `SEGMENTS_STATEMENT_TIMEOUT`.
    """
    ids = segment.unsaved_static_ids
    if before and ids is None and not differ(before, segment, DEFINING):
        return
    with (
        translated(SegmentExecutionError, segment.slug, field=defining_field(segment)),
        session.limited(
            conf.exec_connection(), segment.slug, undo=True, timeout=segment.timeout
        ) as connection,
    ):
        if ids is not None:
            static_ids.check(connection, segment.slug, ids)
        compiled = compile_segment(connection, segment)
        base.ensure_schemas(connection)
        if not segment.allow_cost and differ(before, segment, DEFINING):
            check_cost(connection, segment, compiled)
        trial = views.create_trial(connection, segment.slug, compiled)
        check_circle(connection, segment.slug, trial)


def check_clash(segment: Segment, using: str) -> None:
    """Refuse a slug that another segment has, hyphens and underscores being the same."""
    name = names.view_name(segment.slug)
    other = taken_by(connections[using], name, segment.pk)
    if other:
        raise SegmentDefinitionError(
            f'the segment "{other}" has the view {name} already',
            slug=segment.slug,
            field="slug",
        )


def check_defined(segment: Segment, before: Segment | None, using: str) -> None:
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


def check_timeout(segment: Segment, before: Segment | None) -> None:
    """Refuse a timeout, if it is a new one, above `SEGMENTS_MAX_TIMEOUT`; zero is no limit."""
    timeout, most = segment.timeout, conf.max_timeout()
    if timeout is None or not most or timedelta() < timeout <= most:
        return
    if differ(before, segment, ("timeout",)):
        raise SegmentDefinitionError(
            f"its timeout may be {most} at most",
            slug=segment.slug,
            field="timeout",
            hint="Make it shorter, or raise SEGMENTS_MAX_TIMEOUT.",
        )


def check_cost(connection: BaseDatabaseWrapper, segment: Segment, compiled: Compiled) -> None:
    """Raise SegmentCostError for a definition that is priced above `SEGMENTS_MAX_COST`."""
    limit = conf.max_cost()
    if limit is None or segment.kind == "static":
        return
    cost = drafts.price(connection, segment.slug, compiled).cost
    if cost > limit:
        raise SegmentCostError(
            f"the planner prices it at {cost:,.0f}, and SEGMENTS_MAX_COST is {limit:,.0f}",
            slug=segment.slug,
            field=defining_field(segment),
            hint="Make it cheaper (is an index missing?), or allow it for this one save: "
            "segment.allow_cost = True",
        )


def check_circle(connection: BaseDatabaseWrapper, slug: str, start: str) -> None:
    """Refuse a segment that reads itself, by whatever way, looking from one of its views."""
    own = names.view_name(slug)
    path = _path(views.reads(connection), start, own)
    if path is None and views.reads_itself(connection, start):
        path = [own]
    if path is not None:
        raise SegmentDefinitionError(
            f"it would read itself: {' -> '.join([own, *path])}", slug=slug, field="definition"
        )


def defining_field(segment: Segment) -> str:
    """Return the field to stand beside what is wrong with the definition."""
    return "manager_method" if segment.kind == "manager" else "definition"


def differ(before: Segment | None, after: Segment, fields: Iterable[str]) -> bool:
    """Return whether any of the fields has another value than before, or had none."""
    return before is None or any(getattr(before, f) != getattr(after, f) for f in fields)


def taken_by(connection: BaseDatabaseWrapper, view: str, besides: Any = None) -> str | None:
    """Return the slug of a segment that has this view name, if there is one."""
    rows = Segment.objects.using(connection.alias).exclude(pk=besides)
    taken = rows.alias(in_view=Replace("slug", Value("-"), Value("_"))).filter(in_view=view)
    return taken.order_by().values_list("slug", flat=True).first()


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
