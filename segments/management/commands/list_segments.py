"""manage.py list_segments"""

import math
from argparse import ArgumentTypeError
from dataclasses import asdict
from datetime import timedelta
from shutil import get_terminal_size
from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.management.listing import ListedSegment, brief, list_segments, table
from segments.management.report import ReportingCommand, check_slugs, json_line

MAX_HOURS = 24 * 36500


def hours(text: str) -> float:
    """Return a number of hours."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_HOURS:
        raise ArgumentTypeError(f"a number of hours above 0, and at most {MAX_HOURS}")
    return number


class Command(ReportingCommand):
    """List segments and how they are doing."""

    help = (
        "Lists segments: what defines each, how many members it has and how old they are, the "
        "status, the time until the next refresh, and why the last one failed. With --max-age it "
        "is a check for monitoring: the exit code is 1 if an active segment is older."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs and options."""
        parser.add_argument(
            "slugs", nargs="*", metavar="SLUG", help="The segments; all if none is named."
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="Print each segment as a JSON object on a line of its own, as log shippers and "
            "jq read it (jq -s makes an array of the lines): full values, times in ISO 8601, "
            "durations in seconds.",
        )
        parser.add_argument(
            "--max-age",
            type=hours,
            metavar="HOURS",
            help="Exit with 1 if the members of an active segment are older than this, or if it "
            "was never populated. May have decimals.",
        )

    def handle(
        self, *, slugs: list[str], as_json: bool, max_age: float | None, **options: Any
    ) -> None:
        """List, and compare the ages."""
        segments = list_segments(slugs)
        check_slugs(slugs, (segment.slug for segment in segments))
        if as_json:
            for segment in segments:
                self.stdout.write(json_line(asdict(segment)))
        elif segments:
            self._print(segments)
        else:
            self.stdout.write("There are no segments.")
        if max_age is not None:
            _check_ages(segments, max_age)

    def _print(self, segments: list[ListedSegment]) -> None:
        """Print a table that fits a terminal, and a plain one elsewhere."""
        on_terminal = self.stdout.isatty()
        width = get_terminal_size().columns if on_terminal else None
        (heading, _), *lines = table(segments, width)
        self.stdout.write(heading, self.style.MIGRATE_LABEL if on_terminal else None)
        for line, failed in lines:
            self.stdout.write(line, self.style.ERROR if failed and on_terminal else None)


def _check_ages(segments: list[ListedSegment], max_age: float) -> None:
    """Raise CommandError if an active segment is older than a number of hours."""
    older = [
        f"{segment.slug} ({'never populated' if segment.age is None else brief(segment.age)})"
        for segment in segments
        if segment.is_older(timedelta(hours=max_age))
    ]
    if older:
        raise CommandError(f"Older than {max_age:g} h: {', '.join(older)}")
