"""How long a refresh takes, against what one would write by hand."""

import itertools
from functools import partial
from typing import Any

import psycopg
from django.db import connection, transaction
from psycopg import sql
from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import ONCE, Side, measure
from segments import conf
from segments.models import Segment

ROUNDS = [ONCE] * 5

NAIVE = sql.Identifier("naive")
COPY = sql.Identifier("copied")


def compare(progress: Progress) -> list[Comparison]:
    """Measure first loads, refreshes without changes and refreshes after some.

    Leaves the segment `half`, refreshed.
    """
    with database.connect() as plain:
        comparisons = [
            *_first_load(progress, plain),
            *_unchanged(progress, plain),
            *_changed(progress, plain),
            *_tracked(progress),
        ]
        plain.execute(sql.SQL("DROP MATERIALIZED VIEW {}").format(NAIVE))
    return comparisons


def _first_load(progress: Progress, plain: psycopg.Connection[Any]) -> list[Comparison]:
    """Leave the segment of the last round."""
    create, copy = Side("Segment.objects.create()", _create), _copying(plain)

    def delete(number: int) -> None:
        for segment in Segment.objects.filter(slug="half"):
            segment.delete()
        data.vacuum()

    rounds = progress.track(ROUNDS, description="First load")
    measure([create, copy], rounds, before=delete)
    return [Comparison("First load of half of the users", create, copy)]


def _unchanged(progress: Progress, plain: psycopg.Connection[Any]) -> list[Comparison]:
    """Leave the naive materialized view."""
    segment = Segment.objects.get(slug="half")
    plain.execute(sql.SQL("CREATE MATERIALIZED VIEW {} AS {}").format(NAIVE, data.DEFINITION))
    plain.execute(sql.SQL("CREATE UNIQUE INDEX ON {} (id)").format(NAIVE))
    data.vacuum()
    whole = Side("segment.refresh()", segment.refresh)
    view = Side("segment.view.refresh()", partial(_refresh_view, segment))
    statement = sql.SQL("REFRESH MATERIALIZED VIEW CONCURRENTLY {}").format(NAIVE)
    naive = Side("naive view", partial(plain.execute, statement))
    copy = _copying(plain)
    rounds = progress.track(ROUNDS, description="Refresh, nothing changed")
    measure([whole, view, naive, copy], rounds)
    topic = "Refresh, nothing changed"
    return [
        Comparison(topic, view, naive, at_most=0.35),
        Comparison(topic, view, copy, at_most=3),
        Comparison(topic, whole, copy, at_most=4),
        Comparison(topic, whole, naive),
    ]


def _changed(progress: Progress, plain: psycopg.Connection[Any]) -> list[Comparison]:
    segment = Segment.objects.get(slug="half")
    whole, copy = Side("segment.refresh()", segment.refresh), _copying(plain)
    rounds = progress.track(ROUNDS, description="Refresh, 1 % changed")
    measure([whole, copy], rounds, before=data.flip)
    return [Comparison("Refresh, 1 % of the users changed sides", whole, copy)]


def _tracked(progress: Progress) -> list[Comparison]:
    """Measure what it costs to write who entered and who left."""
    segment, seeds = Segment.objects.get(slug="half"), itertools.count(1000)

    def prepare(track: bool) -> None:
        Segment.objects.filter(pk=segment.pk).update(track_changes=track)
        data.flip(next(seeds), one_in=1000)

    run = partial(segment.refresh, force=True)
    tracked, untracked = (
        Side(f"track_changes={track}", run, before=partial(prepare, track))
        for track in (True, False)
    )
    measure([tracked, untracked], progress.track([ONCE] * 9, description="Refresh, 0.1 % changed"))
    topic = "Refresh, 0.1 % of the users changed sides"
    return [Comparison(topic, tracked, untracked, at_most=1.1)]


def _create() -> None:
    Segment.objects.create(name="Half", slug="half", definition=data.DEFINITION.as_string())


def _refresh_view(segment: Segment) -> None:
    """Do what `Segment.refresh` does to the view, and nothing else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('work_mem', %s, true)", [conf.work_mem()])
        segment.view.refresh(concurrently=True)


def _copying(plain: psycopg.Connection[Any]) -> Side:
    """Return the limit: to write the rows down and index them, with nobody reading meanwhile."""

    def copy() -> None:
        plain.execute(sql.SQL("CREATE TABLE {} AS {}").format(COPY, data.DEFINITION))
        plain.execute(sql.SQL("CREATE UNIQUE INDEX ON {} (id)").format(COPY))

    drop = partial(plain.execute, sql.SQL("DROP TABLE {}").format(COPY))
    return Side("CREATE TABLE AS + index", copy, after=drop)
