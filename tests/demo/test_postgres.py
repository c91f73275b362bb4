"""The throw-away server: it starts, and it leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
STARTER = """\
import signal
from demo.postgres import database_url
print(database_url(), flush=True)
signal.pause()
"""


@pytest.fixture
def starter():
    """Start a process that has started a server, and return it with the server's URL."""
    without = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=ROOT, env=without, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()
        process.kill()


def wait_until(condition):
    """Return once the condition holds; fail after ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_start__leaves_nothing_however_its_process_ends(starter, number):
    process, url = starter
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        home = Path(connection.info.host)
    assert (home / "data").exists()
    process.send_signal(number)
    wait_until(lambda: not home.exists())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
