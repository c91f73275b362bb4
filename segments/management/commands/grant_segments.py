"""manage.py grant_segments"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.roles import grants
from segments.roles.grants import BorrowedRole
from segments.roles.rights import ViewOwner, parse_table

INSUFFICIENT_PRIVILEGE = "42501"

BAD_NAMES = ("42601", "42602")
"""syntax_error and invalid_name."""


class Command(BaseCommand):
    """Print or run the statements that give the views an owner of their own."""

    help = (
        "Prints the SQL that creates a role which owns the segments' views, and can read the "
        "tables that you name and nothing else. With --apply, runs it in one transaction. Run it "
        "again to add a table. A role with CREATEROLE can run it, without being a superuser."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the roles and the tables."""
        parser.add_argument("--role", required=True, help="The role; created if it is missing.")
        parser.add_argument(
            "--app-role", required=True, help="The role that the application logs in as."
        )
        parser.add_argument(
            "--read",
            action="append",
            default=[],
            metavar="TABLE[(COLUMN, ...)]",
            help="A table, or some of its columns, that definitions may read; repeatable.",
        )
        parser.add_argument(
            "--reader",
            action="append",
            default=[],
            metavar="ROLE",
            help="A role that may read all members, such as that of a BI tool; repeatable.",
        )
        parser.add_argument(
            "--using",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="The alias in DATABASES to connect with. What is printed is for its role.",
        )
        parser.add_argument("--apply", action="store_true", help="Run the statements.")
        parser.add_argument(
            "--revoke",
            action="store_true",
            help="Give the views to the application's role, and revoke what was granted.",
        )

    def handle(self, *, using: str, apply: bool, revoke: bool, **options: Any) -> None:
        """Print the statements, and run them with --apply."""
        if using not in connections:
            raise CommandError(f'There is no alias "{using}" in DATABASES.')
        connection = connections[using]
        borrowed: list[BorrowedRole] = []
        try:
            with translated(SegmentExecutionError), transaction.atomic(using=using):
                owner = ViewOwner(
                    name=options["role"],
                    app_role=options["app_role"],
                    records_refreshes=conf.exec_role() is None
                    and conf.exec_connection() != DEFAULT_DB_ALIAS,
                    tables=tuple(parse_table(connection, text) for text in options["read"]),
                    readers=tuple(options["reader"]),
                )
                if not grants.role_exists(connection, owner) and revoke:
                    self.stderr.write(f'There is no role "{owner.name}".')
                    return
                borrowed = grants.roles_to_borrow(connection, owner)
                statements = grants.revokes if revoke else grants.grants
                for statement in statements(connection, owner, borrowed):
                    self.stdout.write(f"{statement.as_string()};")
                    if apply:
                        with connection.cursor() as cursor:  # Without parameters: % is itself.
                            cursor.execute(statement)
                if apply and not revoke and (missing := grants.missing(connection, owner)):
                    raise SegmentExecutionError(
                        f"nothing was changed: could not grant all rights: {'; '.join(missing)}",
                        hint=_hint(borrowed),
                    )
        except SegmentError as error:
            if error.sqlstate == INSUFFICIENT_PRIVILEGE:
                error.hint = _hint(borrowed)
            elif error.sqlstate in BAD_NAMES:
                error.hint = "Check the names of tables and roles; write tables as in SQL."
            raise CommandError(str(error)) from error
        if revoke:
            self.stdout.write(_how_to_drop(owner))


def _hint(borrowed: list[BorrowedRole]) -> str:
    """Say which roles can run the statements, and which rights this session lacks."""
    hint = (
        "Let --using name an alias whose role is a superuser, or has CREATEROLE, CREATE on the "
        "database, and the rights of the roles that own the tables."
    )
    missing = [role.name for role in borrowed if not role.can_grant_self]
    if missing:
        hint += (
            f" This session lacks the rights of {', '.join(missing)}, and cannot grant itself "
            "membership, which takes ADMIN OPTION."
        )
    return hint


def _how_to_drop(owner: ViewOwner) -> str:
    """Say how to drop the role that --revoke leaves, as a comment after the statements."""
    role, app = (sql.Identifier(name).as_string() for name in (owner.name, owner.app_role))
    return (
        f"-- The role {role} still exists, and {app} is its member in all databases of the\n"
        "-- server, which others may need. To drop it, run in each database where it has rights:\n"
        f"-- REASSIGN OWNED BY {role} TO {app}; DROP OWNED BY {role};\n"
        f"-- Then run: DROP ROLE {role};"
    )
