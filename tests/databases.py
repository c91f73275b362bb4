"""Further databases, for tests that run other programs or commands on one."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from demo.postgres import binaries_folder, database_url
from tests.processes import run_module

PASSWORD = "secret"


def unique(name: str) -> str:
    """Return a name that no other worker of pytest-xdist uses."""
    return f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def address(database: str) -> str:
    """Return the connection string of a database of the server."""
    return make_conninfo(database_url(), dbname=database)


def login(where: str, role: str) -> str:
    """Return the connection string of the same database for another role."""
    return make_conninfo(where, user=role, password=PASSWORD)


def run(where: str, *statements: str) -> list[tuple]:
    """Run statements, each in a transaction of its own, and return the rows of the last."""
    with psycopg.connect(where, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def login_role(name: str, create: bool = True) -> Iterator[str]:
    """Create a role that may log in, and drop it in the end."""
    name, server = unique(name), database_url()
    drop = sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)).as_string()
    run(server, drop)
    if create:
        run(server, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    try:
        yield name
    finally:
        run(server, drop)


@contextmanager
def database(name: str, owner: str = "") -> Iterator[str]:
    """Create an empty database, and drop it in the end."""
    name, server = unique(name), database_url()
    run(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    run(server, f"CREATE DATABASE {name} {f'OWNER {owner}' * bool(owner)} TEMPLATE template0")
    try:
        yield name
    finally:
        run(server, f"DROP DATABASE {name} WITH (FORCE)")


def manage(
    where: str, *args: str, readers: Sequence[str] = (), module: str = "django", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of Django or another module, in a process that uses another database."""
    return run_module(
        module, *args, check=check,
        DATABASE_URL=where,
        DJANGO_SETTINGS_MODULE="tests.settings",
        SEGMENTS_TEST_READERS=" ".join(readers),
    )  # fmt: skip


def program(name: str) -> str:
    """Return the path of a Postgres program, of the server's version if possible."""
    try:
        path = str(binaries_folder())
    except RuntimeError:  # DATABASE_URL needs no binaries.
        path = ""
    found = shutil.which(name, path=path) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
