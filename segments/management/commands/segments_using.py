"""manage.py segments_using"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.models import Segment
from segments.sql import detaching, names


class Command(BaseCommand):
    """Name the segments that read a table."""

    help = "Names the segments that read a table or a column, and the views that read those."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a table or a column."""
        parser.add_argument("what", metavar="TABLE[.COLUMN]")

    def handle(self, *, what: str, **options: Any) -> None:
        """Print what reads it, from the catalog's own dependencies."""
        connection = connections[conf.exec_connection()]
        try:
            with translated(SegmentExecutionError):
                table, column = detaching.table_and_column(connection, what)
                found = detaching.using(connection, table, column)
        except SegmentError as error:
            raise CommandError(str(error)) from error
        slugs = {names.view_name(s): s for s in Segment.objects.values_list("slug", flat=True)}
        for each in found:
            if each["live"]:
                self.stdout.write(f"segment {slugs.get(each['name'], each['name'])}")
            elif not each["own"]:
                self.stdout.write(f"view {each['view']} of {each['owner']}")
        if not found:
            self.stdout.write(f"No segment reads {what}.")
