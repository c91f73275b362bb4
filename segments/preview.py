"""Preview: who would be in a segment, what it reads and costs, and what looks like a mistake."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, translated
from segments.models import Segment
from segments.refusals import check_circle, check_defined, defining_field
from segments.source import compile_segment
from segments.sql import drafts, names, session, static_ids, views
from segments.sql.static_ids import OneShot

NOBODY = "Nobody is in it."

INSTEAD = {
    "now": "now()",
    "today": "current_date",
    "yesterday": "current_date - 1",
    "tomorrow": "current_date + 1",
}
"""What to write for a word that is read as a time only once."""


@dataclass(frozen=True)
class Preview:
    """What a segment would be.

    Attributes:
        members_count: How many members it would have.
        exact: Whether they were counted; else it is the planner's estimate.
        sample: The first of them by their primary key; empty unless exact.
        cost: What the planner takes the definition to cost, in its units.
        rows: How many members the planner expects.
        reads: The columns that it reads itself, as `table.column`, the user's key included.
        segments: The slugs of the segments that it reads, directly or through other views.
        warnings: What looks like a mistake, in sentences.
    """

    members_count: int
    exact: bool
    sample: tuple[Any, ...]
    cost: float
    rows: int
    reads: tuple[str, ...]
    segments: tuple[str, ...]
    warnings: tuple[str, ...]


def preview(segment: Segment, limit: int = 10) -> Preview:
    """Return who would be in a segment, saved or not; saves nothing, and changes no view.

    Evaluates the definition once as a refresh would, for up to `SEGMENTS_PREVIEW_TIMEOUT`, in a
    transaction that is rolled back. Until then it locks what it reads against changes of schema.

    Args:
        limit: How many users to return as a sample.

    Raises:
        SegmentDefinitionError, SegmentExecutionError: what validation would raise. Only the
            cost is no error here.
    """
    if limit < 0:
        raise ValueError(f"the limit of a preview must not be below zero, and is {limit}")
    if segment.slug:
        names.check_slug(segment.slug)
    alias, slug = conf.exec_connection(), segment.slug
    time = _time_for(segment)
    with (
        translated(SegmentExecutionError, slug, field=defining_field(segment)),
        session.limited(alias, slug, undo=True, timeout=segment.timeout) as connection,
    ):
        check_defined(segment, Segment.objects.using(alias).filter(pk=segment.pk).first(), alias)
        compiled = compile_segment(connection, _with_list(connection, segment))
        draft = drafts.create(connection, slug, compiled)
        check_circle(connection, slug, draft)
        plan = drafts.price(connection, slug, compiled)
        read = views.reads(connection).get(draft, set())
        reads = drafts.columns_read(connection, draft)
        warnings = list(_warnings(connection, segment, compiled.select, draft))
        found = drafts.evaluate(connection, slug, compiled, time, limit)
    if found is None:
        seconds = f"{time.total_seconds():g} s"
        warnings.insert(0, f"Counting took longer than {seconds}, so the number is an estimate.")
    elif not found.count:
        warnings.insert(0, NOBODY)
    most = conf.max_cost()
    if most is not None and plan.cost > most and segment.kind != "static":
        warnings.append(
            f"Its cost of {plan.cost:,.0f} is above SEGMENTS_MAX_COST, which is {most:,.0f}."
        )
    users = get_user_model()._default_manager.order_by("pk")
    return Preview(
        members_count=found.count if found else plan.rows,
        exact=found is not None,
        sample=tuple(users.filter(pk__in=found.sample)) if found else (),
        cost=plan.cost,
        rows=plan.rows,
        reads=reads,
        segments=tuple(
            slug
            for slug in Segment.objects.order_by("slug").values_list("slug", flat=True)
            if names.view_name(slug) in read
        ),
        warnings=tuple(warnings),
    )


def _with_list(connection: BaseDatabaseWrapper, segment: Segment) -> Segment:
    """Return the segment; a copy with a key of its own where its list is yet to be saved.

    Under that key, the list is loaded without a lock on the rows of the one that is saved.
    """
    ids = segment.unsaved_static_ids
    if ids is None:
        return segment
    if isinstance(ids, OneShot):
        raise SegmentDefinitionError(
            "the static ids come from an iterator, which a preview would use up",
            slug=segment.slug,
            field="static_ids",
            hint="Assign a list of them.",
        )
    raw: Any = connection.connection
    listed = copy(segment)
    listed.pk = -raw.info.backend_pid  # No segment has it, and no other session.
    static_ids.replace(connection, segment.slug, listed.pk, ids)
    return listed


def _time_for(segment: Segment) -> timedelta:
    """Return for how long a preview may count: the shorter of two limits; zero is none."""
    statement = segment.timeout if segment.timeout is not None else conf.statement_timeout()
    return min(filter(None, (conf.preview_timeout(), statement)), default=timedelta())


def _warnings(
    connection: BaseDatabaseWrapper, segment: Segment, select: str, draft: str
) -> Iterator[str]:
    written = segment.definition
    for word, index in drafts.frozen_words(connection, written or select):
        line = f" in line {written.count(chr(10), 0, index) + 1}" if written else ""
        instead = INSTEAD[word.lower()]
        yield (
            f"The literal with '{word}'{line} is read once, when the definition is saved, and "
            f"stays that time; {instead} moves on."
        )
    if written:
        for table in drafts.whole_tables(connection, written):
            yield (
                f"It gives every column of {table}, as SELECT * does, and one is used: it depends "
                "on all of them, so that a change of any concerns the segment, while columns "
                "that are added later are not in it. Select the user ids alone."
            )
    if drafts.has_unordered_limit(connection, draft):
        yield (
            "It has a LIMIT without an ORDER BY: which rows that takes is up to the plan, so "
            "that members change by chance."
        )
    for name, of_postgres in drafts.opaque_functions(connection, draft):
        if of_postgres:
            yield f"{name}() may give another value at each call: members change by chance."
        else:
            yield (
                f"{name}() hides what it reads: the segment is recomputed at every refresh, and "
                "neither schema changes nor the order of refreshes know what it depends on."
            )
