"""How the demo prints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(highlight=False)


def heading(title: str) -> None:
    """Print what comes next."""
    console.print(f"\n[bold cyan]{title}[/]")


@contextmanager
def timed(title: str) -> Iterator[None]:
    """Print a heading, and at the end how long it took."""
    heading(title)
    started = time.perf_counter()
    yield
    console.print(f"[dim]{time.perf_counter() - started:.2f} s[/]")
