"""Refreshes of many segments: their order, failures, and parallel jobs."""

import threading

import pytest
from django.db import connections

from segments import conf, sync
from segments.exceptions import SegmentExecutionError
from segments.models import Membership, Segment
from segments.refreshing import many
from tests.conftest import EVEN, HELD, HOLD, USERS
from tests.waiting import until

pytestmark = pytest.mark.django_db


@pytest.mark.roles
def test_refresh_many__goes_on_after_a_failure(failing, make, staff):
    make("after", definition=EVEN)
    make("before", definition=EVEN)
    results = {r.slug: r for r in many.refresh_many(Segment.objects.all(), force=True)}
    assert {slug: r.status for slug, r in results.items()} == {
        "after": "refreshed", "before": "refreshed", "failing": "failed",
    }  # fmt: skip
    assert "division by zero" in str(results["failing"].error)
    assert results["failing"].members_count == 10


@pytest.mark.roles
def test_refresh_many__refreshes_dependencies_first(staff, make, query):
    make("c", definition=EVEN)
    make("b", definition="SELECT user_id FROM segments.c")
    query("CREATE VIEW bridge AS SELECT user_id FROM segments.b")
    make("a", definition="SELECT user_id FROM bridge")
    make("ab-c", static_ids=[])
    staff(1, 2, 3)
    results = list(many.refresh_many(Segment.objects.all()))
    order = [result.slug for result in results]
    assert order.index("c") < order.index("b") < order.index("a")
    assert {r.slug: r.members_count for r in results} == {"c": 3, "b": 3, "a": 3, "ab-c": 0}


def test_refresh_many__reads_the_last_members_after_a_failure(failing, make):
    make("above", definition="SELECT user_id FROM segments.failing")
    make("beside")
    results = {r.slug: r for r in many.refresh_many(Segment.objects.all(), force=True)}
    assert (results["above"].status, results["above"].members_count) == ("refreshed", 10)
    assert results["above"].notes == (
        "it reads failing, which failed, so its last good members were used",
    )
    assert results["beside"].notes == ()
    assert results["failing"].status == "failed"
    # The same holds if it failed in an earlier run.
    only = many.refresh_many(Segment.objects.filter(slug="above"), force=True)
    assert [r.notes for r in only] == [results["above"].notes]


def test_refresh_many__starts_nothing_once_it_is_stopped(make):
    make("a")
    make("b")
    stop = threading.Event()
    results = many.refresh_many(Segment.objects.all(), stop=stop)
    assert next(results).slug == "a"
    stop.set()
    assert list(results) == []


@pytest.mark.slow
@pytest.mark.roles
def test_with_dependents__goes_on_to_the_readers(staff, make):
    segment = make("base", definition=EVEN)
    make("near", definition="SELECT user_id FROM segments.base")
    make("far", definition="SELECT user_id FROM segments.near")
    make("off", definition="SELECT user_id FROM segments.base", is_active=False)
    staff(1)
    result = segment.refresh(with_dependents=True)
    assert (result.slug, result.members_count) == ("base", 1)
    assert [(r.slug, r.members_count) for r in result.dependents] == [("near", 1), ("far", 1)]
    assert len(Segment.objects.get(slug="off")) == 5


def test_with_dependents__stops_at_a_failure_and_raises(failing, make):
    above = make("above", definition="SELECT user_id FROM segments.failing")
    with pytest.raises(SegmentExecutionError, match="division by zero"):
        failing.refresh(with_dependents=True)
    assert above.refreshes.count() == 1


def test_jobs__are_one_in_a_transaction_of_the_caller(staff, make):
    make("a", definition=EVEN)
    make("b", definition=EVEN)
    staff(1)
    results = list(many.refresh_many(Segment.objects.all(), jobs=2))
    assert [r.members_count for r in results] == [1, 1]


@pytest.mark.roles
def test_refresh_for_user__refreshes_the_segments_that_changed(staff, make, users):
    changed = make("changed", definition=EVEN)
    same = make("same")
    off = make("off", definition=EVEN, is_active=False)
    users[1].is_staff = True
    users[1].save()
    results = users[1].refresh_segments()
    assert [result.slug for result in results] == ["changed"]
    assert users[1].is_member(changed)
    assert users[1].is_member(same)
    assert not users[1].is_member(off)


def test_refresh_for_user__does_the_others_and_raises(failing, staff, make, users):
    changed = make("changed", definition=EVEN)
    staff(1, 2)
    with pytest.raises(SegmentExecutionError, match="(?s)failing.*division by zero"):
        users[0].refresh_segments()
    assert not users[0].is_member(changed)


