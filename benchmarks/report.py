"""What the benchmarks say."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from platform import python_version

import django
import psycopg
from django.db import connection
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Side
from segments import conf

PIPED_WIDTH = 140
"""Columns of a table that no terminal limits."""


@dataclass(frozen=True)
class Comparison:
    """Two sides of a measurement, and the ratio of them that is wanted.

    Attributes:
        topic: Under what heading it stands.
        side, against: What is compared with what.
        at_most, at_least: The goal for the ratio of their medians, if there is one.
    """

    topic: str
    side: Side
    against: Side
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float:
        """How many times as long as the other side this one takes."""
        return self.side.median / self.against.median

    @property
    def goal(self) -> str:
        """The goal in words, or nothing."""
        if self.at_most is None:
            return ""
        if self.at_least is None:
            return f"<= {self.at_most:.2f}"
        return f"{self.at_least:.2f} to {self.at_most:.2f}"

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.at_most is None:
            return None
        return (self.at_least or 0) <= self.ratio <= self.at_most


def console() -> Console:
    """Return the console for the report; where nobody looks at a terminal, it does not wrap."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def print_header(out: Console, users: int) -> None:
    """Print what is measured, and on what."""
    connection.ensure_connection()
    server = connection.connection.info.parameter_status("server_version")
    out.print(
        f"PostgreSQL {server}, Python {python_version()}, Django {django.get_version()}, "
        f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__}), {users:,} users, "
        f"{datetime.now().astimezone():%Y-%m-%d}"
    )
    out.print(
        f"Medians. The sides of a comparison take turns, all with a work_mem of {conf.work_mem()}; "
        "the users are stored in random order of their ids."
    )


def print_table(out: Console, comparisons: Iterable[Comparison]) -> None:
    """Print the comparisons, and how many goals are missed."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("what", "median", "against", "median", "ratio", "goal", "met"):
        right = name in ("median", "ratio", "goal")
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    topic, missed = "", 0
    for each in comparisons:
        if each.topic != topic:
            if topic:
                table.add_section()
            topic = each.topic
            table.add_row(f"[bold]{topic}[/bold]")
        missed += each.met is False
        table.add_row(
            f"  {each.side.name}",
            duration(each.side.median),
            each.against.name,
            duration(each.against.median),
            f"{each.ratio:#.3g}",
            each.goal,
            {True: "[green]yes[/green]", False: "[red]NO[/red]", None: ""}[each.met],
        )
    out.print(table)
    out.print("All goals are met." if not missed else f"Goals missed: {missed}")


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: 1.23 s, 12.3 ms or 123 us."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1_000_000:.0f} us"
