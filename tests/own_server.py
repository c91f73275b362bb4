"""A server for the tests of one module, which may stop, crash or configure it.

A module gets it by the fixture `server`. Django's connections lead there while the tests of the
module run, and back to the common server afterwards.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections

from demo.postgres import django_database
from tests.servers import Server

SETTINGS = {
    "fsync": "off",  # The machine does not crash.
    "synchronous_commit": "on",  # A commit survives a crash of the server.
    "autovacuum": "off",
    "max_prepared_transactions": "5",
    "log_min_messages": "panic",
}

DATABASE = "segments"
"""The database on the server."""


def create_database(server: Server) -> str:
    """Create the database on a server, without tables, and return its URL."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return server.url(DATABASE)


@contextmanager
def connected(**databases: Mapping[str, Any]) -> Iterator[None]:
    """Let Django's connections lead to other databases for a while.

    The entries of `DATABASES` are changed in place, so that new threads use them as well.

    Args:
        databases: The changes to the entry of each alias. A new alias is removed at the end.
    """
    settings = connections.settings
    before = {alias: dict(entry) for alias, entry in settings.items()}
    _disconnect()
    try:
        for alias, changes in databases.items():
            settings.setdefault(alias, {}).update(changes)
        connections.configure_settings(settings)  # Adds the defaults to new entries.
        yield
    finally:
        _disconnect()
        for alias in databases:
            if alias in before:
                settings[alias].clear()
                settings[alias].update(before[alias])
            else:
                del connections[alias], settings[alias]


def _disconnect() -> None:
    """Close all connections, and forget the ids of content types."""
    connections.close_all()
    ContentType.objects.clear_cache()


@contextmanager
def own_server(settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """Start a server with a migrated database; `default` and `exec` lead there."""
    with Server(dict(settings)) as server:
        entry = django_database(create_database(server))
        with connected(default=entry, exec=entry):
            call_command("migrate", verbosity=0)
            yield server
