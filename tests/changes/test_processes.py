"""Refreshes and readers side by side: no gap and no repeat, whatever is open or rolled back."""

import json
import os
import subprocess
import sys
import threading

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from segments.exceptions import SegmentLockedError
from segments.models import Membership, Segment, SegmentChange
from tests.conftest import EVEN
from tests.processes import ROOT
from tests.sessions import connect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]

SECONDS = "4"


def elsewhere(function):
    """Run a function in another session, and return what it returns."""
    results = []

    def run():
        try:
            results.append(function())
        except SegmentLockedError as error:
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def test_reader__waits_for_no_open_refresh_and_misses_none(segment, make, staff, told):
    other = make("other", definition=EVEN)
    cursors = {each: each.change_cursor() for each in (segment, other)}
    read = {each: [] for each in (segment, other)}

    def go_on():
        for each in (segment, other):
            for change in each.changes(after=cursors[each]):
                read[each].append(change)
                cursors[each] = change.cursor

    staff(1)
    with transaction.atomic():
        segment.refresh(force=True)  # Its ids are taken, and not committed.
        elsewhere(lambda: staff(3))
        elsewhere(lambda: Segment.objects.get(slug="other").refresh(force=True))
        elsewhere(go_on)
        assert (told(read[segment]), len(read[other])) == ([], 6)
        locked = elsewhere(lambda: Segment.objects.get(slug="vip").refresh(force=True))
        assert locked.status == "locked"
    elsewhere(go_on)
    assert sorted(told(read[segment])) == ["+1", "-0", "-2", "-4", "-6", "-8"]
    assert max(int(c.id) for c in read[segment]) < min(int(c.id) for c in read[other])
    assert len(read[other]) == 6


def test_consumer__is_locked_in_other_sessions(segment):
    with segment.consumer("crm"):
        found = elsewhere(lambda: list_of(segment))
        assert isinstance(found, SegmentLockedError)
        assert 'another run of the consumer "crm" is going on' in str(found)
        assert elsewhere(lambda: segment.refresh(force=True)).status == "refreshed"
    assert len(elsewhere(lambda: list_of(segment))) == 5


def list_of(segment):
    with segment.consumer("crm") as delivery:
        return list(delivery)


def test_consumer__whose_session_dies_lets_go_and_repeats(segment, query):
    with pytest.raises(Exception, match="terminat|closed"), segment.consumer("crm") as delivery:
        lost = list(delivery)
        with connect() as killer:
            killer.execute(
                "SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid]
            )
    connection.close()
    assert list_of(segment) == lost


def test_ids__are_taken_one_by_one(query):
    """A sequence with a cache would give the ids of a segment in another order than commits."""
    ((cache,),) = query(
        "SELECT seqcache FROM pg_sequence "
        "WHERE seqrelid = pg_get_serial_sequence('segments_change', 'id')::regclass"
    )
    assert cache == 1


@pytest.mark.slow
def test_processes__that_refresh_and_follow_agree(transactional_db, make, tmp_path):
    model = get_user_model()
    model.objects.bulk_create([model(username=f"v{n}", is_staff=n % 2 == 0) for n in range(200)])
    segments = [make(slug, definition=EVEN) for slug in ("a", "b")]
    end = str(tmp_path / "end")
    followers = [start("follow", slug, name, end) for slug in "ab" for name in ("crm", "mail")]
    twin = start("follow", "a", "crm", end)  # Two processes share this consumer.
    writers = [start("refresh", SECONDS, "a", "b", end) for _ in range(3)]
    assert [told(writer)[1] for writer in writers] == [0, 0, 0]
    open(end, "w").close()
    runs = [told(follower) for follower in [*followers, twin]]
    assert {code for _, code in runs} == {0}
    lines = [lines for lines, _ in runs]
    assert_whole(segments[0], merged(lines[0], lines[4]))
    for segment, each in zip([segments[0], *segments[1:] * 2], lines[1:4], strict=True):
        assert_whole(segment, each)
    assert SegmentChange.objects.count() > 100


def start(*arguments):
    environment = os.environ | {"SEGMENTS_DATABASE": connection.settings_dict["NAME"]}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.changes.worker", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def told(process):
    """Return what a process has printed, a list for each line, and its exit code."""
    out, _ = process.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines()], process.returncode


def merged(*runs):
    """Return the runs of several processes in the order of what they delivered."""
    rows = [rows for each in runs for rows in each if rows]
    return sorted(rows, key=lambda rows: (not rows[0][3], int(rows[0][0].partition("-")[0])))


def assert_whole(segment, runs):
    """Assert that a consumer got a snapshot and every change after it, once and in order."""
    rows = [tuple(row) for run in runs for row in run]
    members = {user for _, user, _, snapshot in rows if snapshot}
    place = {int(id_.partition("-")[0]) for id_, _, _, snapshot in rows if snapshot}
    got = [int(id_) for id_, _, _, snapshot in rows if not snapshot]
    assert len(place) == 1
    known = SegmentChange.objects.filter(segment=segment, pk__gt=place.pop())
    assert got == list(known.order_by("pk").values_list("pk", flat=True))
    for _, user, change, snapshot in rows:
        if not snapshot:  # A change that did not fit the members before it would be a mistake.
            assert (user in members) == (change == "left")
            (members.add if change == "entered" else members.remove)(user)
    present = Membership.objects.filter(segment=segment).values_list("user_id", flat=True)
    assert members == set(present)
    total = segment.refreshes.exclude(pk=segment.refreshes.earliest().pk)
    assert sum(each.added + each.removed for each in total) == (
        SegmentChange.objects.filter(segment=segment).count()
    )
