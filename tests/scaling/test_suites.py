"""Several servers: the suites for them, each in a process with servers of its own."""

import os
import subprocess
import sys

import pytest

from tests.demo.test_postgres import ROOT
from tests.scaling.pgbouncer import PROGRAM


@pytest.mark.parametrize(
    ("suite", "settings"),
    [
        ("replica", "settings_replica"),
        ("foreign", "settings_foreign"),
        pytest.param(
            "pgbouncer",
            "settings_pgbouncer",
            marks=pytest.mark.skipif(not PROGRAM, reason="pgbouncer is not installed"),
        ),
        ("growth", "settings"),
    ],
)
def test_suite(suite, settings):
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
            "-p", "no:xdist", f"tests/scaling/suite_{suite}.py",
        ],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": f"tests.scaling.{settings}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
