"""How long it takes to compare two segments, and many in one statement."""

from collections.abc import Callable
from functools import partial

from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import ONCE, Side, measure
from segments import overlap
from segments.models import Segment

MANY = 20

TWO_ROUNDS = [ONCE] * 9
MANY_ROUNDS = [ONCE] * 3

# Each segment has half of the users, and shares half of them with each other one.
DEFINITION = "SELECT id FROM {users} WHERE mod(hashint8extended(id, {number}), 2) = 0"


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Compare segments of half of the users each."""
    slugs = [f"overlap-{number}" for number in range(MANY)]
    for number, slug in enumerate(progress.track(slugs, description="Segments to compare")):
        definition = DEFINITION.format(users=data.USERS.as_string(), number=number)
        Segment.objects.create(name=slug, slug=slug, definition=definition)
    data.vacuum()
    database.reconnect()
    two = Side("overlap(), 2 segments", partial(overlap, slugs[:2]))
    counts = Side("count_members() of both, and a join", _counts(slugs[:2]))
    measure([two, counts], progress.track(TWO_ROUNDS, description="Comparing two"))
    many = Side(f"overlap(), {MANY} segments", partial(overlap, slugs))
    measure([many], progress.track(MANY_ROUNDS, description=f"Comparing {MANY}"))
    for slug in slugs:
        Segment.objects.get(slug=slug).delete()
    data.vacuum()
    half = users // 2
    return [
        Comparison(f"Comparing segments of {half:,} users", two, counts, at_most=1.5),
        Comparison(f"Comparing segments of {half:,} users", many, two),
    ]


def _counts(slugs: list[str]) -> Callable[[], None]:
    """Return what a project would do for the same numbers: three queries."""
    first, second = (Segment.objects.get(slug=slug) for slug in slugs)

    def count() -> None:
        first.count_members()
        second.count_members()
        first.members.filter(pk__in=second.members.values("pk")).count()

    return count
