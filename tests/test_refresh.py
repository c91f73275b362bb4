"""Refreshing one segment: counts, failures, locks, and the index of memberships."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connections, transaction

from segments import conf, sync
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    SegmentLockedError,
)
from segments.models import Membership, Segment, SegmentRefresh, Status
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db


def members(query, slug="vip"):
    return {key for (key,) in query(f"SELECT user_id FROM segments.{slug}")}


def indexed(segment):
    return set(Membership.objects.filter(segment=segment).values_list("user_id", flat=True))


def at_once(count, work):
    """Call a function with each number, all at once; raise the first error."""

    def call(number):
        try:
            work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(call, range(count)))


@pytest.mark.roles
def test_refresh__counts_who_entered_and_left(staff, make, query):
    segment = make(definition=EVEN)
    staff(0, 1, 2)
    result = segment.refresh()
    assert (result.status, result.members_count) == ("refreshed", 3)
    assert (result.added, result.removed) == (1, 3)
    assert result.duration > timedelta()
    assert segment.members_count == 3
    assert indexed(segment) == members(query)
    assert segment.refresh().added == 0


@pytest.mark.parametrize("concurrently", [True, False])
@pytest.mark.parametrize("track_counts", ["on", "off"])
def test_refresh__counts_are_exact_however_it_is_done(
    concurrently, track_counts, staff, make, query
):
    query(f"SET LOCAL track_counts = {track_counts}")
    segment = make(definition=EVEN)
    assert (segment.refreshes.get().added, segment.refreshes.get().removed) == (5, 0)
    staff(0, 1, 2)
    result = segment.refresh(concurrently=concurrently)
    assert (result.members_count, result.added, result.removed) == (3, 1, 3)
    assert indexed(segment) == members(query)


def test_refresh__inside_a_savepoint_counts_only_its_own_rows(staff, make):
    segment = make(definition=EVEN)
    alias = conf.exec_connection()
    with transaction.atomic(using=alias):
        staff(0, 1, 2)
        assert segment.refresh().added == 1
        with transaction.atomic(using=alias):
            staff(0, 1, 2, 3)
            assert segment.refresh().added == 1


def test_refresh__concurrently_keeps_the_rows_that_stay(staff, make, query):
    segment = make(definition=EVEN)
    staff(0, 1, 2)
    before = query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")
    segment.refresh()
    after = query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")
    assert before == after
    segment.refresh(concurrently=False)
    assert after != query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")


def test_refresh__says_who_entered_and_since_when(staff, make, users):
    segment = make(definition=EVEN)
    Membership.objects.update(entered_at="2020-06-01T00:00:00Z")
    staff(0, 1)
    segment.refresh()
    since = dict(Membership.objects.values_list("user_id", "entered_at__year"))
    assert since[users[0].pk] == 2020
    assert since[users[1].pk] > 2020


@pytest.mark.roles
def test_refresh__writes_history_and_state(staff, make):
    segment = make(definition=EVEN)
    staff(1)
    segment.refresh()
    last, first = SegmentRefresh.objects.filter(segment=segment)
    assert (first.members_count, first.added, first.removed) == (5, 5, 0)
    assert (last.members_count, last.added, last.removed) == (1, 1, 5)
    assert (last.status, last.error) == (Status.REFRESHED, "")
    assert last.duration > timedelta()
    stored = Segment.objects.get()
    assert (stored.status, stored.members_count) == (Status.REFRESHED, 1)
    assert last.started_at < stored.refreshed_at < last.started_at + last.duration
    assert stored.refreshed_at == stored.attempted_at == segment.refreshed_at


@pytest.mark.roles
def test_failure__keeps_the_last_good_members_and_says_why(orders, make, query, users):
    segment = make(definition="SELECT user_id FROM shop_order WHERE 1 / amount < 1")
    segment_ids = indexed(segment)
    kept = members(query)
    query("UPDATE shop_order SET amount = 0 WHERE amount = 50")
    for attempt in (1, 2):
        with pytest.raises(SegmentExecutionError, match="division by zero"):
            segment.refresh()
        assert (segment.status, segment.failures) == (Status.FAILED, attempt)
    assert "division by zero" in Segment.objects.get().last_error
    assert members(query) == kept
    assert indexed(segment) == segment_ids
    assert segment.refreshed_at is not None
    last = segment.refreshes.latest()
    assert (last.status, last.members_count) == (Status.FAILED, None)
    assert "division by zero" in last.error
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    assert segment.refresh().status == "refreshed"
    assert (segment.status, segment.failures, segment.last_error) == (Status.REFRESHED, 0, "")


@pytest.fixture(autouse=True)
def _no_zero_at_first(request, query):
    """Change the amounts so that definitions which divide by them work at first."""
    if "orders" in request.fixturenames:
        request.getfixturevalue("orders")
        query("UPDATE shop_order SET amount = 1 WHERE amount = 0")


def test_timeout__of_the_segment_overrides_the_setting(users, make, settings):
    segment = make()
    segment.timeout = timedelta(milliseconds=50)
    segment.save()
    Segment.objects.update(definition=f"SELECT id FROM {USERS} CROSS JOIN pg_sleep(60)")
    with pytest.raises(SegmentExecutionError, match="statement timeout"):
        segment.refresh()
    assert (segment.status, segment.failures) == (Status.FAILED, 1)
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0.01
    segment.definition, segment.timeout = f"SELECT id FROM {USERS}", timedelta(minutes=1)
    segment.save()
    assert segment.refresh(force=True).members_count == 10


@pytest.mark.roles
def test_failure__leaves_the_transaction_of_the_caller_usable(failing, query):
    with transaction.atomic():
        with pytest.raises(SegmentError):
            failing.refresh()
        assert query("SELECT 1") == [(1,)]
    assert Segment.objects.get().status == Status.FAILED


def test_failure__of_a_column_that_is_gone_keeps_the_members(orders, make, query):
    segment = make(definition="SELECT user_id, amount FROM shop_order")
    query("ALTER TABLE shop_order RENAME COLUMN amount TO total")
    with pytest.raises(SegmentDefinitionError, match='column "amount" does not exist'):
        segment.refresh()
    assert segment.status == Status.FAILED
    assert len(members(query)) == 10


@pytest.mark.roles
def test_refresh__by_hand_is_repaired_in_the_index(staff, make, query, owner):
    segment = make(definition=EVEN)
    staff(0, 1)
    owner("REFRESH MATERIALIZED VIEW CONCURRENTLY segments.vip")
    assert indexed(segment) != members(query)
    segment.refresh()
    assert indexed(segment) == members(query)
    assert len(indexed(segment)) == 2


@pytest.mark.roles
def test_refresh__repopulates_what_was_emptied_by_hand(staff, make, query, owner):
    segment = make(definition=EVEN)
    owner("REFRESH MATERIALIZED VIEW segments.vip WITH NO DATA")
    with pytest.raises(SegmentExecutionError, match="(?s)not been populated.*refresh_segments"):
        with transaction.atomic():
            segment.has_member(1)
    segment.refresh()
    assert len(members(query)) == 5


@pytest.mark.roles
def test_refresh__puts_back_a_dropped_index_and_comment(staff, make, owner, relation):
    segment = make(definition=EVEN)
    owner("DROP INDEX segments.vip_user_id_idx")
    owner("COMMENT ON MATERIALIZED VIEW segments.vip IS NULL")
    segment.refresh()
    assert relation("segments.vip_user_id_idx") is not None
    assert 'segment "vip"' in relation("segments.vip")[2]


@pytest.mark.roles
def test_refresh__of_a_deleted_user_takes_them_out(staff, make, users, query):
    segment = make(definition=EVEN)
    users[0].delete()
    assert len(members(query)) == 5
    assert len(indexed(segment)) == 5
    result = segment.refresh()
    assert (result.members_count, result.added, result.removed) == (4, 0, 1)
    assert len(indexed(segment)) == 4


def test_refresh__of_a_deleted_segment_is_an_error(staff, make):
    segment = make(definition=EVEN)
    stale = Segment.objects.get()
    segment.delete()
    with pytest.raises(SegmentExecutionError, match="has been deleted"):
        stale.refresh()
    assert not SegmentRefresh.objects.exists()


def test_refresh__takes_the_row_as_it_is_saved(staff, make, query):
    segment = make(definition=EVEN)
    segment.definition = "nonsense"
    assert segment.refresh().members_count == 5


def test_refresh__of_a_manager_method_moves_on_with_the_time(users, make, monkeypatch, query):
    from tests.shop.models import Order

    segment = make(definition="", manager_method="since_a_while", model=_content_type(Order))
    for hours, count in ((1, 1), (3, 2)):
        Order.moment_hours = hours
        query("DELETE FROM shop_order")
        for n in range(hours):
            query(
                "INSERT INTO shop_order (user_id, amount, placed_at) "
                "VALUES (%s, 1, now() - make_interval(hours => %s))",
                users[n].pk,
                n,
            )
        assert segment.refresh().members_count == min(count, 2)


def _content_type(model):
    from django.contrib.contenttypes.models import ContentType

    return ContentType.objects.get_for_model(model)


@pytest.mark.usefixtures("clean_views")
class TestSessions:
    """Tests with several sessions, which therefore commit."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.mark.roles
    def test_locked__by_another_session_is_skipped(self, staff, make, session):
        segment = make(definition=EVEN)
        other = session()
        with other.transaction():
            other.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"segments:{segment.pk}"],
            )
            assert segment.refresh().status == "locked"
        assert segment.refresh(force=True).status == "refreshed"

    def test_refresh__is_read_committed_whatever_the_connection_is(self, staff, make, settings):
        segment = make(definition=EVEN)
        connection = connections[conf.exec_connection()]
        connection.ensure_connection()
        connection.connection.execute("SET default_transaction_isolation = 'repeatable read'")
        try:
            assert segment.refresh(force=True).status == "refreshed"
            with pytest.raises(SegmentExecutionError, match='"repeatable read"'):
                with transaction.atomic(using=connection.alias):
                    segment.refresh()
        finally:
            connection.connection.execute("RESET default_transaction_isolation")

    def test_readers__see_the_old_members_until_the_commit(self, staff, make, session):
        segment = make(definition=EVEN)
        other = session()
        other.execute("SET lock_timeout = '100ms'")
        with transaction.atomic(using=conf.exec_connection()):
            staff(1)
            segment.refresh()
            assert other.execute("SELECT count(*) FROM segments.vip").fetchone() == (5,)
        assert other.execute("SELECT count(*) FROM segments.vip").fetchone() == (1,)

    @pytest.mark.roles
    def test_killed_backend__leaves_members_and_no_lock(self, staff, make, session, query, owner):
        segment = make(definition=EVEN)
        alias = conf.exec_connection()
        other = session(alias)
        (pid,) = owner("SELECT pg_backend_pid()")[0]
        with pytest.raises(SegmentExecutionError), transaction.atomic(using=alias):
            staff(1)
            segment.refresh()
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
            segment.refresh()
        connections[alias].close()
        assert len(members(query)) == 5
        assert segment.refresh().members_count == segment.members_live.count()

    @pytest.mark.roles
    def test_failure__is_stored_after_a_rollback(self, orders, make, session):
        segment = make(definition="SELECT user_id FROM shop_order WHERE 1 / amount < 2")
        other = session()
        other.execute("UPDATE shop_order SET amount = 0")
        with pytest.raises(SegmentExecutionError):
            segment.refresh()
        stored = other.execute(
            "SELECT status, members_count, last_error FROM segments.catalog"
        ).fetchone()
        assert stored[:2] == ("failed", 10)
        assert "division by zero" in stored[2]

    def test_delete__waits_no_longer_than_the_lock_timeout(self, staff, make, session, settings):
        segment = make(definition=EVEN)
        settings.SEGMENTS_LOCK_TIMEOUT = 0.2
        other = session()
        with other.transaction():
            other.execute("SELECT FROM segments_segment FOR UPDATE")
            with pytest.raises(SegmentLockedError):
                segment.delete()
            with pytest.raises(SegmentLockedError):
                segment.save()
            assert segment.refresh().status == "locked"
        assert len(segment) == 5

    def test_delete__behind_a_rename_drops_the_new_name(self, staff, make, query, relation):
        make(definition=EVEN)
        stale = Segment.objects.get()
        segment = Segment.objects.get()
        segment.slug = "gold"
        segment.save()
        stale.delete()
        assert relation("segments.gold") is None
        assert relation("segments.vip") is None

    @pytest.mark.roles
    def test_row_locked_first__by_update_or_create_gets_the_segment(self, staff, make):
        segment = make(definition=EVEN)
        entered, results = threading.Event(), []

        def refresh_meanwhile():
            entered.wait()
            try:
                results.append(Segment.objects.get().refresh().status)
            finally:
                connections.close_all()

        thread = threading.Thread(target=refresh_meanwhile)
        thread.start()
        with transaction.atomic():
            Segment.objects.select_for_update().get()
            entered.set()
            thread.join()
            Segment.objects.update_or_create(slug="vip", defaults={"priority": 4})
        assert results == ["locked"]
        assert Segment.objects.get().status == Status.REFRESHED
        assert segment.refresh(force=True).status == "refreshed"

    @pytest.mark.roles
    @pytest.mark.usefixtures("creates_schemas")
    def test_first_segments__may_be_created_at_once(self, staff, owner):
        owner("DROP SCHEMA segments, segments_live CASCADE")

        def create(number):
            Segment.objects.create(name="x", slug=f"s{number}", definition=EVEN)

        at_once(6, create)
        assert [len(segment) for segment in Segment.objects.all()] == [5] * 6

    def test_many_sessions__end_with_the_same_members(self, staff, make):
        make("a", definition=EVEN)
        make("b", definition="SELECT user_id FROM segments.a")

        def work(number):
            for n in range(12):
                with suppress(SegmentLockedError):
                    segment = Segment.objects.get(slug="ab"[number % 2])
                    if n % 3 == number % 3 and segment.slug == "a":
                        segment.definition = f"{EVEN} AND id <> {n}"
                        segment.save()
                    elif n % 4 == 3:
                        list(sync.sync())
                    else:
                        segment.refresh()

        at_once(4, work)
        assert sync.check() == []
        for segment in Segment.objects.all():
            segment.refresh()
            assert indexed(segment) == set(segment.member_ids())

    def test_limits__do_not_leak_where_autocommit_is_off(self, staff, make, query):
        segment = make(definition=EVEN)
        transaction.set_autocommit(False)
        try:
            query("SET LOCAL statement_timeout = '7s'")
            segment.refresh()
            assert query("SHOW statement_timeout") == [("7s",)]
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        assert segment.refreshes.count() == 2
