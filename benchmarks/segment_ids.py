"""How long `segment_ids` takes where few segments exist, and where many do."""

import random
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import Side, measure
from segments.models import Segment

FEW = 10
"""The segments that exist at first; the users who ask are in all of them."""

MANY = 1_000

ASKING = 1_000
"""The users who ask."""

OTHERS = 10
"""The members of each segment that the users who ask are not in."""

ROUNDS = 20
CALLS = 500
WARM_UP = 50


def compare(progress: Progress) -> list[Comparison]:
    """Ask in two databases, equal but for 990 segments, in which segments users are."""
    half = Segment.objects.get(slug="half")
    asking = list(half.members.order_by("?")[:ASKING])
    outside = get_user_model().objects.filter(is_staff=False).values_list("pk", flat=True)
    others = list(outside[:10_000])
    for number in range(1, FEW):
        _create_list(number, asking)
    data.vacuum()
    database.copy_as_few()
    database.reconnect()
    for number in progress.track(range(FEW, MANY), description=f"Creating {MANY:,} segments"):
        _create_list(number, random.sample(others, OTHERS))
    data.vacuum()

    few = _asking(FEW, database.FEW)
    many = _asking(MANY, database.NAME)
    calls = [[(user,) for user in random.sample(asking, CALLS)] for _ in range(ROUNDS)]
    rounds = progress.track(calls, description="Segments of a user")
    measure([few, many], rounds, WARM_UP)
    database.reconnect()
    return [
        Comparison(
            f"The segments of a user, who is in {FEW} of all that exist",
            many,
            few,
            at_most=1.3,
            at_least=1 / 1.3,
        )
    ]


def _create_list(number: int, ids: Iterable[Any]) -> None:
    segment = Segment(name=f"List {number}", slug=f"list-{number}")
    segment.static_ids = ids
    segment.save()


def _asking(count: int, name: str) -> Side:
    return Side(
        f"segment_ids, {count:,} exist",
        lambda user: user.segment_ids,
        before=partial(database.reconnect, name),
    )
