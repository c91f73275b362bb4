"""Refreshes while another session wants to use the same segment."""

import pytest

from segments import sync
from segments.exceptions import SegmentLockedError
from segments.models import Membership, Segment, SegmentRefresh, Status
from tests.isolated.faults.sessions import (
    OTHERS,
    POINTS,
    STAFF,
    ask,
    committing,
    outcome,
    run_here,
    waits,
)
from tests.waiting import until

pytestmark = [pytest.mark.slow, committing]


at_each_point = pytest.mark.parametrize("point", POINTS)

BY_HAND = [
    "REFRESH MATERIALIZED VIEW segments.vip",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY segments.vip",
]

each_statement = pytest.mark.parametrize("statement", BY_HAND, ids=["plain", "concurrently"])


def redefine():
    segment = Segment.objects.get(slug="vip")
    segment.definition = OTHERS
    segment.save()


def rename():
    segment = Segment.objects.get(slug="vip")
    segment.slug = "gold"
    segment.save()


def delete():
    Segment.objects.get(slug="vip").delete()


@pytest.fixture
def refreshing(segment, hold, elsewhere):
    """Start a refresh that is held up at a point; return its release and its future."""

    def start(point):
        held, other = hold(point), elsewhere()
        work = other.start(lambda: Segment.objects.get(slug="vip").refresh())
        held.wait_for(other.pid)
        return held.release, work

    return start


@pytest.fixture
def behind(elsewhere):
    """Start a piece of work in another session, and return once it waits for a lock."""

    def start(do):
        other = elsewhere()
        work = other.start(do)
        until(lambda: work.done() or waits(other.pid))
        assert not work.done(), outcome(work)
        return work

    return start


@pytest.fixture
def behind_refresh(refreshing, behind):
    """Assert that a piece of work waits for a refresh at a point, and then succeeds."""

    def check(do, point):
        release, first = refreshing(point)
        second = behind(do)
        release()
        assert first.result(20).status == "refreshed"
        assert outcome(second) is None

    return check


@at_each_point
def test_refresh__of_one_that_is_refreshed_is_left_out(point, refreshing, segment, sound, new):
    release, first = refreshing(point)
    again = segment.refresh()  # It must not wait: the other one is held up.
    assert (again.status, again.members_count) == ("locked", 5)
    assert list(sync.sync()) == sync.check() == []  # Neither of them waits.
    release()
    result = first.result(20)
    assert (result.status, result.added, result.removed) == ("refreshed", 1, 3)
    assert SegmentRefresh.objects.count() == 2
    sound("vip", new, new)


@at_each_point
def test_redefine__waits_for_the_refresh(point, behind_refresh, sound, users):
    behind_refresh(redefine, point)
    others = {user.pk for user in users[3:]}
    sound("vip", others, others)


@at_each_point
def test_rename__waits_for_the_refresh(point, behind_refresh, sound, new):
    behind_refresh(rename, point)
    assert ask("SELECT to_regclass('segments.vip'), to_regclass('segments_live.vip')") == [
        (None, None)
    ]
    sound("gold", new, new)


@at_each_point
def test_delete__waits_for_the_refresh(point, behind_refresh, sound, new):
    behind_refresh(delete, point)
    assert ask("SELECT to_regclass('segments.vip'), to_regclass('segments_live.vip')") == [
        (None, None)
    ]
    assert not Membership.objects.exists()
    assert not SegmentRefresh.objects.exists()
    assert sync.check() == []
    Segment.objects.create(name="VIP", slug="vip", definition=STAFF)
    sound("vip", new, new)


@pytest.mark.parametrize("point", ["refresh", "commit"])
@pytest.mark.parametrize("change", [redefine, rename, delete])
def test_change__gives_up_at_the_lock_timeout(
    change, point, refreshing, segment, sound, new, settings
):
    release, first = refreshing(point)
    settings.SEGMENTS_LOCK_TIMEOUT = 0.1
    with pytest.raises(SegmentLockedError):
        change()
    release()
    assert first.result(20).status == "refreshed"
    settings.SEGMENTS_LOCK_TIMEOUT = 10
    assert Segment.objects.get().definition == STAFF
    sound("vip", new, new)


@each_statement
@at_each_point
def test_refresh_by_hand__waits_for_the_refresh(statement, point, behind_refresh, sound, new):
    behind_refresh(lambda: run_here(statement), point)
    sound("vip", new, new)


@each_statement
def test_refresh__waits_for_one_by_hand(statement, segment, hold, elsewhere, behind, sound, new):
    held, other = hold("refresh"), elsewhere()
    first = other.start(lambda: run_here(statement))
    held.wait_for(other.pid)
    second = behind(segment.refresh)
    held.release()
    assert outcome(first) is None
    result = second.result(20)
    assert (result.status, result.added, result.removed) == ("refreshed", 0, 0)
    sound("vip", new, new)


@each_statement
def test_refresh__waits_for_one_by_hand_up_to_the_lock_timeout(
    statement, segment, hold, elsewhere, sound, old, new, settings
):
    held, other = hold("refresh"), elsewhere()
    first = other.start(lambda: run_here(statement))
    held.wait_for(other.pid)
    settings.SEGMENTS_LOCK_TIMEOUT = 0.1
    with pytest.raises(SegmentLockedError):
        segment.refresh()
    ask("SELECT pg_terminate_backend(%s)", other.pid)
    assert "terminating connection" in str(outcome(first))
    held.release()
    settings.SEGMENTS_LOCK_TIMEOUT = 10
    sound("vip", old, new, Status.FAILED, "due to lock timeout")


@at_each_point
@pytest.mark.parametrize("name", ["u1", "u5", "u8"], ids=["enters", "stays out", "leaves"])
def test_deleted_user__is_out_after_the_next_refresh(
    name, point, refreshing, elsewhere, segment, sound, users, new
):
    release, first = refreshing(point)
    user = type(users[0]).objects.get(username=name)
    key = user.pk
    other = elsewhere()
    second = other.start(user.delete)  # Waits if the refresh has deleted the membership.
    until(lambda: second.done() or waits(other.pid))
    release()
    assert first.result(20).status == "refreshed"
    assert outcome(second) is None
    ((view,),) = ask("SELECT coalesce(array_agg(user_id), '{}') FROM segments.vip")
    assert set(view) - {key} == new - {key}
    assert set(Membership.objects.values_list("user_id", flat=True)) - {key} == new - {key}
    segment.refresh()
    sound("vip", new - {key}, new - {key})
