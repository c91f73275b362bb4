"""Waiting for other sessions and processes."""

import time

PATIENCE = 30
"""Seconds to wait before a test fails."""

# Tests that run at the same time, in other databases, share the server and its pg_locks.
LOCKS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Counts the advisory locks of this database, held or waited for."""

BLOCKED = f"{LOCKS} AND NOT granted"
"""Counts the sessions of this database that wait for an advisory lock, also in a transaction."""

STUCK = """
SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND datname = current_database()
"""
"""Has a row if a session of this database waits for a lock of any kind; not in a transaction."""


def until(condition):
    """Return the value of a condition as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"condition not met within {PATIENCE} s")
        time.sleep(0.01)
    return value
