"""Timing several things in turn, so that whatever else the machine does hits all of them alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import Any

Call = tuple[Any, ...]
"""The arguments of one call."""

ONCE: tuple[Call, ...] = ((),)
"""One call without arguments."""


def nothing() -> None:
    """Do nothing."""


@dataclass
class Side:
    """One of the things that are timed against each other.

    Attributes:
        name: What it is, for the report.
        run: What is timed.
        before, after: What each round does around it, untimed.
        times: The seconds that each call took.
    """

    name: str
    run: Callable[..., object]
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of its times, in seconds."""
        return median(self.times)

    @property
    def p99(self) -> float:
        """The time that 99 % of its calls take at most, in seconds."""
        return quantiles(self.times, n=100)[98]

    def time(self, *arguments: Any) -> None:
        """Run once, timed."""
        run = self.run
        start = perf_counter()
        run(*arguments)
        self.times.append(perf_counter() - start)


def measure(
    sides: Sequence[Side],
    rounds: Iterable[Sequence[Call]],
    warm_up: int = 0,
    before: Callable[[int], object] | None = None,
) -> None:
    """Time all sides in each round, each round starting with another one.

    Args:
        rounds: The arguments of each call in a round.
        warm_up: How many calls of a round come first, untimed.
        before: What happens at the start of a round, untimed; gets its number, from 0 on.
    """
    for number, calls in enumerate(rounds):
        if before:
            before(number)
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            side.before()
            for arguments in calls[:warm_up]:
                side.run(*arguments)
            for arguments in calls:
                side.time(*arguments)
            side.after()
