"""Waiting for other sessions and processes."""

import time

PATIENCE = 30
"""Seconds to wait before a test fails."""


def until(condition):
    """Return the value of a condition as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"condition not met within {PATIENCE} s")
        time.sleep(0.01)
    return value
