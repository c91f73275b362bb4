"""What the benchmarks say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from platform import python_version
from typing import Literal

import django
import psycopg
from django.db import connection
from rich.console import Console
from rich.table import Table

from benchmarks.timing import Side
from segments import conf

PIPED_WIDTH = 140
"""Columns of output that no terminal limits."""

TABLE_WIDTH = 98
"""Columns in which no name is wrapped."""

NUMBERS = {"median": 8, "p99": 8, "ratio": 6, "goal": 9, "met": 3}
"""The widths of what is never wrapped; the names of the sides share the rest evenly."""

SIDES = """
The sides of a comparison take turns. All have a work_mem of {work_mem} and read the same users,
who are stored in random order of their ids. Half of them are in the segment.

segment.view.refresh()    its view alone, without the membership index
naive view                a materialized view of the bare definition, without ORDER BY,
                          and REFRESH MATERIALIZED VIEW CONCURRENTLY
CREATE TABLE AS + index   the bare definition, and a unique index: nobody could read meanwhile
..., prepared             on a connection with the option prepare_threshold=0
psycopg, prepared         the same query by psycopg alone, with prepare=True, of the view or the
                          membership index without the users
has_member(), refreshing  while another process refreshes the segment; 1 % of the users changed
                          sides before each of its refreshes
plain COPY                the same file into a table with the columns and indexes of lists, in
                          which no line is checked, and from which nobody becomes a member
filter(pk__in=ids)        the ORM's query of the same segments, all their columns
Redis                     a server of its own with sets of the same members, on a Unix socket
refresh_many(), forced    one run that recomputes all; a segment has some thousands of members"""


@dataclass(frozen=True)
class Comparison:
    """Two sides of a measurement, and the ratio of them that is wanted.

    Attributes:
        topic: Under what heading it stands.
        side, against: What is compared with what.
        at_most, at_least: The goal for their ratio, if there is one.
        by: Which of their times count.
    """

    topic: str
    side: Side
    against: Side
    at_most: float | None = None
    at_least: float | None = None
    by: Literal["median", "p99"] = "median"

    @property
    def times(self) -> tuple[float, float]:
        """What the sides take, in seconds."""
        if self.by == "p99":
            return self.side.p99, self.against.p99
        return self.side.median, self.against.median

    @property
    def ratio(self) -> float:
        """How many times as long as the other side this one takes."""
        time, against = self.times
        return time / against

    @property
    def goal(self) -> str:
        """The goal in words, or nothing."""
        if self.at_most is None:
            return ""
        if self.at_least is None:
            return f"<= {self.at_most:.2f}"
        return f"{self.at_least:.2f}-{self.at_most:.2f}"

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
    out.print(SIDES.format(work_mem=conf.work_mem()))


def print_tables(out: Console, comparisons: Sequence[Comparison]) -> None:
    """Print the comparisons by topic, and how many goals are missed."""
    for (topic, by), group in groupby(comparisons, key=lambda each: (each.topic, each.by)):
        out.print(f"\n[bold]{topic}[/bold]")
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.width = min(TABLE_WIDTH, out.width)
        for name in ("what", by, "against", by, "ratio", "goal", "met"):
            if name in NUMBERS:
                table.add_column(name, width=NUMBERS[name], justify="right", no_wrap=True)
            else:
                table.add_column(name, ratio=1, overflow="fold")
        for each in group:
            time, against = map(duration, each.times)
            table.add_row(
                each.side.name,
                time,
                each.against.name,
                against,
                f"{each.ratio:#.3g}",
                each.goal,
                {True: "[green]yes[/green]", False: "[bold red]NO[/bold red]", None: ""}[each.met],
            )
        out.print(table)
    missed = sum(each.met is False for each in comparisons)
    out.print(f"\nGoals missed: {missed}" if missed else "\nAll goals are met.")


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it: 1.23 s, 12.3 ms or 123 us."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1_000_000:.0f} us"
