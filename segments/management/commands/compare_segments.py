"""manage.py compare_segments"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError, CommandParser

from segments.management.report import ReportingCommand
from segments.membership.overlap import Overlap, Pair, overlap

GAP = "  "


class Command(ReportingCommand):
    """Compare the members of segments."""

    help = (
        "Compares segments by their members at the last refresh: how many each has, how many each "
        "two of them share, and their Jaccard index, which is the users in both as a share of "
        "those in any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs and a format."""
        parser.add_argument("slugs", nargs="+", metavar="SLUG", help="Two segments or more.")
        parser.add_argument(
            "--format",
            choices=["text", "json", "csv"],
            default="text",
            dest="form",
            help="text, the default, prints tables for readers; json prints one object; csv "
            "prints one line for each two segments.",
        )

    def handle(self, *, slugs: list[str], form: str, **options: Any) -> None:
        """Compare, and print."""
        try:
            found = overlap(slugs)
        except ObjectDoesNotExist as error:
            raise CommandError(str(error)) from error
        if form == "json":
            pairs = [_values(pair) for pair in found.pairs]
            self.stdout.write(json.dumps({"counts": found.counts, "pairs": pairs}))
        elif form == "csv":
            writer = csv.DictWriter(self.stdout, _values(found.pairs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(_values, found.pairs))
        else:
            self._print(found)

    def _print(self, found: Overlap) -> None:
        counts = [(slug, f"{count:,}") for slug, count in found.counts.items()]
        for line in _table(("SEGMENT", "MEMBERS"), counts, texts=1):
            self.stdout.write(line)
        self.stdout.write()
        headings = ("FIRST", "SECOND", "BOTH", "ONLY FIRST", "ONLY SECOND", "JACCARD")
        for line in _table(headings, map(_cells, found.pairs), texts=2):
            self.stdout.write(line)


def _values(pair: Pair) -> dict[str, Any]:
    return asdict(pair) | {"jaccard": pair.jaccard}


def _cells(pair: Pair) -> tuple[str, ...]:
    numbers = (f"{number:,}" for number in (pair.both, pair.only_first, pair.only_second))
    index = "-" if pair.jaccard is None else f"{pair.jaccard:.3f}"
    return (pair.first, pair.second, *numbers, index)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> list[str]:
    """Return the lines of a table, whose first columns are texts, and the others numbers."""
    lines = [headings, *rows]
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        GAP.join(
            cell.ljust(size) if number < texts else cell.rjust(size)
            for number, (cell, size) in enumerate(zip(line, sizes, strict=True))
        )
        for line in lines
    ]
