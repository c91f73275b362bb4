"""How long `has_member` takes, against a prepared statement and against the ORM."""

import random
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from psycopg import sql
from rich.progress import Progress

from benchmarks import database
from benchmarks.report import Comparison
from benchmarks.timing import Side, measure
from segments.models import Segment

ROUNDS = 20
CALLS = 500
WARM_UP = 50

PROBE = sql.SQL("SELECT 1 FROM {} WHERE user_id = %s").format(sql.Identifier("segments", "half"))


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Ask of random users, members or not, whether they are in the segment `half`."""
    segment = Segment.objects.get(slug="half")
    user_model = get_user_model()
    ids = range(1, users + 1)
    calls = [[(user_model(pk=key),) for key in random.sample(ids, CALLS)] for _ in range(ROUNDS)]
    with database.connect() as plain:
        probe = PROBE.as_string()

        def raw(user: Any) -> object:
            return plain.execute(probe, (user.pk,), prepare=True).fetchone()

        def orm(user: Any) -> bool:
            return segment.members.filter(pk=user.pk).exists()

        prepared = Side("psycopg alone, prepared", raw)
        by_default = Side("has_member()", segment.has_member, before=database.reconnect)
        preparing = Side(
            "has_member(), prepare_threshold=0",
            segment.has_member,
            before=partial(database.reconnect, prepare_threshold=0),
        )
        by_orm = Side("members.filter(pk=...).exists()", orm, before=database.reconnect)
        rounds = progress.track(calls, description="Membership checks")
        measure([prepared, by_default, preparing, by_orm], rounds, WARM_UP)
    database.reconnect()
    topic = "Is a user in the segment?"
    return [
        Comparison(topic, by_default, prepared, at_most=1.7),
        Comparison(topic, preparing, prepared, at_most=1.15),
        Comparison(topic, by_default, by_orm, at_most=0.45),
    ]
