"""All the benchmarks, one after the other."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import (
    data,
    database,
    membership,
    overlapping,
    readers,
    reconciling,
    refresh,
    report,
    runs,
    schema_change,
    segment_ids,
)


def run(users: int) -> None:
    """Measure everything on so many users, and print it."""
    out = report.console()
    with database.created():
        report.print_header(out, users)
        with _progress() as progress:
            data.create_users(progress, users)
            comparisons = [
                *refresh.compare(progress),
                *membership.compare(progress, users),
                *readers.compare(progress, users),
                *segment_ids.compare(progress),
                *overlapping.compare(progress, users),
                *schema_change.compare(progress),
                *runs.compare(progress),
                *reconciling.compare(progress, users),
            ]
    report.print_tables(out, comparisons)


def _progress() -> Progress:
    """Return a display that a terminal alone gets, and that seldom disturbs what is measured."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        refresh_per_second=1,
        transient=True,
    )
