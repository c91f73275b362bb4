"""Membership checks skip Django's cursor wrapper, but behave like any other query."""

from concurrent.futures import ThreadPoolExecutor
from functools import wraps

import pytest
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from segments.exceptions import SegmentExecutionError

pytestmark = pytest.mark.django_db

CHECKS = {
    "has_member": lambda segment, user: segment.has_member(user),
    "is_member by slug": lambda segment, user: user.is_member(segment.slug),
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
