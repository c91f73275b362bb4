"""A pgbouncer in front of a server, if it is installed."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import psycopg

from tests.own_server import DATABASE
from tests.scaling.docs import block
from tests.waiting import until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
"""Debian installs it in /usr/sbin."""

OURS = """\
[databases]
* = host={home} user=postgres

{documented}
listen_addr =
listen_port = 6432
unix_socket_dir = {home}
auth_type = any
default_pool_size = {pool}
"""


@contextmanager
def pgbouncer(server, pool):
    """Run a pgbouncer, and yield the URL of the database through it.

    Args:
        server: The server behind it; pgbouncer uses its folder and its account.
        pool: The largest number of its connections to the server.
    """
    ini, url = server.home / "pgbouncer.ini", f"{server.url(DATABASE)}&port=6432"
    documented = block("ini", "pool_mode")
    ini.write_text(OURS.format(home=server.home, pool=pool, documented=documented))
    with (server.home / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, ini],
            cwd=server.home,
            preexec_fn=server.become,
            stdout=log,
            stderr=log,
        )

    def answers():
        assert process.poll() is None, (server.home / "pgbouncer.log").read_text()
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until(answers)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
