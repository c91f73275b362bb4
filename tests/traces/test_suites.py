"""Traces, where a server of their own is needed: it crashes, and its statistics are reset."""

import pytest

from tests.processes import run_suite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("suite", ["server", "random"])
def test_suite(suite):
    run_suite(f"tests/traces/suite_{suite}.py", "-p", "tests.own_server")
