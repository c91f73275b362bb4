"""What people see who come with psql, or with any other tool that speaks SQL."""

import os
import shutil
import subprocess

from django.db import connection
from django.db.backends.postgresql.client import DatabaseClient

from demo.postgres import binaries_folder

QUERIES = (
    """\
SELECT slug, kind, view_name, members_count, status
FROM segments.catalog ORDER BY slug;""",
    "SELECT count(*) FROM segments.win_back;",
    """\
SELECT date_trunc('month', placed_on)::date AS month, sum(amount) AS dollars,
       sum(amount) FILTER (WHERE user_id IS NOT NULL) AS from_big_spenders
FROM shop_order LEFT JOIN segments.big_spenders ON user_id = customer_id
WHERE placed_on >= '1998-01-01' GROUP BY month ORDER BY month;""",
)
"""How all segments are doing, one of them, and one joined with the shop's own tables."""


def ask(query: str) -> str:
    """Return what psql prints for a query; where there is no psql, the rows as the driver does."""
    program = _program()
    if program is None:
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = [[column.name for column in cursor.description], *cursor.fetchall()]
        return "\n".join(" | ".join(map(str, row)) for row in rows)
    parameters = ["--no-psqlrc", "--command", query]
    args, env = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, parameters)
    done = subprocess.run(
        [program, *args[1:]],
        env=os.environ | (env or {}), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip("\n")


def _program() -> str | None:
    """Return the psql of the server's own binaries, else the one on PATH."""
    try:
        path = str(binaries_folder())
    except RuntimeError:  # DATABASE_URL needs no binaries.
        path = ""
    return shutil.which("psql", path=path) or shutil.which("psql")
