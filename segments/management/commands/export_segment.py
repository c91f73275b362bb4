"""manage.py export_segment"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.management.report import ReportingCommand
from segments.models import Segment
from segments.rows import by_slug


class Command(ReportingCommand):
    """Write the members of a segment as CSV."""

    help = (
        "Writes the members of a segment as CSV in UTF-8, with a header, in the order of their "
        "keys. They are those of the last refresh, and are streamed from the database. "
        "load_segment reads such a file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a slug and options."""
        parser.add_argument("slug", metavar="SLUG", help="The segment.")
        parser.add_argument(
            "--fields",
            default="pk",
            metavar="FIELD,FIELD",
            help="Fields of the user model; the default is the primary key.",
        )
        parser.add_argument("--format", choices=["csv"], default="csv", help="Only CSV.")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="A file to write to, instead of stdout. It is replaced when all is written.",
        )

    def handle(self, *, slug: str, fields: str, output: Path | None, **options: Any) -> None:
        """Export, and report if stdout is free for that."""
        try:
            segment = by_slug(slug)
        except Segment.DoesNotExist as error:
            raise CommandError(str(error)) from error
        names = [name.strip() for name in fields.split(",") if name.strip()]
        try:
            with nullcontext(output) if output else as_bytes(self.stdout) as file:
                count = segment.export(file, names)
        except OSError as error:
            where = output or "stdout"
            raise CommandError(f"{where} cannot be written: {error.strerror}") from error
        if output:
            self.stdout.write(f"{segment.slug}: {count:,} members written to {output}")


@contextmanager
def as_bytes(stdout: Any) -> Iterator[Any]:
    """Open stdout for bytes, since its own encoding is that of the terminal.

    What is no file of the system, such as a `StringIO`, is yielded as it is.
    """
    try:
        stdout.flush()
        number = stdout.fileno()
    except (AttributeError, io.UnsupportedOperation):
        yield stdout
        return
    with open(number, "wb", closefd=False) as file:
        yield file
