"""manage.py sync_segments"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments import sync
from segments.exceptions import SegmentDefinitionError
from segments.management.report import ReportingCommand
from segments.sync.detach import StepResult
from segments.sync.repair import ORPHANED


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
                raise CommandError(f"Views and segments differ. {_next_step(differences)}")
            repaired = 0
        else:
            repaired = self.report(
                sync.sync(prune=prune),
                lambda step: f"repaired {_line(step)}",
                "Could not repair: {failed}",
            )
        if not repaired:
            self.stdout.write("Views and segments are in step.")


def _next_step(differences: list[StepResult]) -> str:
    """Return what helps: a sync, but for definitions that Postgres refuses."""
    command = "manage.py sync_segments"
    refused = [step for step in differences if isinstance(step.error, SegmentDefinitionError)]
    broken = [step.slug for step in refused if command not in str(step.error)]
    steps = [f"Change what defines: {', '.join(broken)}"] if broken else []
    if len(broken) < len(differences):
        prune = " --prune" if any(step.what == [ORPHANED] for step in differences) else ""
        steps.append(f"Run: {command}{prune}")
    return ". ".join(steps)


def _line(step: StepResult) -> str:
    what = "; ".join([*step.what, *([str(step.error)] if step.error else [])])
    return f"{step.slug}: {what}" if step.slug else what
