"""The users of the benchmarks, half of whom are in the segment."""

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from psycopg import sql
from rich.progress import Progress

USERS = sql.Identifier(get_user_model()._meta.db_table)

DEFINITION = sql.SQL("SELECT id FROM {users} WHERE is_staff").format(users=USERS)
"""The definition of the segment, and of all that it is measured against."""

# A table whose rows are updated at each login is not stored in the order of its key, hence random.
INSERT = sql.SQL("""
    INSERT INTO {users} (
        id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active,
        date_joined
    )
    SELECT
        n, 'pbkdf2_sha256$1000000$' || repeat('x', 66), false, 'user' || n, 'First', 'Last',
        'user' || n || '@example.org', mod(hashint8(n), 2) = 0, true,
        now() - n * interval '1 minute'
    FROM generate_series(1, %s::bigint) AS n
    ORDER BY random()
""").format(users=USERS)

# The function hashes with a seed, so that each round picks other users.
FLIP = sql.SQL("""
    UPDATE {users} SET is_staff = NOT is_staff WHERE mod(hashint8extended(id, %s), 100) = 0
""").format(users=USERS)


def create_users(progress: Progress, count: int) -> None:
    """Create the tables and the users in them."""
    task = progress.add_task("Creating users", total=3)
    call_command("migrate", verbosity=0)
    progress.advance(task)
    with connection.cursor() as cursor:
        # Vacuumed by the benchmarks themselves, and so never in the middle of a measurement.
        cursor.execute(sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = false)").format(USERS))
        cursor.execute(INSERT, [count])
    progress.advance(task)
    vacuum()
    progress.advance(task)


def flip(seed: int) -> None:
    """Let 1 % of the users change sides."""
    with connection.cursor() as cursor:
        cursor.execute(FLIP, [seed])
    vacuum()


def vacuum() -> None:
    """Leave no work of the past to who is measured next."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
