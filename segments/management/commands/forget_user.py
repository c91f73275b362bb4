"""manage.py forget_user"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from segments.exceptions import SegmentError
from segments.sync import forget


class Command(BaseCommand):
    """Take users out of all that this package keeps."""

    help = (
        "Takes users out of all lists and memberships, refreshes the segments whose views have "
        "them, and clears the texts of errors that name them. Their rows in the table of users "
        "are not touched: delete the users first, then run this. Goes on after a failure; the "
        "exit code is 1 if a view still has one of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take keys."""
        parser.add_argument("keys", nargs="+", metavar="PK", help="Primary keys of users.")

    def handle(self, *, keys: list[str], **options: Any) -> None:
        """Forget, and report."""
        try:
            self._forget(forget.parse_keys(keys))
        except ValueError as error:
            raise CommandError(str(error)) from error
        except SegmentError as error:
            raise CommandError(str(error)) from error

    def _forget(self, keys: list[Any]) -> None:
        failed = []
        for step in forget.forget(keys):
            if step.error:
                failed.append(step.slug)
                self.stderr.write(str(step.error))
            else:
                self.stdout.write(f"{step.slug}: {'; '.join(step.what)}")
        exist = forget.existing(keys)
        if exist:
            self.stdout.write(
                f"Still in the table of users: {', '.join(map(str, exist))}. A definition that "
                "selects them will add them again at its next refresh; delete the users first, "
                "then run this again."
            )
        if failed:
            raise CommandError(f"Could not remove the users from: {', '.join(failed)}")
        self.stdout.write("No list, no membership and no view of a segment has them.")
