"""manage.py find_segments"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments.exceptions import SegmentError
from segments.sync.detach import find


class Command(BaseCommand):
    """Name the segments that read a table."""

    help = "Names the segments that read a table or a column, and the views that read those."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a table or a column."""
        parser.add_argument("what", metavar="TABLE[.COLUMN]")

    def handle(self, *, what: str, **options: Any) -> None:
        """Print what reads it, from the catalog's own dependencies."""
        try:
            lines = list(find(what))
        except SegmentError as error:
            raise CommandError(str(error)) from error
        for line in lines or [f"No segment reads {what}."]:
            self.stdout.write(line)
