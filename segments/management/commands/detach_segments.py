"""manage.py detach_segments"""

from typing import Any

from django.core.management.base import CommandParser

from segments import sync
from segments.management.report import ReportingCommand


class Command(ReportingCommand):
    """Detach segments from their tables."""

    help = (
        "Frees the tables that segments read for a schema change made by hand. Members can still "
        "be read, but live checks fail and refreshes stand aside until sync_segments attaches the "
        "segments again. Migrations do this by themselves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs."""
        parser.add_argument(
            "slugs", nargs="*", metavar="SLUG", help="The segments; all if none is named."
        )

    def handle(self, *, slugs: list[str], **options: Any) -> None:
        """Detach, and report."""
        self.report(
            sync.detach(slugs or None),
            lambda step: f"{step.slug}: detached",
            "Could not detach: {failed}",
        )