@pytest.mark.usefixtures("clean_views")
class TestJobs:
    """Several connections, which see only committed rows."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.mark.roles
    def test_jobs__refresh_side_by_side(self, staff, make, session):
        """Two refreshes that wait for a third session prove that both are under way."""
        other = session()
        other.execute(HOLD)
        try:
            for slug in "ab":
                make(slug, definition=f"SELECT id FROM {USERS} WHERE public.hold()")
            make("c", definition="SELECT user_id FROM segments.a")
            other.execute("SELECT pg_advisory_lock(7)")
            results = []
            thread = threading.Thread(target=lambda: _collect(results))
            thread.start()
            while other.execute(HELD).fetchone() != (2,):
                assert thread.is_alive()
            other.execute("SELECT pg_advisory_unlock(7)")
            thread.join()
            assert sorted(r.slug for r in results) == ["a", "b", "c"]
            assert results[-1].slug == "c" or results[-2].slug == "c"
            assert {r.status for r in results} <= {"refreshed", "unchanged"}
        finally:
            Segment.objects.all().delete()
            other.execute("DROP FUNCTION public.hold")

    def test_jobs__keep_the_order_and_the_members_of_one(self, staff, make):
        for n in range(4):
            make(f"base{n}", definition=f"{EVEN} AND id % 4 <> {n}")
            make(f"mid{n}", definition=f"SELECT user_id FROM segments.base{n}")
        make("top", definition="TABLE segments.mid0 UNION TABLE segments.mid1")
        staff(1, 2, 3)
        results = list(many.refresh_many(Segment.objects.all(), jobs=3))
        place = {r.slug: n for n, r in enumerate(results)}
        assert all(place[f"base{n}"] < place[f"mid{n}"] for n in range(4))
        assert place["top"] > max(place["mid0"], place["mid1"])
        assert {r.status for r in results} == {"refreshed"}
        for segment in Segment.objects.all():
            live = set(segment.members_live.values_list("pk", flat=True))
            assert set(segment.member_ids()) == live
            rows = Membership.objects.filter(segment=segment)
            assert set(rows.values_list("user_id", flat=True)) == live

    @pytest.mark.roles(
        "one_role",
        "exec_role",
        reason="without pg_read_all_stats, writes of other logins are unknown",
    )
    def test_jobs__skip_unchanged_segments_and_leave_no_connection(self, staff, make, query):
        for n in range(6):
            make(f"s{n}", definition=f"{EVEN} AND id % 7 <> {n}")
        staff(1)
        query("SELECT pg_stat_force_next_flush()")
        connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        before = query(connected)
        list(many.refresh_many(Segment.objects.all(), jobs=2))
        until(lambda: query(connected) == before)
        again = list(many.refresh_many(Segment.objects.all(), jobs=2))
        assert {r.status for r in again} == {"unchanged"}

    def test_jobs__that_fail_stop_no_others(self, orders, make, query):
        query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
        make("bad", definition="SELECT user_id FROM shop_order WHERE 1 / amount <= 1")
        make("good", definition="SELECT user_id FROM shop_order")
        query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
        results = {r.slug: r for r in many.refresh_many(Segment.objects.all(), jobs=2)}
        assert results["good"].status == "refreshed"
        assert "division by zero" in str(results["bad"].error)
        assert Segment.objects.get(slug="bad").failures == 1

    def test_jobs__that_are_abandoned_finish_their_refresh(self, staff, make):
        for n in range(4):
            make(f"s{n}", definition=EVEN)
        staff(1)
        results = many.refresh_many(Segment.objects.all(), jobs=2)
        next(results)
        results.close()
        names = [thread.name for thread in threading.enumerate()]
        assert [name for name in names if name.startswith("segments-")] == []
        assert sync.check() == []

    def test_jobs__survive_a_killed_connection(self, staff, make, session):
        for n in range(3):
            make(f"s{n}", definition=EVEN)
        staff(1)
        other = session(conf.exec_connection())
        results = []
        for result in many.refresh_many(Segment.objects.all(), jobs=2, force=True):
            results.append(result)
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name LIKE 'segments: %'"
            )
        assert len(results) == 3
        for result in many.refresh_many(Segment.objects.all(), jobs=2, force=True):
            assert result.members_count == 1

    def test_scheduled__skips_segments_that_another_run_refreshed(self, staff, make):
        segment = make(definition=EVEN)
        listed = list(Segment.objects.all())
        staff(1)
        segment.refresh()
        assert [r.status for r in many.refresh_many(listed, scheduled=True)] == ["locked"]
        assert segment.refreshes.count() == 2


def _collect(results):
    try:
        results.extend(many.refresh_many(Segment.objects.all(), jobs=2, force=True))
    finally:
        connections.close_all()
