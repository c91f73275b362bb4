"""Processes of their own: for modules of Python, and for suites that need another environment."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_module(
    module: str, *args: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in the folder of the project, and return how it went.

    Args:
        check: Whether to fail where it does, with its command and all that it has printed.
        environment: Variables on top of those that this process has.
    """
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
        timeout=280,  # Seconds; the test that waits for it has no more than 300.
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done


def run_suite(*args: str, **environment: str) -> None:
    """Run tests with these options of pytest; fail if one of them fails, or if none passes."""
    done = run_module(
        "pytest",
        "-q",
        "-rfEs",
        "--durations=25",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *args,
        **environment,
    )
    assert " passed" in done.stdout, done.stdout
