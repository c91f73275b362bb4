"""Ask a segment who entered and who left: since when, and after which cursor."""

import re
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from segments.changes import feed
from segments.exceptions import SegmentChangesError, SegmentExecutionError
from segments.models import Segment, SegmentChange
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def names(changes):
    return sorted(changes.users().values_list("username", flat=True))


def age(segment, days):
    """Make everything about a segment older."""
    by = timedelta(days=days)
    segment.refresh_from_db()
    moved = {
        name: getattr(segment, name) - by
        for name in ("created_at", "tracked_since", "changes_kept_from", "refreshed_at")
        if getattr(segment, name)
    }
    Segment.objects.filter(pk=segment.pk).update(**moved)
    SegmentChange.objects.filter(segment=segment).update(at=F("at") - by)
    segment.refreshes.update(started_at=F("started_at") - by)
    segment.refresh_from_db()


def test_entered__and_left_since_a_time(segment, move):
    move(0, 1)
    assert names(segment.entered(HOUR)) == ["u1"]
    assert names(segment.left(since=timezone.now() - HOUR)) == ["u2", "u4", "u6", "u8"]
    assert names(segment.entered(timezone.now())) == []


def test_entered__streams_in_the_order_of_refreshes(segment, move):
    move(0, 1)
    move(0, 3)
    move(0, 1)
    found = segment.entered(HOUR)
    assert [c.user.username for c in found.iterator()] == ["u1", "u3", "u1"]
    assert [c.pk for c in found] == sorted(c.pk for c in found)


def test_entered__since_a_refresh_leaves_that_out(segment, move):
    first = segment.refreshes.latest()
    result = move(0, 1)
    second = segment.refreshes.latest()
    move(0, 3)
    assert names(segment.entered(first)) == ["u1", "u3"]
    assert names(segment.entered(second)) == names(segment.entered(result)) == ["u3"]
    assert names(segment.left(second)) == ["u1"]
    assert names(segment.left(segment.refreshes.latest())) == []


