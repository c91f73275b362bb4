"""manage.py refresh_segments"""

import signal
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from segments.models import Segment, Status
from segments.refreshing import history, many, schedule
from segments.refreshing.order import dependents
from segments.refreshing.watch import watch as watching


def number(text: str) -> int:
    """Take a number of connections."""
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError("a whole number from 1 on")
    return int(text)


class Command(BaseCommand):
    """Refresh segments and report on each."""

    help = (
        "Recomputes the members of segments, those that others read first, where anything was "
        "written since the last time. Goes on after a failure; a segment that failed keeps its "
        "members, and the exit code is 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs and options."""
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="All active ones if none.")
        parser.add_argument(
            "--due", action="store_true", help="Only those whose interval has passed."
        )
        parser.add_argument(
            "--watch", action="store_true", help="Stay, and refresh what is due until SIGTERM."
        )
        parser.add_argument(
            "--with-dependents",
            action="store_true",
            help="Go on to the active ones that read them.",
        )
        parser.add_argument(
            "--jobs",
            type=number,
            default=1,
            metavar="N",
            help="Refresh N at a time, on a connection each.",
        )
        parser.add_argument(
            "--force", action="store_true", help="Recompute also where nothing was written."
        )
        parser.add_argument(
            "--no-concurrently",
            action="store_false",
            dest="concurrently",
            help="Rewrite all rows: faster where most of them change, but readers wait.",
        )

    def handle(self, *, slugs: list[str], due: bool, watch: bool, **options: Any) -> None:
        """Refresh once, or watch."""
        self.console = Console(file=options.get("stdout") or sys.stdout)
        if watch:
            if slugs or options["with_dependents"]:
                raise CommandError("--watch is for all active segments; name none.")
            self._watch(options)
            return
        segments = self._segments(slugs)
        if due:
            segments = schedule.due(segments)
        if options["with_dependents"]:
            segments = list({s.pk: s for s in [*segments, *dependents(segments)]}.values())
        if not segments:
            self.stdout.write("No segment is due." if due else "There are no active segments.")
            return
        results = many.refresh_many(
            segments,
            options["concurrently"],
            force=options["force"],
            jobs=options["jobs"],
            scheduled=due,
        )
        self._report(results, len(segments))

    def _segments(self, slugs: list[str]) -> list[Segment]:
        if not slugs:
            return list(Segment.objects.filter(is_active=True))
        segments = list(Segment.objects.filter(slug__in=slugs))
        unknown = sorted(set(slugs) - {segment.slug for segment in segments})
        if unknown:
            raise CommandError(f"There is no segment with the slug {', '.join(unknown)}.")
        return segments

    def _report(self, results: Iterable[history.RefreshResult], total: int) -> None:
        """Say what comes of each, with a progress bar on a terminal and plain lines elsewhere."""
        failed = []
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        ) as progress:
            bar = progress.add_task("Refreshing", total=total)
            for result in results:
                progress.advance(bar)
                if result.error:
                    failed.append(result)
                self._say(result)
        for result in failed:
            self.stderr.write(str(result.error))
        if failed:
            raise CommandError(
                f"{len(failed)} of {total} segments failed; the members of before stay: "
                f"{', '.join(result.slug for result in failed)}"
            )

    def _watch(self, options: dict[str, Any]) -> None:
        """Say what comes of each refresh, and of each failure at once."""
        with stopping() as stop:
            self.console.print("Watching; SIGTERM or Ctrl-C ends this after the refresh at hand.")
            for result in watching(stop, jobs=options["jobs"]):
                self._say(result)
                if result.error:
                    self.stderr.write(str(result.error))

    def _say(self, result: history.RefreshResult) -> None:
        for line in (_line(result), *(f"  {note}" for note in result.notes)):
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def stopping() -> Iterator[Event]:
    """Give an event that the first SIGTERM or SIGINT sets; a second one acts as ever."""
    stop, before = Event(), dict[int, Any]()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: Any) -> None:
        stop.set()
        restore()

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def _line(result: history.RefreshResult) -> str:
    if result.error:
        return f"{result.slug}: failed"
    if result.status == history.DETACHED:
        return f"{result.slug}: skipped, it is detached from its tables by a schema change"
    if result.status == history.LOCKED:
        return f"{result.slug}: skipped, another session is refreshing or changing it"
    took = f"{result.duration.total_seconds():.2f} s"
    if result.status == Status.UNCHANGED:
        return f"{result.slug}: {result.members_count:,} members, unchanged, {took}"
    return (
        f"{result.slug}: {result.members_count:,} members, "
        f"+{result.added:,} -{result.removed:,}, {took}"
    )
