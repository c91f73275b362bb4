"""manage.py detach_segments"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments import sync


class Command(BaseCommand):
    """Detach segments from their tables."""

    help = (
        "Frees the tables that segments read for a schema change made by hand. Members can still "
        "be read; live checks fail and refreshes stand aside until sync_segments attaches the "
        "segments again. Migrations do this by themselves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take slugs."""
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="All if none.")

    def handle(self, *, slugs: list[str], **options: Any) -> None:
        """Detach, and report."""
        failed = []
        for entry in sync.detach(slugs or None):
            if entry.error:
                failed.append(entry.slug)
                self.stderr.write(str(entry.error))
            else:
                self.stdout.write(f"{entry.slug}: detached")
        if failed:
            raise CommandError(f"Could not detach: {', '.join(failed)}")