@pytest.fixture
def history(segment, make, users):
    """20,000 changes of a segment, one refresh an hour with ten, and a few of others."""
    other = make("other")
    start = timezone.now() - 2000 * HOUR
    Segment.objects.update(created_at=start - HOUR, tracked_since=start - HOUR)
    SegmentChange.objects.bulk_create(
        SegmentChange(
            segment_id=other.pk if n % 100 == 99 else segment.pk,
            user_id=users[n % 10].pk,
            entered=n % 2 == 0,
            at=start + HOUR * (n // 10),
            refresh_id=1000 + n // 10,
        )
        for n in range(20_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE segments_change")
    segment.refresh_from_db()
    return segment, other


@pytest.mark.slow
def test_entered__since_any_moment_is_complete(history, query):
    start = SegmentChange.objects.first().at
    # The clock was set back by some hours, twice.
    back = SegmentChange.objects.filter(refresh_id__gte=1500, refresh_id__lte=1600)
    back.update(at=F("at") - 23 * HOUR)
    SegmentChange.objects.filter(refresh_id__gt=2990).update(at=F("at") - 5 * HOUR)
    for hours in (*range(-1, 2002, 77), *range(1470, 1630, 13), 1998, 1999, 2000):
        moment = start + hours * HOUR
        for segment in history:
            rows = SegmentChange.objects.filter(segment=segment.pk, entered=True)
            found = segment.entered(moment).values_list("pk", flat=True)
            assert list(found) == list(rows.filter(at__gte=moment).values_list("pk", flat=True))


@pytest.mark.slow
def test_first_change__after_each_refresh(history):
    for key in (0, 999, 1000, 1009, 2000, 2998, 2999, 5000):
        for segment in history:
            rows = SegmentChange.objects.filter(segment=segment.pk)
            first = feed.first_since(segment, "default", refresh=key)
            expected = rows.filter(refresh_id__gt=key)
            assert list(rows.filter(pk__gte=first)) == list(expected)


@pytest.mark.slow
def test_first_change__is_right_above_an_earlier_one(history):
    """A refresh that is not committed yet may have ids below the last one of other segments."""
    segment, _other = history
    SegmentChange.objects.filter(segment=segment.pk, refresh_id__gt=1500).delete()
    last = SegmentChange.objects.filter(segment=segment.pk).last()
    assert feed.first_since(segment, "default", moment=timezone.now()) == last.pk + 1
    SegmentChange.objects.filter(segment=segment.pk).delete()
    assert feed.first_since(segment, "default", moment=timezone.now()) == 0


def test_first_change__of_no_changes(segment, make):
    assert feed.first_since(make("empty"), "default", moment=timezone.now()) == 0
    assert list(segment.entered(HOUR)) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_entered__reads_what_is_new_however_long_the_history(history, number):
    """The plans are what Postgres really does: how many rows are looked at in vain."""
    segment = history[number]
    with CaptureQueriesContext(connection) as queries:
        found = segment.entered(5 * HOUR)
    search = next(q["sql"] for q in queries if "WITH RECURSIVE" in q["sql"])
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS) " + search)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using segments_change_segment" in plan
    assert "Seq Scan" not in plan
    assert int(re.search(r"Buffers: shared hit=(\d+)", plan)[1]) < 300
    for rows in (found, found.order_by("-pk")[:100], found.order_by("pk")[:100]):
        plan = rows.explain(analyze=True)
        assert "Seq Scan" not in plan
        skipped = sum(map(int, re.findall(r"Rows Removed by Filter: (\d+)", plan)))
        assert skipped < 400  # The changes of the day before, at most.


def test_entered__before_the_segment_was_created_is_complete(segment, move):
    move(0, 1)
    assert names(segment.entered(timedelta(days=365))) == ["u1"]


def test_entered__of_another_segments_refresh_is_an_error(segment, make):
    other = make("other", definition=EVEN)
    with pytest.raises(SegmentChangesError, match='"vip": this is a refresh of another segment'):
        segment.entered(other.refreshes.latest())


def test_entered__of_a_refresh_without_history_is_an_error(segment):
    result = segment.refresh()
    segment.refreshes.all().delete()
    with pytest.raises(SegmentChangesError, match="not in the history"):
        segment.entered(result)


@pytest.mark.parametrize(
    ("since", "error"),
    [
        (-HOUR, ValueError), (datetime(2026, 1, 1), ValueError), (3600, TypeError),  # noqa: DTZ001
        ("2026-01-01", TypeError), (None, TypeError),
    ],
)  # fmt: skip
def test_entered__since_something_else_is_an_error(segment, since, error):
    with pytest.raises(error):
        segment.entered(since)


def test_left__since_before_the_oldest_kept_is_an_error(segment, move, settings):
    move(0, 1)
    age(segment, days=5)
    settings.SEGMENTS_CHANGES_DAYS = 4
    move(0, 3)
    assert names(segment.entered(timedelta(days=4))) == ["u3"]
    with pytest.raises(SegmentChangesError, match="its changes are known from 2"):
        segment.entered(timedelta(days=6))
    with pytest.raises(SegmentChangesError, match="SEGMENTS_CHANGES_DAYS"):
        segment.left(segment.refreshes.earliest())


def test_entered__while_they_were_not_tracked_is_an_error(segment, move):
    Segment.objects.update(track_changes=False)
    move(1)
    with pytest.raises(SegmentChangesError, match="its changes are not tracked\nHint: Set its"):
        segment.entered(HOUR)
    moment = timezone.now()
    Segment.objects.update(track_changes=True)
    for _ in range(2):  # Before and after the next refresh.
        assert names(segment.entered(moment)) == []
        with pytest.raises(SegmentChangesError, match="known from"):
            segment.entered(HOUR)
        segment.refresh(force=True)


@pytest.mark.roles
def test_changes__go_on_after_a_cursor(segment, move, told):
    assert list(segment.changes()) == []
    move(0, 2, 4, 6, 9)
    first, second = segment.changes()
    assert sorted(told([first, second])) == ["+9", "-8"]
    assert told(segment.changes(after=first.cursor)) == told([second])
    assert list(segment.changes(after=second.cursor)) == []
    move(0, 2, 4, 6)
    assert told(segment.changes(after=second.cursor)) == ["-9"]


def test_changes__say_what_when_and_which_refresh(segment, move, users):
    before = timezone.now()
    result = move(0, 2, 4, 6)
    (change,) = segment.changes()
    assert (change.segment, change.user, change.change) == ("vip", users[8].pk, "left")
    assert before - timedelta(seconds=5) < change.at < timezone.now() + timedelta(seconds=5)
    assert (change.refresh, change.id) == (result.refresh_id, str(result.change_ids[0]))


def test_changes__come_in_pages_of_one_order(segment, move, told, monkeypatch):
    monkeypatch.setattr(feed, "PAGE", 2)
    move(1, 3, 5)
    move(0)
    ids = [int(change.id) for change in segment.changes()]
    assert len(ids) == 12
    assert ids == sorted(ids)


def test_changes__do_not_mix_segments(segment, move, make, staff, told):
    other = make("other", definition=EVEN)
    move(0, 2)
    other.refresh(force=True)
    move(0, 2, 4)
    assert told(segment.changes())[-1] == "+4"
    assert sorted(told(other.changes())) == ["-4", "-6", "-8"]


def test_cursor__of_now_leads_to_what_comes(segment, move, told):
    move(0)
    cursor = segment.change_cursor()
    move(0, 1)
    assert told(segment.changes(after=cursor)) == ["+1"]


def test_cursor__before_any_change_leads_to_the_first(make, staff, told):
    Segment.objects.update(track_changes=True)
    segment = make(definition=EVEN)
    cursor = segment.change_cursor()
    staff(0, 2, 4, 6)
    segment.refresh(force=True)
    assert told(segment.changes(after=cursor)) == ["-8"]


def test_cursor__of_another_segment_is_an_error(segment, make):
    other = make("other", definition=EVEN)
    with pytest.raises(SegmentChangesError, match="cursor of another segment"):
        segment.changes(after=other.change_cursor())


def test_cursor__of_a_deleted_segment_is_an_error(segment, make):
    cursor = segment.change_cursor()
    segment.delete()
    with pytest.raises(SegmentChangesError, match="of one that was deleted"):
        make(definition=EVEN).changes(after=cursor)


def test_cursor__that_was_pruned_away_is_an_error(segment, move, settings, told):
    start = segment.change_cursor()
    move(0, 2, 4, 6)
    pruned = segment.change_cursor()
    move(0, 2, 4, 6, 9)
    first = SegmentChange.objects.first()
    SegmentChange.objects.filter(pk=first.pk).update(at=first.at - timedelta(days=5))
    settings.SEGMENTS_CHANGES_DAYS = 4
    segment.refresh()
    with pytest.raises(SegmentChangesError, match="deleted for their age.*\nHint: Start again"):
        list(segment.changes(after=start))
    assert told(segment.changes(after=pruned)) == told(segment.changes()) == ["+9"]


def test_cursor__that_is_pruned_while_reading_is_an_error(segment, move, monkeypatch):
    monkeypatch.setattr(feed, "PAGE", 2)
    move(1, 3, 5)
    reading = segment.changes()
    next(reading)
    Segment.objects.update(changes_kept_after=SegmentChange.objects.last().pk)
    SegmentChange.objects.all().delete()
    with pytest.raises(SegmentChangesError, match="deleted for their age"):
        list(reading)


def test_cursor__from_before_tracking_was_off_is_an_error(segment, move, told):
    move(0, 2, 4, 6)
    cursor = segment.change_cursor()
    Segment.objects.update(track_changes=False)
    move(0, 2)
    Segment.objects.update(track_changes=True)
    move(0, 2, 9)
    with pytest.raises(SegmentChangesError, match="not tracked for some time since then"):
        list(segment.changes(after=cursor))
    assert told(segment.changes()) == ["+9"]


def test_changes__of_an_untracked_segment_are_an_error(make, staff):
    segment = make(definition=EVEN, track_changes=False)
    for read in (lambda: list(segment.changes()), segment.change_cursor):
        with pytest.raises(SegmentChangesError, match="its changes are not tracked"):
            read()


def test_changes__of_a_deleted_segment_are_an_error(segment):
    stale = Segment.objects.get()
    segment.delete()
    with pytest.raises(SegmentExecutionError, match="it has been deleted"):
        list(stale.changes())
