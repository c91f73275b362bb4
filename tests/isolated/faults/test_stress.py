"""Processes that do random work on segments, and whose sessions are killed at random."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from segments import sync
from segments.models import Membership, Segment, SegmentRefresh, StaticMember
from tests.conftest import USERS
from tests.isolated.faults import worker
from tests.isolated.faults.conftest import LEFT
from tests.isolated.faults.sessions import ask, committing
from tests.waiting import until

pytestmark = [pytest.mark.slow, committing]


WORKERS, SECONDS = 4, "8"

MOST_KILLED = 50
"""How many sessions are terminated at most, so that what takes long succeeds on any machine."""

TERMINATE = """
SELECT pg_terminate_backend(pid) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'segments: %' AND state = 'active'
    ORDER BY random() LIMIT 1
) AS unlucky
"""


def keys(query, *params):
    return {key for (key,) in ask(query, *params)}


@pytest.fixture
def segments(database):
    """Segments of two thousand users."""
    model = get_user_model()
    model.objects.bulk_create([model(username=f"v{n}", is_staff=n % 2 == 0) for n in range(2000)])
    for slug in (worker.FIXED, *worker.SLUGS):
        Segment.objects.create(name=slug, slug=slug, definition=worker.DEFINITIONS[0])
    return Segment.objects.all()


def test_segments__are_whole_after_whatever_was_done_to_them(segments, server, tmp_path):
    killed, reports = stress(server, tmp_path)
    assert [report["unexpected"] for report in reports] == [[]] * WORKERS
    assert killed > 10
    assert {name for report in reports for name in report["done"]} == {
        do.__name__ for do in worker.WORK
    }
    until(lambda: not ask(LEFT))
    assert sync.check() == []
    for segment in segments.exclude(slug=worker.FIXED):
        members, indexed = look(segment)
        assert segment.members_count == len(members)
        assert indexed <= members
        # Deleted users may still be in the view.
        assert not members - indexed & keys(f"SELECT id FROM {USERS}")
    for segment in segments:
        assert segment.refresh().status in ("refreshed", "unchanged")
        members, indexed = look(segment)
        assert segment.members_count == len(members)
        assert indexed == members == set(segment.members_live.values_list("pk", flat=True))
        assert (segment.status, segment.last_error, segment.failures) == ("refreshed", "", 0)
    for model in (Membership, StaticMember, SegmentRefresh):
        assert not model.objects.exclude(segment__in=segments.values("pk")).exists()


def stress(server, folder):
    """Run the workers and terminate sessions; return how many, and the reports."""
    environment = {**os.environ, "DATABASE_URL": server.url(connection.settings_dict["NAME"])}
    reports = [folder / str(seed) for seed in range(WORKERS)]
    command = [sys.executable, "-m", "tests.isolated.faults.worker", "stress"]
    processes = []
    for seed, report in enumerate(reports):
        with report.open("w") as output:
            processes.append(
                subprocess.Popen([*command, str(seed), SECONDS], env=environment, stdout=output)
            )
    killed, deadline = 0, time.monotonic() + 160
    while working := [process for process in processes if process.poll() is None]:
        assert time.monotonic() < deadline, "a worker hangs"
        if killed < MOST_KILLED:
            killed += len(ask(TERMINATE))
        with suppress(subprocess.TimeoutExpired):
            working[0].wait(0.15)  # So that some work is done between, on a slow machine as well.
    assert [process.returncode for process in processes] == [0] * WORKERS
    return killed, [json.loads(report.read_text()) for report in reports]


def look(segment):
    """Return the members of a segment, by its view and by the index."""
    members = keys(f'SELECT user_id FROM segments."{segment.slug.replace("-", "_")}"')
    index = "SELECT user_id FROM segments_membership WHERE segment_id = %s"
    return members, keys(index, segment.pk)
