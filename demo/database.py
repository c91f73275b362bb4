"""The demo's own database on whatever server it uses, made anew by each run.

It is called `segments_demo`, or what `SEGMENTS_DEMO_DATABASE` says. Nothing else on the server is
touched: a database of that name which no demo has made is left alone.
"""

import os

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

NAME = os.environ.get("SEGMENTS_DEMO_DATABASE", "segments_demo")

SIGNATURE = "The demo of django-segments, dropped and created anew by each run of it."
"""The comment by which a database of the demo is told from others."""


def recreate(url: str) -> str:
    """Drop the demo's database, with the sessions in it, and create it empty.

    Args:
        url: Any database of the server; its role must be allowed to create databases.

    Returns:
        The version of the server.

    Raises:
        RuntimeError: when there is a database of this name without the demo's mark.
        psycopg.Error: when the server cannot be reached, or refuses.
    """
    name = sql.Identifier(NAME)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [NAME],
        ).fetchone()
        if found and found[0] != SIGNATURE:
            raise RuntimeError(
                f'The server has a database "{NAME}" that no demo has made. '
                "Name another one: SEGMENTS_DEMO_DATABASE=..."
            )
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        # From template0: nobody is ever connected to it, and it is as Postgres made it.
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(SIGNATURE))
        )
        return connection.info.parameter_status("server_version") or "unknown"


def address(url: str) -> str:
    """Return what to give psql for the demo's database, without the password."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    parts.pop("password", None)
    return make_conninfo("", **{**parts, "dbname": NAME})
