"""How long runs over many segments take: with nothing to do, and on one connection or on two."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import ONCE, Side, measure
from segments.models import Segment, Status
from segments.refreshing import many

DEFINITIONS = (
    "SELECT id FROM {users} WHERE username LIKE '%{n:03}'",
    "SELECT id FROM {users} WHERE is_staff AND id % 150 = {n}",
    "SELECT user_id FROM {orders} WHERE placed_at >= {week} AND placed_at < {week_after}",
    """
    SELECT user_id FROM {orders}
    WHERE placed_at >= {week} AND placed_at < {quarter_after}
    GROUP BY user_id HAVING sum(amount) >= 250
    """,
    """
    SELECT user_id FROM {orders}
    WHERE placed_at >= {week} AND placed_at < {quarter_after}
    GROUP BY user_id HAVING count(*) >= 3
    """,
    """
    SELECT u.id FROM {users} AS u JOIN {orders} AS o ON o.user_id = u.id
    WHERE u.is_staff AND o.product = {rare} AND o.amount < {price}
    """,
    """
    SELECT user_id FROM {orders} WHERE product = {rare} AND amount < {price}
    EXCEPT
    SELECT user_id FROM {orders} WHERE product = {frequent}
    """,
    """
    SELECT user_id FROM {orders} AS o WHERE placed_at >= {week} AND placed_at < {week_after}
    AND NOT EXISTS (
        SELECT FROM {orders} AS later WHERE later.user_id = o.user_id
        AND later.placed_at >= {week_after} AND later.placed_at < {quarter_after}
    )
    """,
)
"""Filters and aggregates, each of them written down with other numbers in many segments."""

MANY = 1_000

LARGE = 16
"""The segments of a run on several connections; together they have all users."""

ROUNDS = [ONCE] * 3


def compare(progress: Progress) -> list[Comparison]:
    """Measure runs over segments that are created for that."""
    database.reconnect()
    return [*_nothing_changed(progress), *_side_by_side(progress)]


def _nothing_changed(progress: Progress) -> list[Comparison]:
    numbers = progress.track(range(MANY), description=f"Creating {MANY:,} more segments")
    segments = [_create(f"many-{number}", _definition(number)) for number in numbers]
    data.vacuum()
    skipped = Side("refresh_many()", _run(segments, Status.UNCHANGED))
    forced = Side("refresh_many(), forced", _run(segments, Status.REFRESHED, force=True))
    task = progress.add_task(f"Refreshing {MANY:,} segments", total=3)
    for side in (skipped, forced, skipped):  # One forced run is long enough to stand for itself.
        measure([side], [ONCE])
        progress.advance(task)
    topic = f"A run over {MANY:,} segments, nothing changed"
    return [Comparison(topic, skipped, forced, at_most=0.05)]


def _side_by_side(progress: Progress) -> list[Comparison]:
    users = data.USERS.as_string()
    segments = [
        _create(f"large-{number}", f"SELECT id FROM {users} WHERE id % {LARGE} = {number}")
        for number in range(LARGE)
    ]
    data.vacuum()
    run = partial(_run, segments, Status.REFRESHED, force=True)
    one = Side("forced, jobs=1", run(jobs=1))
    two = Side("forced, jobs=2", run(jobs=2))
    measure([two, one], progress.track(ROUNDS, description="Refreshing side by side"))
    topic = f"A run over {LARGE} large segments, on two connections"
    return [Comparison(topic, two, one, at_most=0.7)]


def _run(
    segments: Iterable[Segment], status: str, force: bool = False, jobs: int = 1
) -> Callable[[], None]:
    """Return a run that must give all segments one status."""

    def run() -> None:
        results = list(many.refresh_many(segments, force=force, jobs=jobs))
        if others := [result for result in results if result.status != status]:
            raise RuntimeError(f"{len(others)} refreshes did not end as {status}: {others[0]}")

    return run


def _create(slug: str, definition: str) -> Segment:
    return Segment.objects.create(name=slug, slug=slug, definition=definition)


def _definition(number: int) -> str:
    """Return one of as many definitions as there are numbers."""
    n, shape = divmod(number, len(DEFINITIONS))
    return DEFINITIONS[shape].format(
        users=data.USERS.as_string(),
        orders=data.ORDERS.as_string(),
        n=n,
        week=_day(7 * n),
        week_after=_day(7 * n + 7),
        quarter_after=_day(7 * n + 90),
        rare=40 + n % 60,
        frequent=n % 40,
        price=40 + n,
    )


def _day(number: int) -> str:
    return f"'{data.FIRST_DAY + timedelta(days=number)}'"
