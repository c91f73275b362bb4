"""A Redis server with the same members, as a peer of membership checks."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

SERVER = "redis-server"

HALF = "half"
"""The set of the members of the segment of this slug."""

BATCH = 10_000
"""The members that one command adds."""

START_SECONDS = 10


@dataclass(frozen=True)
class Peer:
    """A Redis server of our own.

    Attributes:
        client: A client of the package redis.
        pid: The process of the server.
    """

    client: Any
    pid: int

    def load(self, key: str, members: Iterable[Any]) -> None:
        """Add members to a set."""
        left = iter(members)
        while some := [*islice(left, BATCH)]:
            self.client.sadd(key, *some)


def missing() -> str | None:
    """Return why there can be no peer; None if there can."""
    if shutil.which(SERVER) is None:
        return f"{SERVER} is not installed (on Debian: apt-get install redis-server)"
    if find_spec("redis") is None:
        return "the Python package redis is not installed"
    return None


def set_of(user: Any) -> str:
    """Return the key of the set that has the segments of a user."""
    return f"user:{user.pk}"


@contextmanager
def started() -> Iterator[Peer]:
    """Start a server that keeps nothing, on a private Unix socket as that of Postgres."""
    with tempfile.TemporaryDirectory(prefix="segments-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--dir", folder]
        command += ["--save", "", "--appendonly", "no"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                client = import_module("redis").Redis(unix_socket_path=str(socket))
                _wait_for(socket, process)
                yield Peer(client, process.pid)
                client.close()
            finally:
                process.terminate()


def _wait_for(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{SERVER} did not start")
        time.sleep(0.01)
