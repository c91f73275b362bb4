"""Membership checks skip Django's cursor wrapper, but behave like any other query."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

import psycopg
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.connection import ConnectionDoesNotExist

from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.pgviews import members, probe

pytestmark = pytest.mark.django_db

CHECKS = {
    "has_member": lambda segment, user: segment.has_member(user),
    "is_member by slug": lambda segment, user: user.is_member(segment.slug),
    "segment_ids": lambda segment, user: user.segment_ids,
    "segment_slugs": lambda segment, user: user.segment_slugs,
    "has_members": lambda segment, user: segment.has_members([user]),
}


@pytest.fixture
def vip(users, make):
    """A segment of all users."""
    return make()


def end_session(other):
    pid = connections["default"].connection.info.backend_pid
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__on_a_lost_connection_is_an_error_each_time(check, vip, users, session):
    end_session(session())
    for _ in range(3):
        with pytest.raises(SegmentExecutionError, match="(?i)terminat|connection"):
            check(vip, users[0])
    connections["default"].close()
    assert check(vip, users[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__asks_for_the_health_of_a_connection(check, vip, users, session, monkeypatch):
    end_session(session())
    mine = connections["default"]
    monkeypatch.setitem(vars(mine), "health_check_enabled", True)
    monkeypatch.setitem(vars(mine), "health_check_done", False)
    assert check(vip, users[0])


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__from_another_thread_is_refused(check, vip, users):
    def ask():
        connections["default"] = mine
        with pytest.raises(SegmentExecutionError, match="only be used in that same thread"):
            check(vip, users[0])

    mine = connections["default"]
    with ThreadPoolExecutor(1) as threads:
        threads.submit(ask).result()


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__in_an_event_loop_is_refused(check, vip, users):
    async def ask():
        with pytest.raises(SynchronousOnlyOperation):
            check(vip, users[0])

    asyncio.run(ask())


def test_connection__is_that_of_django_at_any_time():
    mine, other = connections["default"], connections.create_connection("default")
    assert probe._connection("default") is mine
    try:
        connections["default"] = other
        assert probe._connection("default") is other
        del connections["default"]
        fresh = probe._connection("default")
        assert fresh is connections["default"]
        assert fresh not in {mine, other}
    finally:
        connections["default"] = mine


def test_connection__is_one_for_each_thread_and_event_loop():
    async def found():
        return probe._connection("default"), connections["default"]

    mine = connections["default"]
    with ThreadPoolExecutor(1) as threads:
        theirs = threads.submit(probe._connection, "default").result()
    looped, expected = asyncio.run(found())
    assert looped is expected
    assert len({mine, theirs, looped}) == 3


def test_connection__is_found_without_its_place_in_asgiref(monkeypatch):
    monkeypatch.setattr(probe, "OWN", None)
    assert probe._connection("default") is connections["default"]
    with pytest.raises(ConnectionDoesNotExist):
        probe._connection("nowhere")


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__is_seen_by_whoever_replaces_cursors(check, vip, users, monkeypatch):
    seen, mine = [], connections["default"]
    cursor = mine.cursor

    @wraps(CursorWrapper.execute)
    def execute(self, *args):
        seen.append("class")
        return execute.__wrapped__(self, *args)

    with monkeypatch.context() as patched:
        patched.setitem(vars(mine), "cursor", lambda: seen.append("connection") or cursor())
        assert check(vip, users[0])
    assert seen == ["connection"]
    with monkeypatch.context() as patched:
        patched.setattr(CursorWrapper, "execute", execute)
        assert check(vip, users[0])
    assert seen == ["connection", "class"]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__in_a_broken_transaction_is_refused(check, vip, users):
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(SegmentExecutionError, match="until the end of the 'atomic' block"):
            check(vip, users[0])


def test_cursor__is_kept_unless_it_holds_many_keys(vip, users, monkeypatch):
    mine = vars(connections["default"])
    vip.has_member(users[0])
    kept = mine[probe.KEPT]
    assert users[0].segment_ids == [vip.pk]
    assert mine[probe.KEPT][0] is kept[0]
    monkeypatch.setattr(members, "MAX_KEPT", 1)
    assert len(vip.has_members(users)) == 10
    assert probe.KEPT not in mine
    assert vip.has_member(users[0])


def test_many_keys__are_not_merged_into_the_text(vip, users, monkeypatch):
    merged = []
    mogrify = psycopg._queries.PostgresClientQuery.convert

    def convert(self, query, params):
        merged.append(params)
        return mogrify(self, query, params)

    monkeypatch.setattr(psycopg._queries.PostgresClientQuery, "convert", convert)
    assert len(vip.has_members(users)) == 10
    assert merged
    merged.clear()
    monkeypatch.setattr(members, "MAX_KEPT", 1)
    assert len(vip.has_members(users)) == 10
    assert not merged


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_cursor__of_a_closed_connection_is_not_used(check, vip, users):
    assert check(vip, users[0])
    connections["default"].close()
    assert check(vip, users[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_check__begins_the_transaction_that_django_wants(check, vip, users):
    mine = connections["default"]
    mine.set_autocommit(False)
    try:
        assert check(vip, users[0])
        assert mine.connection.info.transaction_status.name == "INTRANS"
        mine.rollback()
    finally:
        mine.set_autocommit(True)


@pytest.fixture
def asked(vip, users, django_assert_num_queries):
    """The segment, whose view a check by slug has found outside of a transaction."""
    for _ in range(2):
        with django_assert_num_queries(1):
            assert users[0].is_member(vip.slug)
    assert ("default", "segments", vip.slug) in probe.POPULATED
    return vip


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_slug__of_a_deleted_segment_is_unknown_again(asked, users):
    slug = asked.slug
    asked.delete()
    for _ in range(2):
        with pytest.raises(Segment.DoesNotExist, match="There is no segment with the slug"):
            users[0].is_member(slug)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_slug__of_a_deleted_segment_breaks_no_transaction(asked, users):
    slug = asked.slug
    asked.delete()
    with transaction.atomic():
        with pytest.raises(Segment.DoesNotExist):
            users[0].is_member(slug)
        assert users[0].segment_ids == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_slug__that_was_given_away_is_of_its_new_segment(asked, users, make):
    slug = asked.slug
    asked.rename("former")
    make(slug, static_ids=users[:1])
    assert [user.is_member(slug) for user in users[:2]] == [True, False]
    assert users[1].is_member("former")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_slug__of_an_emptied_view_is_an_error_with_the_next_step(asked, users, query):
    view = asked.view._meta.db_table
    query(f"REFRESH MATERIALIZED VIEW {view} WITH NO DATA")
    for _ in range(2):
        with pytest.raises(SegmentExecutionError, match="refresh_segments"):
            users[0].is_member(asked.slug)
    asked.refresh(concurrently=False, force=True)
    assert users[0].is_member(asked.slug)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_slug__whose_view_may_not_be_read_is_an_error(asked, users, query):
    query("CREATE ROLE stranger")
    query("GRANT USAGE ON SCHEMA segments TO stranger")
    query("SET ROLE stranger")
    try:
        with pytest.raises(SegmentExecutionError, match=f"permission denied for .* {asked.slug}"):
            users[0].is_member(asked.slug)
    finally:
        query("RESET ROLE")
        query("DROP OWNED BY stranger")
        query("DROP ROLE stranger")
