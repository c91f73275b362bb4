"""Uninstall: drop all that this package has made in the database, but for what `migrate` made.

Each segment goes in a transaction of its own, as ever, so that thousands of them take no more
locks at a time than one, and a refresh that runs meanwhile is waited for, and not met in a
deadlock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.deletion import Collector, ProtectedError, RestrictedError
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.models import Membership, Segment, SegmentRefresh, StaticMember
from segments.order import ordered
from segments.sql import base, names, session, views
from segments.sql.labels import MARK
from segments.sql.session import execute, rows, value
from segments.sync import drop_orphans

SHOWN = 20
"""How many of those that stand in the way a message names."""


@dataclass(frozen=True)
class Inventory:
    """What there is to be dropped.

    Attributes:
        segments: Slugs.
        orphans: The names of views that no segment has.
        schemas: Those that exist.
        others: How many rows of other models are deleted along, by label.
        has_rows: Whether there is a table of segments.
    """

    segments: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    has_rows: bool = True

    def __bool__(self) -> bool:
        return bool(self.segments or self.orphans or self.schemas)


@dataclass(frozen=True)
class Step:
    """What was dropped, or why it is still there.

    Attributes:
        what: In words.
        error: Why it could not be dropped, if so.
        kept: What else is in a schema, which so stays.
    """

    what: str
    error: SegmentError | None = None
    kept: list[str] = field(default_factory=list)


class _Others(Collector):
    """What goes with segments by Django's rules, but for what this package keeps of them."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the rows of other models that depend on these."""
        found = super().related_objects(related_model, related_fields, objs)
        own = issubclass(related_model, Membership | StaticMember | SegmentRefresh)
        return found.none() if own else found


def inventory() -> Inventory:
    """Return what there is to be dropped; changes nothing.

    Raises:
        SegmentExecutionError: naming what others have made that must go first, in the database or
            in models with PROTECT or RESTRICT.
    """
    alias, connection = router.db_for_write(Segment), connections[conf.exec_connection()]
    with translated(SegmentExecutionError):
        has_rows = Segment._meta.db_table in connections[alias].introspection.table_names()
        segments = list(Segment.objects.using(alias)) if has_rows else []
        states = views.states(connection)
        ours = [name for name, state in states.items() if state.ours]
        wanted = {names.view_name(segment.slug) for segment in segments}
        _check_dependents(connection, ours)
        _check_made(sorted(wanted & (set(states) - set(ours))))
        return Inventory(
            segments=sorted(segment.slug for segment in segments),
            orphans=sorted(set(ours) - wanted),
            schemas=[
                schema
                for schema in (conf.live_schema(), conf.schema())
                if value(connection, "select_schema", schema=schema)
            ],
            others=_others(alias, segments),
            has_rows=has_rows,
        )


def drop(found: Inventory) -> Iterator[Step]:
    """Drop all of it, those segments that read others first, and give each step as it is done.

    What could not be dropped carries its error, and stops nothing else but what needs it gone.
    Holds the locks of one segment at a time: AccessExclusive on its views. Rows go by Django's
    rules, with their signals.
    """
    alias, connection = router.db_for_write(Segment), connections[conf.exec_connection()]
    while True:
        failed, dropped = list[Step](), False
        # Views that no segment has may read segments, and segments may read them.
        for step in chain(
            _drop_orphans(connection, found.has_rows),
            _drop_segments(alias) if found.has_rows else (),
        ):
            if step.error:
                failed.append(step)
            else:
                dropped = True
                yield step
        if not failed:
            break
        if not dropped:
            yield from failed
            return
    if found.has_rows:
        for model in (Membership, StaticMember):
            model.objects.using(alias).all()._raw_delete(alias)
    yield from drop_shared(connection)


