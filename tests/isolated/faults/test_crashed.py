"""Refreshes during which the server stops or crashes."""

import os
import signal

import pytest
from django.db import connection

from segments.exceptions import SegmentExecutionError
from segments.models import Segment, Status
from tests.isolated.faults.sessions import (
    OTHERS,
    PLACES,
    POINTS,
    STAFF,
    answers,
    committing,
    outcome,
)
from tests.waiting import until

pytestmark = [pytest.mark.slow, committing]


STOPS = ("fast", "immediate", "kill")
"""A regular stop; a stop that needs recovery; a killed postmaster."""


@pytest.mark.parametrize(("point", "concurrently"), PLACES)
def test_refresh__of_which_the_backend_is_killed(
    point, concurrently, segment, hold, elsewhere, sound, old, new
):
    """All sessions end, and the server recovers by itself."""
    held, other = hold(point), elsewhere()
    work = other.start(lambda: segment.refresh(concurrently))
    held.wait_for(other.pid)
    os.kill(other.pid, signal.SIGKILL)
    error = outcome(work)
    until(held.is_lost)
    until(answers)
    assert isinstance(error, SegmentExecutionError)
    # The status depends on whether the server took connections when the refresh failed.
    sound("vip", old, new, status=None)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize(("point", "concurrently"), PLACES)
def test_refresh__of_which_the_server_stops(
    stop, point, concurrently, segment, hold, elsewhere, server, sound, old, new
):
    held, other = hold(point), elsewhere()
    work = other.start(lambda: segment.refresh(concurrently))
    held.wait_for(other.pid)
    server.stop(stop)
    error = outcome(work)
    until(held.is_lost)
    server.start()
    assert isinstance(error, SegmentExecutionError)
    assert segment.status == Status.REFRESHED
    sound("vip", old, new)


@pytest.mark.parametrize("point", POINTS)
def test_save__of_which_the_server_crashes(
    point, segment, hold, elsewhere, server, sound, old, new
):
    held, other = hold(point), elsewhere()
    segment.definition, segment.slug = OTHERS, "other"
    work = other.start(segment.save)
    held.wait_for(other.pid)
    server.crash()
    outcome(work)
    server.start()
    connection.close()
    stored = Segment.objects.get()
    assert (stored.slug, stored.definition) == ("vip", STAFF)
    sound("vip", old, new)
    with pytest.raises(SegmentExecutionError):
        work.result()


@pytest.mark.parametrize("stop", STOPS)
def test_refresh__that_is_committed_survives(stop, segment, server, sound, new):
    segment.refresh()
    server.restart(stop)
    sound("vip", new, new)
