"""manage.py forget_user"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from segments.management.report import ReportingCommand
from segments.sync import forget


class Command(ReportingCommand):
    """Remove users from all that this package stores."""

    help = (
        "Removes users from all lists, memberships and changes, refreshes the segments whose "
        "views have them, and clears the texts of errors that name them. Does not touch the table "
        "of users: delete the users first, then run this. Goes on after a failure; the exit code "
        "is 1 if a view still has one of the users."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take keys."""
        parser.add_argument("keys", nargs="+", metavar="PK", help="Primary keys of users.")

    def handle(self, *, keys: list[str], **options: Any) -> None:
        """Forget, and report."""
        try:
            users = forget.parse_keys(keys)
        except ValueError as error:
            raise CommandError(str(error)) from error
        existing = forget.existing(users)
        if existing:
            self.stdout.write(
                f"Still in the table of users: {', '.join(map(str, existing))}. A definition that "
                "selects them will add them again at its next refresh; delete the users first, "
                "then run this again."
            )
        self.report(
            forget.forget(users),
            lambda step: f"{step.slug}: {'; '.join(step.what)}",
            "Could not remove the users from: {failed}",
        )
        self.stdout.write("No list, no membership and no view of a segment has them.")
