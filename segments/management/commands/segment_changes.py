"""manage.py segment_changes"""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.changes.output import FORMATS, opened
from segments.management.report import ReportingCommand, check_slugs
from segments.models import Segment
from segments.rows import with_slugs


class Command(ReportingCommand):
    """Print who entered and who left a segment since the last run."""

    help = (
        "Prints who entered and who left a segment since the last run of this consumer; the first "
        "run prints all members. The consumer moves on when everything was written: to the disk, "
        "or to the reader of a pipe. After a failure, the next run prints the same rows again, "
        "with the same ids, and the exit code is 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a slug and options."""
        parser.add_argument("slug", metavar="SLUG", help="The segment.")
        parser.add_argument(
            "--consumer",
            required=True,
            metavar="NAME",
            help="Who follows the changes, such as mailchimp; each name has its own place.",
        )
        parser.add_argument(
            "--format", choices=[*FORMATS], default="jsonl", help="By default jsonl."
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="A new file, which appears when it is whole. By default stdout.",
        )
        parser.add_argument(
            "--restart", action="store_true", help="Print all members again, then the changes."
        )

    def handle(self, *, slug: str, consumer: str, **options: Any) -> None:
        """Deliver, and let the consumer move on."""
        segment = with_slugs(Segment.objects.all(), [slug]).first()
        if segment is None:
            check_slugs([slug], ())
            return
        header, line = FORMATS[options["format"]]
        stdout = getattr(self.stdout, "_out", self.stdout)
        try:
            with (
                segment.consumer(consumer, restart=options["restart"]) as delivery,
                opened(segment.slug, options["output"], stdout) as file,
            ):
                file.write(header)
                for change in delivery:
                    file.write(line(change))
        except ValueError as error:
            raise CommandError(str(error)) from error
