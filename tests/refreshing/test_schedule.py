"""When segments are due, after refreshes, failures and changes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from segments import sync
from segments.exceptions import SegmentError
from segments.models import Segment
from segments.refreshing import many, schedule
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def wait(segment):
    """Return how long after its last attempt a segment is due."""
    segment = Segment.objects.get(pk=segment.pk)
    ((_, due),) = schedule.due_times([segment])
    return due - segment.attempted_at


def test_due__takes_the_interval_of_the_segment_or_the_setting(make, settings):
    hourly = make("hourly", refresh_every=timedelta(hours=1))
    plain = make("plain")
    now = hourly.refreshed_at
    assert schedule.due([hourly, plain], now + timedelta(minutes=53)) == []
    assert schedule.due([hourly, plain], now + timedelta(minutes=61)) == [hourly]
    settings.SEGMENTS_REFRESH_EVERY = timedelta(minutes=5)
    assert schedule.due([hourly, plain], now + timedelta(minutes=6)) == [plain]


def test_due__never_without_an_interval(make):
    assert schedule.due_times([make()]) == []


def test_due__never_without_an_interval_whatever_has_failed(failing):
    with pytest.raises(SegmentError):
        failing.refresh()
    assert schedule.due_times([Segment.objects.get()]) == []


@pytest.mark.parametrize("days", [999_999_999, 100_000_000, -999_999_999])
@pytest.mark.parametrize("failures", [0, 20])
def test_due__survives_an_interval_beyond_the_calendar(days, failures, make, query):
    odd, hourly = make("odd", refresh_every=timedelta(days=days)), make(refresh_every=HOUR)
    Segment.objects.filter(pk=odd.pk).update(failures=failures)
    assert hourly in schedule.due([odd, hourly], timezone.now() + DAY)
    century = timedelta(days=36500)
    most = timedelta() if days < 0 else DAY if failures else century
    assert 0.9 * most <= wait(odd) <= most
    assert len(query("SELECT due FROM segments.catalog")) == 2


@pytest.mark.slow
def test_due__spreads_over_a_tenth_of_the_interval(make):
    waits = [wait(make(f"s{n}", refresh_every=HOUR)) for n in range(40)]
    assert all(0.9 * HOUR <= each <= HOUR for each in waits)
    assert len(set(waits)) > 35
    assert max(waits) - min(waits) > timedelta(minutes=4)


def test_due__those_first_that_are_so_for_longest(make):
    late, later = make("late", refresh_every=2 * HOUR), make("later", refresh_every=HOUR)
    assert schedule.due([late, later], timezone.now() + DAY) == [later, late]


@pytest.mark.slow
def test_failures__double_the_interval_up_to_a_day(failing):
    failing.refresh_every = HOUR
    failing.save()
    for doubled in (1, 2, 4, 8, 16, 24, 24):
        with pytest.raises(SegmentError):
            failing.refresh()
        assert 0.9 * doubled * HOUR <= wait(failing) <= doubled * HOUR
    Segment.objects.filter(pk=failing.pk).update(failures=2**31 - 1)
    assert wait(failing) <= DAY


def test_failures__of_a_long_interval_are_retried_after_a_day(failing):
    failing.refresh_every = 30 * DAY
    failing.save()
    with pytest.raises(SegmentError):
        failing.refresh()
    assert 0.9 * DAY <= wait(failing) <= DAY


def test_changed_definition__is_due_at_once_whatever_has_failed(failing, settings):
    failing.refresh_every = HOUR
    failing.save()
    for _ in range(3):
        with pytest.raises(SegmentError):
            failing.refresh()
    assert schedule.due([failing]) == []
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    failing.definition = "SELECT user_id FROM shop_order"
    failing.save()
    assert (failing.status, failing.failures) == ("outdated", 0)
    assert [r.status for r in many.refresh_due()] == ["refreshed"]
    assert 0.9 * HOUR <= wait(failing) <= HOUR


def test_unchanged__counts_as_a_refresh(make, query):
    segment = make(refresh_every=HOUR)
    query("UPDATE segments_segment SET attempted_at = attempted_at - interval '2 hours'")
    segment.refresh_from_db()
    (result,) = many.refresh_due()
    assert result.status == "unchanged"
    assert list(many.refresh_due()) == []


def test_refresh_due__leaves_inactive_ones(make, query):
    make("off", refresh_every=HOUR, is_active=False)
    make("on", refresh_every=HOUR)
    query("UPDATE segments_segment SET attempted_at = NULL")
    assert [r.slug for r in many.refresh_due()] == ["on"]


def test_catalog__shows_when_each_is_due(make, query, settings):
    segment = make(refresh_every=HOUR)
    make("never")
    make("off", refresh_every=HOUR, is_active=False)
    due = dict(query("SELECT slug, due FROM segments.catalog"))
    assert due["vip"] == schedule.due_times([segment])[0][1]
    assert (due["never"], due["off"]) == (None, None)
    settings.SEGMENTS_REFRESH_EVERY = 600
    (entry,) = sync.check()
    assert entry.what == ["what all segments share is of another version or other settings"]
    assert [each.what for each in sync.sync()] == [entry.what]
    due = dict(query("SELECT slug, due FROM segments.catalog"))
    assert due["never"] == schedule.due_times([Segment.objects.get(slug="never")])[0][1]


def test_catalog__counts_failures_in_a_row(failing, query):
    for count in (1, 2):
        with pytest.raises(SegmentError):
            failing.refresh()
        assert query("SELECT status, failures FROM segments.catalog") == [("failed", count)]


@pytest.mark.parametrize("days", [90, 7])
def test_history__is_kept_for_so_many_days(days, staff, make, query, settings):
    settings.SEGMENTS_HISTORY_DAYS = days
    segment = make(definition=EVEN)
    other = make("other")
    for age in (days - 1, days + 1):
        query(
            "INSERT INTO segments_segmentrefresh "
            "(segment_id, started_at, duration, status, error) "
            "SELECT id, now() - make_interval(days => %s), '1 s', 'refreshed', '' "
            "FROM segments_segment",
            age,
        )
    segment.refresh()
    assert segment.refreshes.count() == 3
    assert other.refreshes.count() == 3
    staff(1)
    segment.refresh()
    assert segment.refreshes.filter(status="refreshed").count() == 3
