"""manage.py drop_segments"""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments.exceptions import SegmentError
from segments.sync import uninstall


class Command(BaseCommand):
    """Drop everything that this package has created in the database."""

    help = (
        "Deletes all segments, their members and their history, and drops all views, functions "
        "and both schemas. Nothing that others have created is dropped along. Then run: "
        "migrate segments zero --skip-checks"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take an option."""
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *, yes: bool, **options: Any) -> None:
        """Ask, drop, and report."""
        if not yes:
            self._ask()
        try:
            self._drop()
        except SegmentError as error:
            raise CommandError(str(error)) from error

    def _ask(self) -> None:
        """Go on only with a yes from a terminal."""
        self.stdout.write(
            "This deletes all segments with their lists, members and history, and everything that "
            "all segments share. Django deletes the rows that need them as their models say."
        )
        if not sys.stdin.isatty():
            raise CommandError("Not a terminal: pass --yes to drop without asking.")
        if input("Type 'yes' to drop it, or anything else to leave it: ") != "yes":
            raise CommandError("Nothing was dropped.")

    def _drop(self) -> None:
        dropped, failed = 0, []
        for step in uninstall.drop():
            if step.error:
                failed += step.what
                self.stderr.write(str(step.error))
            else:
                dropped += 1
                self.stdout.write("; ".join(step.what))
        if failed:
            raise CommandError(
                f"{dropped} dropped, and these are still there: {', '.join(failed)}. When nothing "
                "needs them any more, run this again."
            )
        if not dropped:
            self.stdout.write("There is nothing to drop.")
            return
        self.stdout.write(
            "Everything is dropped. Next: manage.py migrate segments zero --skip-checks"
        )
