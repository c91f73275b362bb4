"""manage.py sync_segments"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments import sync
from segments.exceptions import SegmentError
from segments.sync.steps import StepResult


class Command(BaseCommand):
    """Make the views match the segments."""

    help = (
        "Creates missing views, replaces those that differ from their segment, and puts back "
        "indexes, comments and GRANTs. Members are kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take options."""
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; exit with 1 if anything differs."
        )
        parser.add_argument(
            "--prune", action="store_true", help="Drop the views that no segment has any more."
        )

    def handle(self, *, check: bool, prune: bool, **options: Any) -> None:
        """Sync or check, and report."""
        try:
            self._run(check, prune)
        except SegmentError as error:
            raise CommandError(str(error)) from error

    def _run(self, check: bool, prune: bool) -> None:
        if check:
            found = sync.check()
            for entry in found:
                self.stdout.write(_line(entry))
            if found:
                raise CommandError("Views and segments differ. Run: manage.py sync_segments")
            self.stdout.write("Views and segments are in step.")
            return
        failed, repaired = [], 0
        for entry in sync.sync(prune=prune):
            if entry.error:
                failed.append(entry.slug)
                self.stderr.write(str(entry.error))
            else:
                repaired += 1
                self.stdout.write(f"repaired {_line(entry)}")
        if failed:
            raise CommandError(f"Could not repair: {', '.join(failed)}")
        if not repaired:
            self.stdout.write("Views and segments are in step.")


def _line(entry: StepResult) -> str:
    what = "; ".join([*entry.what, *([str(entry.error)] if entry.error else [])])
    return f"{entry.slug}: {what}" if entry.slug else what
