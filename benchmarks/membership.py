"""How long `has_member` takes, against a prepared statement and against the ORM."""

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import psycopg
from django.contrib.auth import get_user_model
from psycopg import sql
from rich.progress import Progress

from benchmarks import database
from benchmarks.placement import possible
from benchmarks.report import Comparison
from benchmarks.timing import Call, Side, measure
from segments.models import Segment

ROUNDS = 20
CALLS = 500
WARM_UP = 50

PROBE = sql.SQL("SELECT 1 FROM {} WHERE user_id = %s").format(sql.Identifier("segments", "half"))


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Ask of random users, members or not, whether they are in the segment `half`."""
    user_model, ids = get_user_model(), range(1, users + 1)
    calls = [[(user_model(pk=key),) for key in random.sample(ids, CALLS)] for _ in range(ROUNDS)]
    comparisons = []
    with database.connect() as plain:
        for placement in possible(plain):
            rounds = progress.track(calls, description=f"Checks, {placement.name}")
            placement.place(plain)
            with placement.client_placed(), database.kept(placement.place) as use:
                comparisons += _compare(plain, use, placement.name, rounds)
    return comparisons


def _compare(
    plain: psycopg.Connection[Any],
    use: Callable[[int | None], None],
    placement: str,
    rounds: Iterable[list[Call]],
) -> list[Comparison]:
    segment, probe = Segment.objects.get(slug="half"), PROBE.as_string()

    def raw(user: Any) -> object:
        return plain.execute(probe, (user.pk,), prepare=True).fetchone()

    def orm(user: Any) -> bool:
        return segment.members.filter(pk=user.pk).exists()

    once, kept = partial(use, None), partial(use, 0)
    statement = Side("psycopg, prepared", raw)
    check = Side("has_member()", segment.has_member, before=once)
    prepared = Side("has_member(), prepared", segment.has_member, before=kept)
    by_orm = Side("members.filter().exists()", orm, before=once)
    measure([statement, check, prepared, by_orm], rounds, WARM_UP)
    topic = f"Is a user in the segment? {placement.capitalize()}"
    return [
        Comparison(topic, check, statement, at_most=2.0),
        Comparison(topic, prepared, statement, at_most=1.2),
        Comparison(topic, check, by_orm, at_most=0.45),
    ]
