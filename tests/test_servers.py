"""The servers for tests crash, recover, have replicas, and leave nothing behind."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.processes import ROOT
from tests.servers import Server
from tests.waiting import until

pytestmark = pytest.mark.slow

SAFE = {"synchronous_commit": "on"}
STARTER = """\
import sys
from tests.servers import Server
server = Server()
server.start()
print(server.replica().home, server.home, flush=True)
sys.stdin.read()
"""


def values(server):
    with psycopg.connect(server.url(), autocommit=True) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]


def test_crash__keeps_commits_and_close_leaves_nothing():
    with Server(SAFE) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
            connection.commit()
            connection.execute("INSERT INTO kept VALUES (2)")
            server.crash()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url())
        server.start()
        assert values(server) == [1]
        assert "database system was not properly shut down" in server.log
        server.restart()
        assert values(server) == [1]
        home, pid = server.home, server.pid
    assert not home.exists()
    assert not Path(f"/proc/{pid}").exists()
    server.close()


def test_start__after_the_postmaster_was_killed():
    with Server(SAFE) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        server.stop("kill")
        assert (server.home / "data" / "postmaster.pid").exists()
        server.start()
        assert values(server) == [1]


def test_replica__follows_and_is_read_only():
    with Server() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
            with server.replica({"hot_standby_feedback": "on"}) as replica:
                connection.execute("INSERT INTO kept VALUES (2)")
                replica.catch_up()
                assert values(replica) == [1, 2]
                with psycopg.connect(replica.url()) as reader:
                    assert reader.execute("SHOW hot_standby_feedback").fetchone() == ("on",)
                    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                        reader.execute("INSERT INTO kept VALUES (3)")


def test_servers__leave_nothing_when_their_process_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        homes = [Path(home) for home in process.stdout.readline().split()]
        assert len(homes) == 2
        assert all((home / "data").exists() for home in homes)
        process.send_signal(signal.SIGKILL)
        until(lambda: not any(home.exists() for home in homes))
