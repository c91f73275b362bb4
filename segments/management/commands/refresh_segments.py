"""manage.py refresh_segments"""

import signal
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.exceptions import SegmentLockedError
from segments.management.report import ReportingCommand, check_slugs, json_line
from segments.models import Segment, Status
from segments.refreshing import history, many, schedule
from segments.refreshing.order import dependents
from segments.refreshing.watch import watch as watching
from segments.rows import with_slugs


def number(text: str) -> int:
    """Return a number of connections."""
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError("a whole number from 1 on")
    return int(text)


class Command(ReportingCommand):
    """Refresh segments and report on each."""

    help = (
        "Recomputes the members of segments in dependency order, and skips a segment if nothing "
        "that it reads was written since its last refresh. Goes on after a failure; a segment "
        "that failed keeps its members, and the exit code is 1. It is also 1 for a segment that "
        "detach_segments has detached."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs and options."""
        parser.add_argument(
            "slugs",
            nargs="*",
            metavar="SLUG",
            help="The segments; all active ones if none is named.",
        )
        parser.add_argument(
            "--due", action="store_true", help="Refresh only segments whose interval has passed."
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="Keep running, and refresh each segment when it is due, until SIGTERM.",
        )
        parser.add_argument(
            "--with-dependents",
            action="store_true",
            help="Go on with the active segments that read these.",
        )
        parser.add_argument(
            "--jobs",
            type=number,
            default=1,
            metavar="N",
            help="Refresh N segments at a time, each on its own connection.",
        )
        parser.add_argument(
            "--force", action="store_true", help="Recompute even if nothing was written."
        )
        parser.add_argument(
            "--accept-loss",
            action="store_true",
            help="Let the named segments remove more members than max_loss allows, this once.",
        )
        parser.add_argument(
            "--no-concurrently",
            action="store_false",
            dest="concurrently",
            help="Rewrite all rows: faster if most of them change, but readers wait.",
        )
        parser.add_argument(
            "--quiet", action="store_true", help="Print failures only, as does -v 0."
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print each result as a JSON object on a line of its own: slug, status, "
            "members_count, added, removed, duration in seconds, error, notes. Failures are "
            "among them instead of on stderr.",
        )

    def handle(self, *, slugs: list[str], due: bool, watch: bool, **options: Any) -> None:
        """Refresh once, or watch."""
        self.quiet = options["quiet"] or options["verbosity"] == 0
        self.as_json = options["as_json"]
        if watch:
            if slugs or options["with_dependents"] or options["accept_loss"]:
                raise CommandError("--watch refreshes all active segments: name none.")
            self._watch(options["jobs"])
            return
        if options["accept_loss"] and not slugs:
            raise CommandError("--accept-loss needs the slugs of the segments that may lose many.")
        segments = self._segments(slugs)
        if due:
            segments = schedule.due(segments)
        if options["with_dependents"]:
            segments = list({s.pk: s for s in [*segments, *dependents(segments)]}.values())
        if not segments:
            self._say("No segment is due." if due else "There are no active segments.")
            return
        results = many.refresh_many(
            segments,
            options["concurrently"],
            force=options["force"],
            accept_loss=options["accept_loss"],
            jobs=options["jobs"],
            scheduled=due,
        )
        self._report(
            results if self.quiet else self.with_progress(results, len(segments)),
            failure="{failures} of {total} segments failed; their members are kept: {failed}",
        )

    def _segments(self, slugs: list[str]) -> list[Segment]:
        if not slugs:
            return list(Segment.objects.filter(is_active=True))
        segments = list(with_slugs(Segment.objects.all(), slugs))
        check_slugs(slugs, (segment.slug for segment in segments))
        return segments

    def _watch(self, jobs: int) -> None:
        """Report on each refresh until a signal arrives. Failures do not end it."""
        with stopping() as stop:
            self._say("Watching; SIGTERM or Ctrl-C ends this after the running refresh.")
            self._report(watching(stop, jobs=jobs))

    def _report(self, results: Iterator[history.RefreshResult], failure: str = "") -> None:
        line = _json if self.as_json else _text
        self.report(
            map(_judged, results),
            (lambda result: "") if self.quiet else line,
            failure,
            failed_line=None if self.quiet and not self.as_json else line,
            errors=not self.as_json,
        )

    def _say(self, text: str) -> None:
        """Print a remark, but not among JSON objects."""
        if not (self.quiet or self.as_json):
            self.stdout.write(text)
            self.stdout.flush()


@contextmanager
def stopping() -> Iterator[Event]:
    """Yield an event that the first SIGTERM or SIGINT sets; a second one acts as usual."""
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


def _judged(result: history.RefreshResult) -> history.RefreshResult:
    """Return the result, as a failure if no later run will refresh the segment by itself."""
    if not result.detached_manually:
        return result
    error = SegmentLockedError(
        "it is detached from its tables", slug=result.slug, hint=history.ATTACH
    )
    return replace(result, error=error)


def _json(result: history.RefreshResult) -> str:
    return json_line(
        {
            "slug": result.slug,
            "status": str(result.status),
            "members_count": result.members_count,
            "added": None if result.error else result.added,
            "removed": None if result.error else result.removed,
            "duration": result.duration,
            "error": str(result.error) if result.error else None,
            "notes": result.notes,
        }
    )


def _text(result: history.RefreshResult) -> str:
    return "\n  ".join([f"{result.slug}: {_outcome(result)}", *result.notes])


def _outcome(result: history.RefreshResult) -> str:
    if result.status == history.DETACHED:
        return "skipped, it is detached from its tables by a schema change"
    if result.error:
        return "refused" if result.status == Status.REFUSED else "failed"
    if result.status == history.LOCKED:
        return "skipped, another session is refreshing or changing it"
    seconds = f"{result.duration.total_seconds():.2f} s"
    if result.status == Status.UNCHANGED:
        return f"{result.members_count:,} members, unchanged, {seconds}"
    return f"{result.members_count:,} members, +{result.added:,} -{result.removed:,}, {seconds}"
