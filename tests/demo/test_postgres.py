"""The throw-away server starts, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.processes import ROOT
from tests.waiting import until

pytestmark = pytest.mark.slow

STARTER = """\
import sys
from demo.postgres import database_url
print(database_url(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def starter():
    """Start a process that starts a server; yield both the process and the server's URL."""
    without = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT, env=without, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # Like a background job of a shell.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:  # fmt: skip
        yield process, process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda process: process.stdin.close(), id="exits"),
        pytest.param(lambda process: process.terminate(), id="SIGTERM"),
        pytest.param(lambda process: process.kill(), id="SIGKILL"),
    ],
)
def test_start__leaves_nothing_however_its_process_ends(starter, end):
    process, url = starter
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        home = Path(connection.info.host)
    assert (home / "data").exists()
    end(process)
    until(lambda: not home.exists())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
