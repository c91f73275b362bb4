"""Refreshes among faults; on servers of their own, since the faults are those of servers, too."""

import pytest

from tests.processes import run_suite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("suite", ["interrupted", "crashed", "concurrent", "stress"])
def test_refresh__survives(suite):
    run_suite(f"tests/faults/suite_{suite}.py", "-p", "tests.own_server")
