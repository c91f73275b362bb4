"""manage.py find_segments"""

from typing import Any

from django.core.management.base import CommandParser

from segments.management.report import ReportingCommand
from segments.sync.detach import find


class Command(ReportingCommand):
    """Name the segments that read a table."""

    help = (
        "Names the segments that read a table or a column, and the views of others that read "
        "those segments."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a table or a column."""
        parser.add_argument(
            "what", metavar="TABLE[.COLUMN]", help="A table or a column, as in SQL."
        )

    def handle(self, *, what: str, **options: Any) -> None:
        """Print what Postgres records as reading it."""
        for line in list(find(what)) or [f"No segment reads {what}."]:
            self.stdout.write(line)
