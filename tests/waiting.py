"""Waiting for what other sessions and processes do."""

import time

PATIENCE = 30
"""Seconds after which something that is waited for has failed."""


def until(condition):
    """Return what the condition gives as soon as that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it has not come to that")
        time.sleep(0.01)
    return value
