"""A pytest plugin: the tests run on a server of their own, which they may stop or crash."""

import os

import pytest

from tests.servers import Server

SETTINGS = {
    "fsync": "off",  # The machine stays up.
    "synchronous_commit": "on",  # What was committed is there after a crash of the server.
    "autovacuum": "off",
    "max_prepared_transactions": "5",
    "log_min_messages": "panic",
}

_server = Server(SETTINGS)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests():
    """Start the server before Django's settings ask for one."""
    _server.start()
    os.environ["DATABASE_URL"] = _server.url()
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(_server.home / "hypothesis")


def pytest_unconfigure():
    """Stop the server and remove its data."""
    _server.close()


@pytest.fixture
def server():
    """The server that the test database is on."""
    return _server
