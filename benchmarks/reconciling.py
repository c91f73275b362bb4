"""How long the membership index takes to follow a view, whatever the planner knows of it.

Statistics are missing or wrong when a table is new, after a bulk load, and after many rows were
deleted. Empties the membership index, so this comes last.
"""

from collections.abc import Callable
from functools import partial

from django.db import connection, transaction
from psycopg import sql
from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import Side, measure
from segments.models import Segment
from segments.refreshing.reconcile import reconcile

MEMBERS = 100_000
"""The members who enter; as many others leave. Smaller if there are fewer users."""

SMALL = 3
"""The other segments, of a few members each."""

ROUNDS = [((),)] * 3

TABLE = sql.Identifier("segments_membership")

DEFAULT_WORK_MEM = "4MB"


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Reconcile a segment whose members have all changed, in four states of the statistics."""
    database.reconnect()
    members = min(MEMBERS, users // 2)
    segment = Segment.objects.create(
        name="Followed",
        slug="followed",
        definition=f"SELECT id FROM {data.USERS.as_string()} WHERE id <= {members}",
    )
    _run("ALTER TABLE {table} SET (autovacuum_enabled = false)")
    states: dict[str, Callable[[], None]] = {
        "never analyzed": _never_analyzed,
        "analyzed when empty": _analyzed_when_empty,
        "analyzed with one page": _analyzed_with_one_page,
        "bloated": partial(_bloated, users),
    }
    sides = [
        Side(name, partial(_reconcile, segment), before=partial(_prepare, segment, members, state))
        for name, state in states.items()
    ]
    rounds = progress.track(ROUNDS, description="Reconciling")
    measure(sides, rounds)
    best = min(sides, key=lambda side: side.median)
    topic = f"Reconciling {members:,} members who enter and as many who leave, by statistics"
    return [Comparison(topic, side, best, at_most=1.5) for side in sides]


def _prepare(segment: Segment, members: int, state: Callable[[], None]) -> None:
    """Bring the table into a state, and give the segment the wrong members after that."""
    _run("TRUNCATE {table}")
    state()
    _add(segment.pk, members + 1, 2 * members)


def _reconcile(segment: Segment) -> None:
    with transaction.atomic():
        _run(f"SET LOCAL work_mem = '{DEFAULT_WORK_MEM}'")
        reconcile(connection, segment.slug, segment.pk)


def _never_analyzed() -> None:
    _run("DELETE FROM pg_statistic WHERE starelid = '{table}'::regclass")


def _analyzed_when_empty() -> None:
    _run("VACUUM ANALYZE {table}")


def _analyzed_with_one_page() -> None:
    for number in range(SMALL):
        _add(-1 - number, 1, 50)
    _run("VACUUM ANALYZE {table}")


def _bloated(users: int) -> None:
    """Leave the indexes and the statistics of a large segment that was deleted."""
    _analyzed_with_one_page()
    large = -SMALL - 1
    _add(large, 1, users)
    _run("ANALYZE {table}")
    _run(f"DELETE FROM {{table}} WHERE segment_id = {large}")
    _run("VACUUM {table}")


def _add(segment: int, first: int, last: int) -> None:
    _run(
        "INSERT INTO {table} (user_id, segment_id, entered_at) "
        f"SELECT n, {segment}, now() FROM generate_series({first}, {last}) AS n"
    )


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(table=TABLE))
