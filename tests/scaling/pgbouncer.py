"""A real pgbouncer in front of a server, where one is installed."""

import atexit
import os
import shutil
import subprocess

import psycopg

from tests.scaling.docs import block
from tests.waiting import until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
"""Debian has it where only root looks."""

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


def start(server, pool):
    """Start a pgbouncer that ends with this process, and return the URL of the server through it.

    Args:
        server: What it connects to; it lives in the same folder, and runs as the same account.
        pool: How many connections to the server it opens at most.
    """
    ini, url = server.home / "pgbouncer.ini", f"{server.url()}&port=6432"
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

    atexit.register(process.terminate)

    def answers():
        assert process.poll() is None, (server.home / "pgbouncer.log").read_text()
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers)
    return url
