"""The watcher refreshes due segments until it is stopped, and survives a lost database."""

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from segments.models import Segment
from segments.refreshing import many, watch
from tests.conftest import EVEN, HELD, HOLD
from tests.processes import ROOT

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]


def test_watch__yields_due_segments_and_ends_when_stopped(make, query):
    make("due", refresh_every=timedelta(hours=1))
    make("never")
    query("UPDATE segments_segment SET attempted_at = NULL")
    stop = threading.Event()
    results = watch.watch(stop)
    assert next(results).slug == "due"
    stop.set()
    assert list(results) == []


def test_watch__waits_for_the_next_segment_and_no_longer(make):
    assert watch._until_next() == watch.LONGEST
    make(refresh_every=timedelta(hours=1))
    assert watch._until_next() == watch.LONGEST
    Segment.objects.update(refresh_every=timedelta())
    assert watch._until_next() == watch.SHORTEST


def test_watch__goes_on_when_the_database_is_back(make, monkeypatch, caplog):
    make(refresh_every=timedelta())
    due, down = many.refresh_due, [OperationalError("connection refused")] * 2

    def refresh_due(*args):
        if down:
            raise down.pop()
        return due(*args)

    monkeypatch.setattr(watch, "refresh_due", refresh_due)
    monkeypatch.setattr(watch, "LONGEST", timedelta(milliseconds=10))
    stop = threading.Event()
    assert next(watch.watch(stop)).slug == "vip"
    assert caplog.text.count("connection refused") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command__finishes_the_refresh_at_hand(number, staff, make, session):
    """The definition waits for a lock of this test, so the refresh is running."""
    other = session()
    other.execute(HOLD)
    try:
        make(definition=f"{EVEN} AND public.hold()", refresh_every=timedelta(hours=1))
        make("other", refresh_every=timedelta(hours=1))
        staff(1)
        Segment.objects.filter(slug="vip").update(attempted_at=None)
        other.execute("SELECT pg_advisory_lock(7)")
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "refresh_segments", "--watch"],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "SEGMENTS_DATABASE": connection.settings_dict["NAME"],
            },
        )  # fmt: skip
        while other.execute(HELD).fetchone() != (1,):
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        other.execute("SELECT pg_advisory_unlock(7)")
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert "vip: 1 members, +1 -5" in out
        assert len(Segment.objects.get(slug="vip")) == 1
    finally:
        Segment.objects.all().delete()
        other.execute("DROP FUNCTION public.hold")
