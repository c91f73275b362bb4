"""manage.py grant_segments"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.roles import grants

INSUFFICIENT_PRIVILEGE = "42501"

BAD_NAMES = ("42601", "42602")
"""syntax_error and invalid_name."""


class Command(BaseCommand):
    """Print or run what gives a role of its own to the views."""

    help = (
        "Prints the SQL that makes a role the owner of the segments' views, with the right to "
        "read what you name and nothing else. With --apply it runs it, in one transaction; it "
        "may be run again, such as to add a table."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take roles and tables."""
        parser.add_argument("--role", required=True, help="The role; created if it is missing.")
        parser.add_argument("--app-role", required=True, help="What the application logs in as.")
        parser.add_argument(
            "--read",
            action="append",
            default=[],
            metavar="TABLE[(COLUMN, ...)]",
            help="A table, or some of its columns, that definitions may read; may be repeated.",
        )
        parser.add_argument(
            "--reader",
            action="append",
            default=[],
            metavar="ROLE",
            help="A role that may read all members, such as that of a BI tool.",
        )
        parser.add_argument(
            "--using",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="The alias in DATABASES to look and to apply with; one that may create roles.",
        )
        parser.add_argument("--apply", action="store_true", help="Run it.")
        parser.add_argument(
            "--revoke",
            action="store_true",
            help="Take all back, leave the views to the application's role, and drop the role.",
        )

    def handle(self, *, using: str, apply: bool, revoke: bool, **options: Any) -> None:
        """Print the statements, and run them if that is asked for."""
        if using not in connections:
            raise CommandError(f'There is no alias "{using}" in DATABASES.')
        connection = connections[using]
        strangers: list[grants.Stranger] = []
        try:
            with translated(SegmentExecutionError), transaction.atomic(using=using):
                roles = grants.Roles(
                    role=options["role"],
                    app=options["app_role"],
                    readers=tuple(options["reader"]),
                    connects=conf.exec_role() is None
                    and conf.exec_connection() != DEFAULT_DB_ALIAS,
                    reads=tuple(grants.table(connection, each) for each in options["read"]),
                )
                strangers = grants.strangers(connection, roles, revoke)
                statements = (grants.revokes if revoke else grants.grants)(connection, roles)
                statement = None
                for statement in statements:
                    self.stdout.write(f"{statement.as_string()};")
                    if apply:
                        with connection.cursor() as cursor:
                            cursor.execute(statement)
                if statement is None:
                    self.stderr.write(f'There is no role "{roles.role}".')
                elif revoke:
                    self._tell_what_stays(roles, grants.elsewhere(connection, roles))
                elif apply:
                    # To who may not grant a right, Postgres gives no more than a warning.
                    _check(grants.missing(connection, roles), strangers)
        except SegmentError as error:
            if error.sqlstate == INSUFFICIENT_PRIVILEGE:
                error.hint = _who_may(strangers)
            elif error.sqlstate in BAD_NAMES:
                error.hint = "Look at the names of tables and roles; tables are written as in SQL."
            raise CommandError(str(error)) from error

    def _tell_what_stays(self, roles: grants.Roles, elsewhere: list[str]) -> None:
        """Say why a role is not dropped; not within the statements."""
        if elsewhere:
            self.stderr.write(
                f'The role "{roles.role}" stays, with its members, as it has rights in: '
                f"{', '.join(elsewhere)}. Run this there, too."
            )


def _check(missing: list[str], strangers: list[grants.Stranger]) -> None:
    """Raise for what the statements could not grant."""
    if missing:
        raise SegmentExecutionError(
            f"nothing was changed, as this could not be granted: {'; '.join(missing)}",
            hint=_who_may(strangers),
        )


def _who_may(strangers: list[grants.Stranger]) -> str:
    """Say who may run the statements."""
    hint = (
        "Let --using name an alias that logs in as a superuser, or as a role with CREATEROLE that "
        "has CREATE on the database, and the rights of the owners of all that is granted"
    )
    lacking = [each.name for each in strangers if not each.may_join]
    if lacking:
        hint += (
            f". This one neither has those of {', '.join(lacking)}, nor may it make itself a "
            "member (which takes ADMIN OPTION)"
        )
    return f"{hint}."
