"""manage.py sync_segments"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments import sync
from segments.management.report import ReportingCommand
from segments.sync.detach import StepResult


class Command(ReportingCommand):
    """Make the views match the segments."""

    help = (
        "Creates missing views, replaces views that differ from their segment, and puts back "
        "indexes, comments and GRANTs. Members are kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take options."""
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; exit with 1 if anything differs."
        )
        parser.add_argument(
            "--prune", action="store_true", help="Also drop the views that no segment has."
        )

    def handle(self, *, check: bool, prune: bool, **options: Any) -> None:
        """Sync or check, and report."""
        if check:
            differences = sync.check()
            for step in differences:
                self.stdout.write(_line(step))
            if differences:
                raise CommandError("Views and segments differ. Run: manage.py sync_segments")
            repaired = 0
        else:
            repaired = self.report(
                sync.sync(prune=prune),
                lambda step: f"repaired {_line(step)}",
                "Could not repair: {failed}",
            )
        if not repaired:
            self.stdout.write("Views and segments are in step.")


def _line(step: StepResult) -> str:
    what = "; ".join([*step.what, *([str(step.error)] if step.error else [])])
    return f"{step.slug}: {what}" if step.slug else what
