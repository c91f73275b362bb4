"""manage.py drop_segments"""

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.management.report import ReportingCommand
from segments.sync import uninstall
from segments.sync.detach import StepResult


class Command(ReportingCommand):
    """Drop everything that this package has created in the database."""

    help = (
        "Deletes all segments, their members and their history, and drops all views, functions "
        "and both schemas. Drops nothing that others have created. Afterwards, run: "
        "migrate segments zero --skip-checks"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take an option."""
        parser.add_argument("--yes", action="store_true", help="Drop without asking.")

    def handle(self, *, yes: bool, **options: Any) -> None:
        """Ask, drop, and report."""
        if not yes:
            self._ask()
        dropped = self.report(
            uninstall.drop(),
            _words,
            "{done} dropped, and these are still there: {failed}. When nothing needs them any "
            "more, run this again.",
            name=_words,
        )
        if not dropped:
            self.stdout.write("There is nothing to drop.")
            return
        self.stdout.write(
            "Everything is dropped. Next: manage.py migrate segments zero --skip-checks"
        )

    def _ask(self) -> None:
        """Go on only after a yes on a terminal."""
        self.stdout.write(
            "This deletes all segments with their lists, members and history, and everything that "
            "all segments share. Django also deletes rows of other models that point to a "
            "segment, as their on_delete says."
        )
        if not sys.stdin.isatty():
            raise CommandError("Not a terminal: pass --yes to drop without asking.")
        if input("Type 'yes' to drop it, or anything else to keep it: ") != "yes":
            raise CommandError("Nothing was dropped.")


def _words(step: StepResult) -> str:
    return "; ".join(step.what)
