"""On which cores the two ends of a connection run.

A membership check takes about twice as long where its question and its answer have to wake another
core, while what Python does about it takes as long as ever. Left alone, the scheduler changes its
mind in the middle of a run, and the ratio of two sides with it. So both are measured, with every
process pinned, if the server runs on this machine and its processes can be pinned.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.database import NAME


@dataclass(frozen=True)
class Placement:
    """Where client and server run; without cores, that is left to the scheduler.

    Attributes:
        other: A core that neither of them has, for what else is to run meanwhile.
    """

    name: str = "cores as the scheduler likes"
    client: int | None = None
    server: int | None = None
    other: int | None = None

    @contextmanager
    def client_placed(self) -> Iterator[None]:
        """Run this thread on its core for as long as this lasts."""
        if sys.platform != "linux" or self.client is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.client})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def place(self, connection: psycopg.Connection[Any]) -> None:
        """Let the server's process of a connection run on its core."""
        if sys.platform == "linux" and self.server is not None:
            os.sched_setaffinity(connection.info.backend_pid, {self.server})


def possible(connection: psycopg.Connection[Any]) -> list[Placement]:
    """Return the placements that can be had with the server of a connection."""
    if sys.platform != "linux" or not _is_here(connection.info.backend_pid):
        return [Placement()]
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return [Placement()]
    pinned = [
        Placement("client and server on one core", first, first, others[0]),
        Placement("client and server on two cores", first, others[0]),
    ]
    try:
        pinned[0].place(connection)
    except OSError:  # Another account's process.
        return [Placement()]
    return pinned


def _is_here(pid: int) -> bool:
    """Return whether this is a process of the benchmarks' database on this machine."""
    try:
        return NAME.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
