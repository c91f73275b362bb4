"""manage.py refresh_segments"""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from segments import refresh
from segments.models import Segment


class Command(BaseCommand):
    """Refresh segments and report on each."""

    help = (
        "Recomputes the members of segments, those that others read first. Goes on after a "
        "failure; a segment that failed keeps its members, and the exit code is 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs and options."""
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="All active ones if none.")
        parser.add_argument(
            "--due", action="store_true", help="Only those whose interval has passed."
        )
        parser.add_argument(
            "--no-concurrently",
            action="store_false",
            dest="concurrently",
            help="Rewrite all rows: faster where most of them change, but readers wait.",
        )

    def handle(self, *, slugs: list[str], due: bool, concurrently: bool, **options: Any) -> None:
        """Refresh, with a progress bar on a terminal and plain lines elsewhere."""
        segments = self._segments(slugs)
        if due:
            segments = refresh.due(segments)
        if not segments:
            self.stdout.write("No segment is due." if due else "There are no active segments.")
            return
        failed = []
        console = Console(file=options.get("stdout") or sys.stdout)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        ) as progress:
            bar = progress.add_task("Refreshing", total=len(segments))
            for result in refresh.refresh_many(segments, concurrently):
                progress.advance(bar)
                if result.error:
                    failed.append(result)
                console.print(_line(result), markup=False, highlight=False, soft_wrap=True)
        for result in failed:
            self.stderr.write(str(result.error))
        if failed:
            raise CommandError(
                f"{len(failed)} of {len(segments)} segments failed; the members of before stay: "
                f"{', '.join(result.slug for result in failed)}"
            )

    def _segments(self, slugs: list[str]) -> list[Segment]:
        if not slugs:
            return list(Segment.objects.filter(is_active=True))
        segments = list(Segment.objects.filter(slug__in=slugs))
        unknown = sorted(set(slugs) - {segment.slug for segment in segments})
        if unknown:
            raise CommandError(f"There is no segment with the slug {', '.join(unknown)}.")
        return segments


def _line(result: refresh.RefreshResult) -> str:
    if result.error:
        return f"{result.slug}: failed"
    if result.status == refresh.DETACHED:
        return f"{result.slug}: skipped, it is detached from its tables by a schema change"
    if result.status == refresh.LOCKED:
        return f"{result.slug}: skipped, another session is refreshing or changing it"
    return (
        f"{result.slug}: {result.members_count:,} members, +{result.added:,} -{result.removed:,}, "
        f"{result.duration.total_seconds():.2f} s"
    )
