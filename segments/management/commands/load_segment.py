"""manage.py load_segment"""

import sys
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import CommandError, CommandParser

from segments.lists.incoming import Mode
from segments.management.report import ReportingCommand
from segments.models import Segment
from segments.rows import by_slug


class Command(ReportingCommand):
    """Load the list of a segment from a file."""

    help = (
        "Loads users into the list of a segment, from a file with one user a line, or a CSV file "
        "with a header. The segment is refreshed in the same transaction. If any line is "
        "malformed or names no user, or there is none, nothing is changed and the exit code is 1. "
        "With --create, the segment is new, and saved if its list can be loaded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a slug, a file and options."""
        parser.add_argument("slug", metavar="SLUG", help="The segment.")
        parser.add_argument("file", metavar="FILE", help="The file, in UTF-8; - reads stdin.")
        parser.add_argument(
            "--create",
            metavar="NAME",
            help="Create the segment with this name; no other one may have its slug.",
        )
        parser.add_argument(
            "--mode",
            choices=get_args(Mode),
            default="replace",
            help="Replace the list (the default), add to it, or remove from it.",
        )
        parser.add_argument(
            "--by",
            default="pk",
            metavar="FIELD",
            help="The unique field of the user model by which the file names users; the primary "
            "key if it is left out.",
        )
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="Use the good lines if others are malformed or unknown.",
        )
        parser.add_argument(
            "--allow-empty",
            action="store_true",
            help="Let a file without a line empty the list; otherwise it is refused.",
        )

    def handle(self, *, slug: str, file: str, create: str | None, **options: Any) -> None:
        """Load, and report."""
        segment = _segment(slug, create)
        source = sys.stdin.buffer if file == "-" else Path(file)
        chosen = {name: options[name] for name in ("mode", "by", "skip_bad", "allow_empty")}
        self.stdout.write(str(segment.load_ids(source, **chosen)))


def _segment(slug: str, name: str | None) -> Segment:
    """Return the segment of this slug; a new one if it is to have a name."""
    try:
        segment = by_slug(slug)
    except Segment.DoesNotExist as error:
        if name is None:
            raise CommandError(f"{error} --create NAME makes a new one.") from error
        return Segment(slug=slug, name=name)
    if name is not None:
        raise CommandError(
            f'There is a segment with the slug "{segment.slug}". Leave out --create to load its '
            "list, or choose another slug."
        )
    return segment
