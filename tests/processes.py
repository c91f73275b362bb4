"""Child processes: for modules of Python, and for tests that need other settings."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_module(
    module: str, *args: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in the folder of the project, and return the result.

    Args:
        check: Whether to fail if the module does, with its command and its output.
        environment: Environment variables in addition to those of this process.
    """
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
        timeout=280,  # Seconds; the test that waits for it has 300.
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
