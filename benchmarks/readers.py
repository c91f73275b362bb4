"""How long `has_member` takes while the segment is being refreshed."""

import random
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from django.contrib.auth import get_user_model
from django.db import connection
from rich.progress import Progress

from benchmarks import data, database
from benchmarks.placement import Placement, possible
from benchmarks.report import Comparison
from benchmarks.timing import Side
from segments.models import Segment

ROUNDS = 5
"""The refreshes; more, where they are so short that few checks fall into them."""

CALLS = 2_000
"""The checks before each refresh, and the fewest during all of them."""

WARM_UP = 50


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Ask of random users whether they are in `half`, in turn while it is refreshed and not."""
    with database.connect() as plain:
        placement = possible(plain)[0]
    database.reconnect()
    placement.place(connection.connection)
    user_model, segment = get_user_model(), Segment.objects.get(slug="half")
    idle = Side("has_member(), idle", segment.has_member)
    busy = Side("has_member(), refreshing", segment.has_member)

    def ask(side: Side) -> None:
        side.time(user_model(pk=random.randint(1, users)))

    task = progress.add_task("Checks while refreshing", total=ROUNDS)
    with _refresher(placement) as refresher, placement.client_placed():
        for number in count():
            data.flip(number)
            for _ in range(WARM_UP):
                segment.has_member(number)
            for _ in range(CALLS):
                ask(idle)
            for _ in _during_a_refresh(refresher):
                ask(busy)
            progress.advance(task)
            if number + 1 >= ROUNDS and len(busy.times) >= CALLS:
                break
    elsewhere = "" if placement.other is None else ", the refresh on the other"
    topic = f"Is a user in the segment that is being refreshed? {placement.name.capitalize()}"
    return [Comparison(topic + elsewhere, busy, idle, at_most=2, by="p99")]


@contextmanager
def _refresher(placement: Placement) -> Iterator[subprocess.Popen[str]]:
    """Start a process that refreshes when it is told to, on a connection of its own."""
    command = [sys.executable, "-m", "benchmarks.refreshing"]
    if placement.other is not None:
        command.append(str(placement.other))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        yield process
        process.communicate()  # Ends its input, and so the process.


def _during_a_refresh(refresher: subprocess.Popen[str]) -> Iterator[None]:
    """Have the segment refreshed, and yield again and again until that is done."""
    assert refresher.stdin
    assert refresher.stdout
    refresher.stdin.write("refresh\n")
    if refresher.stdout.readline() != "begun\n":
        raise RuntimeError("The process that refreshes has ended.")
    while not select.select([refresher.stdout], [], [], 0)[0]:
        yield
    if refresher.stdout.readline() != "done\n":
        raise RuntimeError("The refresh has failed.")
