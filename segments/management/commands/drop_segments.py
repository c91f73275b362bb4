"""manage.py drop_segments"""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments import uninstall
from segments.exceptions import SegmentError
from segments.uninstall import Inventory


class Command(BaseCommand):
    """Drop everything that this package has made in the database."""

    help = (
        "Deletes all segments, their members and their history, and drops all views, functions "
        "and both schemas. Nothing that others have made is dropped along. Then run: "
        "migrate segments zero --skip-checks"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take an option."""
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *, yes: bool, **options: Any) -> None:
        """Ask, drop, and report."""
        try:
            found = uninstall.inventory()
            if not found:
                self.stdout.write("There is nothing to drop.")
                return
            if not yes:
                self._ask(found)
            self._drop(found)
        except SegmentError as error:
            raise CommandError(str(error)) from error

    def _ask(self, found: Inventory) -> None:
        """Go on only with a yes from a terminal."""
        self.stdout.write("\n".join(_told(found)))
        if not sys.stdin.isatty():
            raise CommandError("Nothing is dropped without --yes, where nobody can be asked.")
        if input("Type 'yes' to drop it, or anything else to leave it: ") != "yes":
            raise CommandError("Nothing was dropped.")

    def _drop(self, found: Inventory) -> None:
        dropped, failed = 0, []
        for step in uninstall.drop(found):
            if step.error:
                failed.append(step.what)
                self.stderr.write(str(step.error))
            elif step.kept:
                self.stdout.write("\n  ".join([f"{step.what} stays, for there is:", *step.kept]))
            else:
                dropped += 1
                self.stdout.write(f"dropped {step.what}")
        if failed:
            raise CommandError(
                f"{dropped} dropped, and these are still there: {', '.join(failed)}. When nothing "
                "stands in their way any more, run this again."
            )
        self.stdout.write("All is dropped. Next: manage.py migrate segments zero --skip-checks")


def _told(found: Inventory) -> Iterator[str]:
    """Say what would be dropped."""
    yield "This drops, for good:"
    if found.segments:
        yield f"  {len(found.segments)} segments with their lists, members and history: " + (
            ", ".join(found.segments)
        )
    for label, number in found.others.items():
        yield f"  {number} rows of {label}, which go with them"
    if found.orphans:
        yield f"  views that no segment has: {', '.join(found.orphans)}"
    if found.schemas:
        yield f"  what all segments share, and the schemas {', '.join(found.schemas)}"