def drop_shared(connection: BaseDatabaseWrapper) -> Iterator[Step]:
    """Drop what all segments share, and the schemas as far as nothing of others is in them."""
    what = "the views and functions that all segments share"
    try:
        with (
            translated(SegmentExecutionError),
            session.limited(connection.alias, "drop") as opened,
        ):
            session.lock_base(opened)
            for view in ("catalog", "membership"):
                execute(opened, "drop_base_view", view=base.base_view(view))
            for function, arguments in base.functions(opened):
                execute(opened, "drop_function", function=function, arguments=arguments)
    except SegmentError as error:
        yield Step(what, error)
        return
    yield Step(what)
    for schema in (conf.live_schema(), conf.schema()):
        yield from _drop_schema(connection, schema)


def _drop_orphans(connection: BaseDatabaseWrapper, has_rows: bool) -> Iterator[Step]:
    """Drop the views that no segment has."""
    for entry in drop_orphans(connection, has_rows):
        yield Step(f"the views {entry.slug}, which no segment has", entry.error)


def _drop_segments(alias: str) -> Iterator[Step]:
    """Delete all segments with their views, those that read others first."""
    for segment in reversed(ordered(Segment.objects.using(alias))):
        what = f"segment {segment.slug}"
        try:
            with translated(SegmentExecutionError, segment.slug):
                segment.delete(using=alias)
        except SegmentError as error:
            yield Step(what, error)
        else:
            yield Step(what)


def _drop_schema(connection: BaseDatabaseWrapper, schema: str) -> Iterator[Step]:
    """Drop a schema unless something of others is in it."""
    what = f"the schema {schema}"
    try:
        with (
            translated(SegmentExecutionError),
            session.limited(connection.alias, "drop") as opened,
        ):
            session.lock_base(opened)
            if not value(opened, "select_schema", schema=schema):
                return
            kept = [each for (each,) in rows(opened, "select_contents", schema=schema)]
            comment = value(opened, "select_schema_comment", schema=schema)
            if comment and MARK not in comment:
                kept.append(f'a comment of others: "{comment}"')
            if not kept:
                execute(opened, "drop_schema", schema=sql.Identifier(schema))
    except SegmentError as error:
        yield Step(what, error)
        return
    yield Step(what, kept=kept)


def _check_dependents(connection: BaseDatabaseWrapper, ours: list[str]) -> None:
    """Raise for what others have built on any view or function of this package."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    functions = [".".join(name._obj) for name, _ in base.functions(connection)]
    found = rows(connection, "select_dependents", names=ours, functions=functions, **schemas)
    if found:
        raise SegmentExecutionError(
            "others have built on the views of segments, and nothing is dropped along with them:\n"
            + _listed([f"{dependent} needs {needs}" for dependent, needs in found]),
            hint="Drop or change these first.",
        )


def _check_made(foreign: list[str]) -> None:
    """Raise for views that have the name of a segment, and that others have made."""
    if foreign:
        raise SegmentExecutionError(
            f"this package has not made these views: {', '.join(foreign)}",
            hint="Rename them. If they are those of segments, run: manage.py sync_segments",
        )


def _others(alias: str, segments: list[Segment]) -> dict[str, int]:
    """Return how many rows of other models Django deletes along; raise for those it protects."""
    collector = _Others(using=alias)
    try:
        collector.collect(segments)
    except (ProtectedError, RestrictedError) as error:
        known = (
            error.protected_objects
            if isinstance(error, ProtectedError)
            else error.restricted_objects
        )
        named = sorted(f"{each._meta.label} {each.pk}: {each}" for each in known)
        raise SegmentExecutionError(
            "rows of other models need segments, and are protected:\n" + _listed(named),
            hint="Delete or change these first.",
        ) from None
    counts: dict[str, int] = {}
    for model, instances in collector.data.items():
        counts[model._meta.label] = len(instances)
    for queryset in collector.fast_deletes:
        label = queryset.model._meta.label
        counts[label] = counts.get(label, 0) + _count(queryset)
    return {label: n for label, n in sorted(counts.items()) if n and label != Segment._meta.label}


def _count(queryset: "models.QuerySet[Any]") -> int:
    return queryset.order_by().count()


def _listed(lines: list[str]) -> str:
    shown = [f"  {line}" for line in lines[:SHOWN]]
    return "\n".join(shown + [f"  and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN))
