"""What a refresh writes to the feed: exactly what changed, in its own transaction."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from segments import signals, sync
from segments.exceptions import SegmentChangesError, SegmentError
from segments.models import ChangeConsumer, Membership, Segment, SegmentChange
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db


def rows(segment):
    """Return (user, entered) of all changes, by id."""
    found = SegmentChange.objects.filter(segment=segment)
    return list(found.values_list("user__username", "entered"))


@pytest.mark.roles
def test_refresh__writes_who_entered_and_left(segment, move):
    result = move(0, 2, 3)
    assert sorted(rows(segment)) == [("u3", True), ("u4", False), ("u6", False), ("u8", False)]
    assert (result.added, result.removed) == (1, 3)
    assert set(SegmentChange.objects.values_list("refresh_id", flat=True)) == {result.refresh_id}
    assert segment.refreshes.latest().pk == result.refresh_id


def test_refresh__completes_the_row_of_its_history(segment, move):
    result = move(0, 3)
    latest = segment.refreshes.latest()
    assert (latest.members_count, latest.added, latest.removed) == (2, 1, 4)
    assert (latest.status, latest.error, latest.duration) == ("refreshed", "", result.duration)
    assert segment.refreshes.count() == 2


@pytest.mark.parametrize("concurrently", [True, False])
def test_refresh__writes_the_same_if_rows_are_rewritten(segment, staff, concurrently):
    staff(0, 1)
    segment.refresh(concurrently, force=True)
    assert sorted(rows(segment)) == [("u1", True), *((f"u{n}", False) for n in (2, 4, 6, 8))]


def test_population__is_a_row_of_the_history_only(segment):
    assert rows(segment) == []
    (first,) = segment.refreshes.all()
    assert (first.added, first.removed, first.members_count) == (5, 0, 5)


def test_refresh__without_changes_writes_none(segment):
    result = segment.refresh(force=True)
    assert (rows(segment), result.change_ids) == ([], None)
    assert list(result.changes()) == []
    assert result.refresh_id == segment.refreshes.latest().pk


def test_refresh__that_is_rolled_back_writes_none(segment, staff):
    staff(1)
    with pytest.raises(KeyError), transaction.atomic():
        segment.refresh(force=True)
        assert len(rows(segment)) == 6
        raise KeyError
    assert rows(segment) == []
    segment.refresh(force=True)
    assert len(rows(segment)) == 6


def test_refresh__that_fails_writes_none(failing):
    with pytest.raises(SegmentError, match="division by zero"):
        failing.refresh()
    assert rows(failing) == []


def test_result__iterates_over_its_own_changes(segment, move):
    move(0, 2)
    result = move(1)
    assert {(c.user.username, c.entered) for c in result.changes()} == {
        ("u0", False), ("u1", True), ("u2", False),
    }  # fmt: skip
    assert [c.pk for c in result.changes()] == sorted(c.pk for c in result.changes())


def test_signal__carries_the_changes(segment, staff, django_capture_on_commit_callbacks):
    got = []

    def receive(result, **kwargs):
        got.append({(c.user.username, c.entered) for c in result.changes()})

    signals.segment_refreshed.connect(receive)
    staff(0, 2, 4, 6, 9)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            segment.refresh(force=True)
    finally:
        signals.segment_refreshed.disconnect(receive)
    assert got == [{("u8", False), ("u9", True)}]


@pytest.mark.roles
def test_tracking__off_writes_none_and_ends_the_feed(segment, move, staff):
    move(0)
    Segment.objects.update(track_changes=False)
    move(1)
    assert len(rows(segment)) == 4
    segment.refresh_from_db()
    assert segment.tracked_since is None
    Segment.objects.update(track_changes=True)
    move(2)
    assert [row for row in rows(segment) if row[0] in ("u1", "u2")][-2:] == [
        ("u1", False), ("u2", True),
    ]  # fmt: skip


def test_save__that_redefines_writes_the_difference(segment):
    segment.definition = f"SELECT id FROM {USERS} WHERE username IN ('u0', 'u1')"
    segment.save()
    assert sorted(rows(segment)) == [("u1", True), *((f"u{n}", False) for n in (2, 4, 6, 8))]


def test_save__of_a_stale_instance_keeps_the_state_of_the_feed(segment, move):
    stale = Segment.objects.get()
    Segment.objects.update(changes_kept_after=7, changes_kept_from=timezone.now())
    stale.name = "Other"
    stale.save()
    segment.refresh_from_db()
    assert (segment.changes_kept_after, stale.changes_kept_after) == (7, 7)


def test_list__that_is_saved_writes_the_difference(make, users):
    segment = make("pilot", static_ids=users[:3])
    segment.static_ids = users[2:5]
    segment.save()
    assert sorted(rows(segment)) == [
        ("u0", False), ("u1", False), ("u3", True), ("u4", True),
    ]  # fmt: skip


def test_detached__members_come_back_without_changes(segment, move):
    list(sync.detach())
    assert [step.error for step in sync.sync() if step.error] == []
    move(0, 2, 4, 6, 8)
    assert rows(segment) == []


def test_repair__of_lost_views_writes_the_difference_only(segment, staff, owner):
    owner("DROP MATERIALIZED VIEW segments.vip")
    staff(0, 2, 4, 6, 9)
    assert [step.error for step in sync.sync() if step.error] == []
    assert sorted(rows(segment)) == [("u8", False), ("u9", True)]


@pytest.mark.slow
def test_repair__after_changes_were_not_tracked_hides_no_gap(segment, move, owner, staff):
    before = segment.change_cursor()
    segment.track_changes = False
    segment.save()
    move(0)
    segment.track_changes = True
    segment.save()
    owner("DROP MATERIALIZED VIEW segments.vip")
    staff(0, 1)
    assert [step.error for step in sync.sync() if step.error] == []
    with pytest.raises(SegmentChangesError, match="not tracked for some time"):
        list(segment.changes(before))
    assert ("u1", True) in rows(segment)


def test_repair__of_lost_views_of_an_empty_segment(segment, move, owner, staff):
    move()
    SegmentChange.objects.all().delete()
    owner("DROP MATERIALIZED VIEW segments.vip")
    staff(1)
    assert [step.error for step in sync.sync() if step.error] == []
    assert rows(segment) == [("u1", True)]


@pytest.mark.parametrize("how", ["django", "sql"])
def test_deleted_user__left_at_the_next_refresh(segment, users, query, how):
    key = users[0].pk
    if how == "django":
        users[0].delete()
    else:
        query(f"DELETE FROM {USERS} WHERE id = %s", key)
    segment.refresh()
    assert list(SegmentChange.objects.values_list("user_id", "entered")) == [(key, False)]
    assert not Membership.objects.filter(user_id=key).exists()


@pytest.mark.roles
def test_deleted_segment__takes_changes_and_consumers_along(segment, move):
    move(1)
    with segment.consumer("crm") as delivery:
        list(delivery)
    segment.delete()
    assert not SegmentChange.objects.exists()
    assert not ChangeConsumer.objects.exists()


@pytest.mark.roles
def test_pruning__deletes_what_is_older_than_the_setting(segment, move, settings):
    move(0)
    SegmentChange.objects.update(at=timezone.now() - timedelta(days=5))
    last = SegmentChange.objects.last().pk
    settings.SEGMENTS_CHANGES_DAYS = 6
    move(0, 1)
    assert len(rows(segment)) == 5
    settings.SEGMENTS_CHANGES_DAYS = 4
    segment.refresh()  # Unchanged refreshes prune as well.
    assert rows(segment) == [("u1", True)]
    segment.refresh_from_db()
    assert segment.changes_kept_after == last
    assert timezone.now() - segment.changes_kept_from >= timedelta(days=5)


@pytest.mark.slow
def test_pruning__goes_in_batches_and_keeps_up(segment, move, settings, query):
    query(
        "INSERT INTO segments_change (segment_id, user_id, entered, at, refresh_id) "
        "SELECT %s, 1, true, now() - interval '9 days', 1 FROM generate_series(1, 25000)",
        segment.pk,
    )
    settings.SEGMENTS_CHANGES_DAYS = 3
    counts = []
    for _ in range(3):
        segment.refresh()
        counts.append(SegmentChange.objects.count())
    assert counts == [15_000, 5_000, 0]


def test_pruning__leaves_other_segments_alone(segment, move, make, settings, staff):
    other = make("other", definition=EVEN)
    move(0)
    other.refresh(force=True)
    SegmentChange.objects.update(at=timezone.now() - timedelta(days=5))
    settings.SEGMENTS_CHANGES_DAYS = 4
    segment.refresh()
    assert (len(rows(segment)), len(rows(other))) == (0, 4)
