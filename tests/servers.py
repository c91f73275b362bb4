"""Postgres servers for tests that stop, crash, restart or copy one.

A server listens only on a private Unix socket, and ends with the process that started it, even if
that is killed. The demo's launcher starts it.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import django.db
import psycopg
import pytest

from demo.postgres import CARELESS, SETTINGS, Place, create_data, launch, make_place, stop

SMALL = {"shared_buffers": "32MB", "max_wal_size": "256MB"}
"""Settings that differ from those of the demo's server, since several run at once."""


def skip_without_library(cursor: Any, name: str) -> None:
    """Skip a test that needs a library which the server does not have, or cannot load."""
    try:
        cursor.execute(f"LOAD '{name}'")
    except (psycopg.Error, django.db.Error) as error:
        pytest.skip(f"this server cannot load {name}: {error}")


SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
"""The signal for each way to stop a postmaster."""


class Server:
    """A server, created and started by `start()` or a `with` statement.

    Args:
        settings: Settings of postgresql.conf, in addition to those of the demo's server.
        durable: Whether the server is as careful as one in production, and as slow. Otherwise a
            crash loses the commits of the last fraction of a second, unless the setting
            `synchronous_commit` is `on`.
    """

    port = 5432
    """The same for all servers, as each has its own socket directory."""

    def __init__(self, settings: dict[str, str] | None = None, durable: bool = False) -> None:
        self.settings = SETTINGS | SMALL | ({} if durable else CARELESS) | (settings or {})
        self.primary: Server | None = None
        self._place: Place | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server, on its data if it has any; return once it accepts connections.

        Does nothing if the server runs. Recovers the commits before a crash. The server ends with
        the thread that started it, so call this from the main thread.
        """
        if self._process is not None:
            return
        if self._place is None:
            self._place = make_place()
            create_data(self._place)
        self._process = launch(self._place, self.settings)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and keep its data; return once it is gone.

        Args:
            mode: `fast` disconnects clients and writes all out; `immediate` writes nothing, so
                that the next start recovers; `kill` does not even let it remove its pid file.
        """
        os.kill(self.pid, SIGNALS[mode])
        self._process.wait(timeout=30)
        self._process = None

    def crash(self) -> None:
        """Stop the server without informing its clients and without writing anything."""
        self.stop("immediate")

    def restart(self, mode: str = "fast") -> None:
        """Stop the server and start it again on the same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop the server and remove its data; do nothing the second time."""
        if self._process is not None:
            stop(self._process)
            self._process = None
        if self._place is not None:
            shutil.rmtree(self.home, ignore_errors=True)
            self._place = None

    def replica(self, settings: dict[str, str] | None = None) -> "Server":
        """Start a physical streaming replica of this server, made by pg_basebackup.

        Args:
            settings: Settings that differ from those of this server.
        """
        copy = Server(self.settings | (settings or {}))
        copy.primary, copy._place = self, make_place()
        copy.run(
            "pg_basebackup", "--dbname", self.url(), "--pgdata", copy.home / "data",
            "--write-recovery-conf", "--checkpoint", "fast", "--no-sync",
        )  # fmt: skip
        copy.start()
        return copy

    def catch_up(self, timeout: float = 30) -> None:
        """Return once this replica has replayed all commits of its primary up to now.

        Args:
            timeout: Seconds after which this fails.
        """
        with psycopg.connect(self.primary.url(), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            connection.execute("SELECT pg_logical_emit_message(true, 'tests', '')")  # Flushes.
            (position,) = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        deadline = time.monotonic() + timeout
        with psycopg.connect(self.url(), autocommit=True) as connection:
            while not connection.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]
            ).fetchone()[0]:
                assert time.monotonic() < deadline, f"{position} was not replayed"
                time.sleep(0.01)

    def run(self, program: str, *arguments: object, **options: object) -> str:
        """Run a program of the server's binaries as its account, and return what it prints."""
        return subprocess.run(
            [self.bin / program, *map(str, arguments)],
            cwd=self.home,
            preexec_fn=self.become,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            **options,
        ).stdout

    def url(self, dbname: str = "postgres") -> str:
        """Return the URL of a database of this server."""
        return self._place.url(dbname)

    @property
    def home(self) -> Path:
        """The folder of the socket, the log and the data."""
        return self._place.home

    @property
    def bin(self) -> Path:
        """The folder of the binaries."""
        return self._place.bin

    @property
    def become(self) -> Callable[[], None]:
        """A function for child processes that switches to the account of this server."""
        return self._place.become

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self.home / "data" / "postmaster.pid").read_text().split("\n")[0])

    @property
    def log(self) -> str:
        """The log of the server."""
        return (self.home / "log").read_text(errors="replace")
