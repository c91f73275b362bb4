"""A consumer gets the members once and then every change, and moves on when that is delivered."""

from datetime import timedelta

import pytest
from django.db import transaction

from segments.changes import feed
from segments.exceptions import SegmentChangesError, SegmentLockedError
from segments.models import ChangeConsumer, Segment, SegmentChange
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db

MEMBERS = ["=0", "=2", "=4", "=6", "=8"]


@pytest.fixture
def take(segment, told):
    """Take all that a consumer has not got yet."""

    def run(name="crm", **options):
        with segment.consumer(name, **options) as delivery:
            return told(delivery)

    return run


@pytest.mark.roles
def test_consumer__gets_the_members_and_then_the_changes(take, move):
    assert take() == MEMBERS
    assert take() == []
    move(0, 2, 4, 6)
    move(0, 2, 4, 6, 9)
    assert take() == ["-8", "+9"]
    assert take() == []


def test_consumer__gets_no_old_changes_after_a_snapshot(take, move):
    move(0, 2)
    assert take() == ["=0", "=2"]


def test_snapshot__knows_what_committed_right_before_it(take, move, monkeypatch):
    look = feed.last_place

    def then_refresh(*args):
        place = look(*args)
        move(0, 9)
        return place

    monkeypatch.setattr(feed, "last_place", then_refresh)
    assert take() == ["=0", "=9"]


def test_consumers__have_places_of_their_own(take, move):
    assert take("crm") == MEMBERS
    move(0, 2, 4, 6)
    assert take("mail") == MEMBERS[:4]
    assert take("crm") == ["-8"]


def test_consumer__of_a_segment_is_not_that_of_another(take, make):
    take()
    other = make("other", definition=EVEN)
    with other.consumer("crm") as delivery:
        assert delivery.snapshot
        assert len(list(delivery)) == 5


def test_consumer__that_fails_gets_the_same_rows_again(segment, take, move, told):
    take()
    move(1)
    got = []
    with pytest.raises(KeyError), segment.consumer("crm") as delivery:
        got = list(delivery)
        raise KeyError
    with segment.consumer("crm") as delivery:
        assert list(delivery) == got


def test_consumer__that_fails_in_its_snapshot_begins_again(segment, take):
    with pytest.raises(KeyError), segment.consumer("crm") as delivery:
        next(iter(delivery))
        raise KeyError
    assert not ChangeConsumer.objects.exists()
    assert take() == MEMBERS


def test_consumer__that_stops_early_goes_on_from_there(segment, take, move):
    take()
    move(0, 2)
    with segment.consumer("crm") as delivery:
        for taken, _ in enumerate(delivery, 1):
            if taken == 2:
                break
    assert delivery.delivered == 2
    assert len(take()) == 1


def test_consumer__that_stops_in_its_snapshot_begins_again(segment, take):
    with segment.consumer("crm") as delivery:
        next(iter(delivery))
    assert take() == MEMBERS


def test_consumer__goes_with_what_it_writes(segment, take, move, users):
    take()
    move(1)
    model = type(users[0])
    with pytest.raises(KeyError), segment.consumer("crm") as delivery:
        for change in delivery:
            model.objects.filter(pk=change.user).update(first_name=change.change)
        raise KeyError
    assert not model.objects.exclude(first_name="").exists()


def test_consumer__in_a_transaction_moves_with_it(segment, take, move):
    take()
    move(0, 2, 4, 6)
    with pytest.raises(KeyError), transaction.atomic():
        assert take() == ["-8"]
        assert take() == []
        raise KeyError
    assert take() == ["-8"]


def test_consumer__is_locked_within_its_own_block(segment, take):
    with segment.consumer("crm"):
        with pytest.raises(SegmentLockedError, match='another run of the consumer "crm"'):
            take()
        assert take("other") == MEMBERS
    assert take() == MEMBERS


def test_consumer__that_is_restarted_gets_a_snapshot(take, move):
    take()
    move(0, 2, 4, 6, 9)
    assert take(restart=True) == ["=0", "=2", "=4", "=6", "=9"]
    assert take() == []


def test_consumer__whose_restart_fails_begins_again(segment, take, move):
    take()
    move(0, 2)
    with pytest.raises(ZeroDivisionError), segment.consumer("crm", restart=True) as delivery:
        next(iter(delivery))
        raise ZeroDivisionError
    assert take() == ["=0", "=2"]


def test_consumer__that_missed_pruned_changes_is_an_error(segment, take, move, settings, told):
    take()
    move(0, 2, 4, 6)
    SegmentChange.objects.update(at=segment.created_at - timedelta(days=5))
    settings.SEGMENTS_CHANGES_DAYS = 4
    segment.refresh()
    with pytest.raises(SegmentChangesError, match="Start again with a snapshot"):
        take()
    assert take(restart=True) == MEMBERS[:4]
    assert take() == []


def test_consumer__of_an_empty_segment_gets_who_enters(make, staff, told):
    staff()
    segment = make(definition=EVEN)
    with segment.consumer("crm") as delivery:
        assert list(delivery) == []
    staff(3)
    segment.refresh(force=True)
    with segment.consumer("crm") as delivery:
        assert told(delivery) == ["+3"]


def test_consumer__before_the_first_population_gets_it(segment, query, staff, told):
    Segment.objects.update(refreshed_at=None, tracked_since=None)
    query("DELETE FROM segments_membership")
    with segment.consumer("crm") as delivery:
        assert list(delivery) == []
    segment.refresh(force=True)
    with segment.consumer("crm") as delivery:
        assert sorted(told(delivery)) == ["+0", "+2", "+4", "+6", "+8"]


def test_consumer__of_an_untracked_segment_is_an_error(make, staff):
    segment = make(definition=EVEN, track_changes=False)
    with pytest.raises(SegmentChangesError, match="are not tracked"), segment.consumer("crm"):
        pass


@pytest.mark.parametrize("name", ["", "x" * 101, None, 7, "a\0b"])
def test_consumer__needs_a_name(segment, name):
    with pytest.raises(ValueError, match="1 to 100 characters"), segment.consumer(name):
        pass


def test_consumer__gets_rows_with_ids_that_tell_them_apart(segment, move):
    with segment.consumer("crm") as delivery:
        first = list(delivery)
    with segment.consumer("crm", restart=True) as delivery:
        assert list(delivery) == first
    move(1)
    with segment.consumer("crm") as delivery:
        ids = [row.id for row in (*first, *delivery)]
    assert len(set(ids)) == len(ids) == 11


def test_consumer__pages_do_not_repeat(segment, take, move, monkeypatch):
    monkeypatch.setattr(feed, "PAGE", 2)
    take()
    move(1, 3, 5)
    assert len(take()) == 8
    assert take() == []
