"""Traces, where a server of their own is needed: it crashes, and its statistics are reset."""

import os
import subprocess
import sys

import pytest

from tests.demo.test_postgres import ROOT


@pytest.mark.parametrize(
    "suite",
    ["server", "random"],
)
def test_suite(suite):
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "-o", "timeout=280", "-p", "tests.traces.server",
            f"tests/traces/suite_{suite}.py",
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
