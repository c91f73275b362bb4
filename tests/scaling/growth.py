"""Measure the growth of a view by refreshes: python -m tests.scaling.growth [MEMBERS]

Starts a server, and prints the sizes that docs/scaling.md quotes.
"""

import os
import sys
from typing import NamedTuple

from django.db import connection

from tests.servers import Server

SETTINGS = {"synchronous_commit": "on"}
"""Settings of the server."""

ROUNDS = 20

CHANGED = 0.1
"""The fraction of the members that leaves before each refresh; as many others enter."""

LOAD = """
INSERT INTO accounts_segmentableuser (
    username, password, first_name, last_name, email,
    is_superuser, is_active, is_staff, date_joined
)
SELECT 'user ' || n, '', '', '', '', false, true, n %% 2 = 0, now()
FROM generate_series(1, %s) AS n
"""


class Sizes(NamedTuple):
    """Bytes of a view without and with its index, and of the table of memberships."""

    view: int
    view_and_index: int
    membership: int


def load(members):
    """Create twice as many users as members; every second one is staff."""
    run(LOAD, 2 * members)
    run("ANALYZE accounts_segmentableuser")


def measure(vacuum):
    """Refresh a segment of the staff again and again; return its sizes before and after.

    Args:
        vacuum: Whether to vacuum the view and the memberships after each refresh. Autovacuum is
            off in any case.
    """
    from segments.models import Segment

    run("TRUNCATE segments_membership")
    run("ALTER TABLE segments_membership SET (autovacuum_enabled = off)")
    segment = Segment.objects.create(
        name="Staff",
        slug="staff",
        definition="SELECT id FROM accounts_segmentableuser WHERE is_staff",
    )
    run("ALTER MATERIALIZED VIEW segments.staff SET (autovacuum_enabled = off)")
    run("ANALYZE segments_membership")  # As autovacuum would.
    before = sizes()
    for _ in range(ROUNDS):
        run(
            "UPDATE accounts_segmentableuser SET is_staff = NOT is_staff WHERE random() < %s",
            CHANGED,
        )
        segment.refresh()
        if vacuum:
            run("VACUUM segments.staff, segments_membership")
    after = sizes()
    segment.delete()
    return before, after


def sizes(view="staff"):
    return Sizes(
        *run(
            "SELECT pg_relation_size(v::regclass), pg_total_relation_size(v::regclass), "
            "pg_total_relation_size('segments_membership') FROM (VALUES (%s)) AS _ (v)",
            f"segments.{view}",
        )
    )


def run(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchone() if cursor.description else None


def main(members=200_000):
    """Print the sizes in MB."""
    server = Server(SETTINGS)
    server.start()
    os.environ["DATABASE_URL"] = server.url()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    load(members)
    say(f"{members:,} members, {ROUNDS} refreshes, {CHANGED:.0%} of them changed before each")
    for vacuum in (False, True):
        before, after = measure(vacuum)
        say("vacuumed after each refresh" if vacuum else "never vacuumed")
        for name in Sizes._fields:
            start, end = (getattr(found, name) / 1e6 for found in (before, after))
            say(f"  {name:16} {start:7.1f} MB -> {end:7.1f} MB  ({end / start:.1f} times)")
    connection.close()
    server.close()


def say(line):
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
