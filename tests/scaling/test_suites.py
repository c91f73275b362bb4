"""Several servers: the suites for them, each in a process with servers of its own."""

import pytest

from tests.processes import run_suite
from tests.scaling.pgbouncer import PROGRAM

pytestmark = pytest.mark.slow


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
    run_suite(
        f"tests/scaling/suite_{suite}.py", DJANGO_SETTINGS_MODULE=f"tests.scaling.{settings}"
    )
