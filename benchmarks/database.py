"""The benchmarks' own databases, and the connections to them.

Made anew by each run and dropped at its end. Nothing else on the server is touched: a database
that has their name, and that no benchmark has made, is left alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.postgres import database_url
from segments import conf

NAME = "segments_bench"

FEW = "segments_bench_few"
"""A copy of it from when there were few segments."""

SIGNATURE = "The benchmarks of django-segments, dropped and created anew by each run of them."
"""The comment by which a database of the benchmarks is told from others."""


class NotOursError(Exception):
    """The name of a benchmark's database is taken by one that no benchmark has made."""


@contextmanager
def created() -> Iterator[None]:
    """Create the benchmarks' database, and drop all of theirs at the end.

    Raises:
        NotOursError: when there is a database of that name without the benchmarks' mark.
    """
    with _server() as server:
        for name in (NAME, FEW):
            _drop(server, name)
        _create(server, NAME, template="template0")
    try:
        yield
    finally:
        connection.close()
        with _server() as server:
            for name in (NAME, FEW):
                _drop(server, name)


def copy_as_few() -> None:
    """Copy the benchmarks' database as it stands now; nobody may be connected to it but Django."""
    connection.close()
    with _server() as server:
        _create(server, FEW, template=NAME)


def reconnect(name: str = NAME) -> None:
    """Give Django a new connection to a database, on which it never prepares statements."""
    connection.close()
    connection.settings_dict["NAME"] = name
    connection.settings_dict["OPTIONS"]["prepare_threshold"] = None
    connection.connect()


@contextmanager
def kept(place: Callable[[Any], None]) -> Iterator[Callable[[int | None], None]]:
    """Return a function that gives Django its connection with an option `prepare_threshold`.

    Each is opened once, and lives as long as that of the other sides. A process of the server that
    has just started is slower, since it has to map each page of an index that it reads.

    Args:
        place: Moves the server's process of a connection to its core.
    """
    connection.close()
    opened: dict[int | None, Any] = {}

    def use(prepare_threshold: int | None) -> None:
        connection.connection = opened.get(prepare_threshold)
        if connection.connection is None:
            connection.settings_dict["OPTIONS"]["prepare_threshold"] = prepare_threshold
            connection.connect()
            place(connection.connection)
            opened[prepare_threshold] = connection.connection

    try:
        yield use
    finally:
        connection.connection = None
        for each in opened.values():
            each.close()
        reconnect()


def connect() -> psycopg.Connection[Any]:
    """Open a plain connection, as somebody without Django would, with a refresh's work_mem."""
    plain = psycopg.connect(make_conninfo(database_url(), dbname=NAME), autocommit=True)
    plain.execute("SELECT set_config('work_mem', %s, false)", [conf.work_mem()])
    return plain


def _server() -> psycopg.Connection[Any]:
    return psycopg.connect(database_url(), autocommit=True)


def _create(server: psycopg.Connection[Any], name: str, template: str) -> None:
    server.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )
    server.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(name), sql.Literal(SIGNATURE)
        )
    )


def _drop(server: psycopg.Connection[Any], name: str) -> None:
    found = server.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    if found and found[0] != SIGNATURE:
        raise NotOursError(f'The server has a database "{name}" that no benchmark has made.')
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
