"""How long the answers for one user or for many take, against bare psycopg, the ORM and Redis.

Without Redis, its lines are left out, and the report says why.
"""

import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from rich.progress import Progress

from benchmarks import database, peer
from benchmarks.peer import HALF, Peer, set_of
from benchmarks.placement import Placement, possible
from benchmarks.report import Comparison
from benchmarks.timing import Call, Side, measure
from segments.models import Segment

ROUNDS = 20
CALLS = 300
WARM_UP = 50

SLOW_CALLS = 100
"""The calls a round of what takes a millisecond."""

MANY = 10_000
"""The users who are asked about at once."""

IDS = sql.SQL("SELECT segment_id FROM segments_membership WHERE user_id = %s ORDER BY segment_id")
SLUGS = sql.SQL("""
    SELECT s.slug FROM segments_membership AS m JOIN segments_segment AS s ON s.id = m.segment_id
    WHERE m.user_id = %s ORDER BY s.slug
""")
PROBE = sql.SQL("SELECT 1 FROM {} WHERE user_id = %s").format(sql.Identifier("segments", HALF))


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Ask about users who are in ten of all segments, the segment `half` among them."""
    asking = list(Segment.objects.get(slug="list-1").members)
    comparisons = []
    with ExitStack() as stack:
        plain = stack.enter_context(database.connect())
        redis = None if peer.missing() else stack.enter_context(peer.started())
        if redis:
            redis.load(HALF, Segment.objects.get(slug=HALF).member_ids())
            for user in asking:
                redis.load(set_of(user), user.segment_ids)
        for placement in possible(plain):
            placement.place(plain)
            if redis and placement.server is not None and sys.platform == "linux":
                os.sched_setaffinity(redis.pid, {placement.server})
            run = partial(_measure, progress, placement)
            with placement.client_placed(), database.kept(placement.place) as use:
                comparisons += _of_one(run, plain, redis, use, placement, asking)
                comparisons += _as_objects(run, partial(use, None), placement, asking)
                comparisons += _of_many(run, redis, partial(use, None), placement, users)
    return comparisons


def _measure(
    progress: Progress,
    placement: Placement,
    sides: Sequence[Side],
    calls: Iterable[Sequence[Call]],
) -> None:
    rounds = progress.track([*calls], description=f"Answers, {placement.name}")
    measure(sides, rounds, WARM_UP)


def _of_one(
    run: Callable[..., None],
    plain: psycopg.Connection[Any],
    redis: Peer | None,
    use: Callable[[int | None], None],
    placement: Placement,
    asking: list[Any],
) -> list[Comparison]:
    """Compare what is one query for one user, with and without prepared statements."""
    questions = (
        ("is_member(slug)", lambda user: user.is_member(HALF), PROBE, 2.5, 1.6),
        ("segment_ids", lambda user: user.segment_ids, IDS, 2.0, 1.5),
        ("segment_slugs", lambda user: user.segment_slugs, SLUGS, 2.0, 1.5),
    )
    comparisons = []
    for name, ask, query, at_most, at_most_kept in questions:
        once = Side(name, ask, before=partial(use, None))
        kept = Side(f"{name}, prepared", ask, before=partial(use, 0))
        bare = Side("psycopg, prepared", _prepared(plain, query.as_string()))
        sides = [once, kept, bare]
        if redis:
            sides.append(_of_redis(redis, name))
        run(sides, [[(user,) for user in random.sample(asking, CALLS)] for _ in range(ROUNDS)])
        topic = f"{name} of a user. {placement.name.capitalize()}"
        comparisons += [
            Comparison(topic, once, bare, at_most=at_most),
            Comparison(topic, kept, bare, at_most=at_most_kept),
            *(Comparison(topic, once, other) for other in sides[3:]),
        ]
    return comparisons


def _prepared(plain: psycopg.Connection[Any], query: str) -> Callable[[Any], object]:
    return lambda user: plain.execute(query, (user.pk,), prepare=True).fetchall()


def _of_redis(redis: Peer, name: str) -> Side:
    if name == "is_member(slug)":
        return Side("Redis, SISMEMBER", lambda user: redis.client.sismember(HALF, user.pk))
    return Side("Redis, SMEMBERS", lambda user: redis.client.smembers(set_of(user)))


def _as_objects(
    run: Callable[..., None],
    before: Callable[[], None],
    placement: Placement,
    asking: list[Any],
) -> list[Comparison]:
    """Compare the segments of a user as objects with the ORM's query of the same keys."""
    keys = {user.pk: user.segment_ids for user in asking}
    found = Side("list(user.segments)", lambda user: list(user.segments), before=before)
    by_key = Side(
        "filter(pk__in=ids)",
        lambda user: list(Segment.objects.filter(pk__in=keys[user.pk])),
        before=before,
    )
    calls = [[(user,) for user in random.sample(asking, SLOW_CALLS)] for _ in range(ROUNDS)]
    run([found, by_key], calls)
    topic = f"The segments of a user as objects. {placement.name.capitalize()}"
    return [Comparison(topic, found, by_key, at_most=1.3)]


def _of_many(
    run: Callable[..., None],
    redis: Peer | None,
    before: Callable[[], None],
    placement: Placement,
    users: int,
) -> list[Comparison]:
    """Compare a check of many users at once with Redis."""
    if redis is None:
        return []
    half, client = Segment.objects.get(slug=HALF), redis.client

    def pipeline(keys: list[int]) -> object:
        with client.pipeline(transaction=False) as waiting:
            for key in keys:
                waiting.sismember(HALF, key)
            return waiting.execute()

    many = Side(f"has_members({MANY:,})", half.has_members, before=before)
    piped = Side("Redis, pipeline of SISMEMBER", pipeline)
    at_once = Side("Redis, SMISMEMBER", lambda keys: client.smismember(HALF, keys))
    sample = [*range(1, users + 1)]
    calls: list[list[Call]] = [
        [(random.sample(sample, MANY),) for _ in range(3)] for _ in range(6)
    ]
    run([many, piped, at_once], calls)
    topic = f"Which of {MANY:,} users are in the segment? {placement.name.capitalize()}"
    return [Comparison(topic, many, piped, at_most=0.2), Comparison(topic, many, at_once)]
