"""An instance answers for its own segment, whoever has its slug by now."""

from datetime import timedelta
from io import StringIO

import pytest
from django.db import Error, transaction

from segments.exceptions import SegmentError, SegmentExecutionError
from segments.models import Segment
from segments.pgviews.members import LARGE
from tests.conftest import USERS

FEW = f"SELECT id FROM {USERS} WHERE username < 'u3'"
LATE = f"SELECT id FROM {USERS} WHERE username > 'u6'"

RENAMED = "renamed or deleted since it was loaded"

QUESTIONS = {
    "members": lambda segment, user: list(segment.members),
    "members in a query": lambda segment, user: (
        type(user).objects.filter(pk__in=segment.members).exists()
    ),
    "members_live": lambda segment, user: list(segment.members_live),
    "count_members": lambda segment, user: segment.count_members(),
    "len": lambda segment, user: len(segment),
    "member_ids": lambda segment, user: list(segment.member_ids()),
    "has_members": lambda segment, user: segment.has_members([user]),
    "has_members of a query": lambda segment, user: segment.has_members(type(user).objects.all()),
    "has_member_live": lambda segment, user: segment.has_member_live(user),
}


@pytest.fixture
def stale(users, make):
    """An instance whose slug is that of another segment by now; its segment is "gold"."""
    make(definition=FEW)
    instance, renamed = Segment.objects.get(), Segment.objects.get()
    renamed.rename("gold")
    make(definition=LATE)
    return instance


@pytest.mark.django_db
@pytest.mark.roles
def test_check__of_a_stale_instance_is_of_its_own_segment(stale, users):
    for _ in range(2):
        assert [stale.has_member(user) for user in users] == [True] * 3 + [False] * 7
        assert users[0].is_member(stale)
    assert [user.is_member("vip") for user in users] == [False] * 7 + [True] * 3


@pytest.mark.django_db
@pytest.mark.roles
def test_check__before_and_after_its_slug_was_given_away(users, make):
    segment = make(definition=FEW)
    stale = Segment.objects.get()
    assert stale.has_member(users[0])
    segment.rename("gold")
    make(definition=LATE)
    assert stale.has_member(users[0])
    assert not stale.has_member(users[9])


@pytest.mark.django_db
@pytest.mark.roles
@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_question__to_a_stale_instance_is_an_error(ask, stale, users):
    with pytest.raises((SegmentError, Error), match=RENAMED), transaction.atomic():
        ask(stale, users[0])
    stale.refresh_from_db()
    ask(stale, users[0])


@pytest.mark.django_db
def test_question__to_a_deleted_segment_is_an_error(users, make):
    segment = make(definition=FEW)
    deleted = Segment.objects.get()
    segment.delete()
    make(definition=LATE)
    with pytest.raises(SegmentExecutionError, match="has been deleted"):
        deleted.has_member(users[0])
    for ask in QUESTIONS.values():
        with pytest.raises((SegmentError, Error), match=RENAMED), transaction.atomic():
            ask(deleted, users[0])


@pytest.mark.django_db
def test_segment__that_is_not_saved_says_so(users, make):
    segment = Segment(name="Vip", slug="vip")
    make(definition=FEW)
    others = {
        "entered": lambda segment, user: list(segment.entered(timedelta(hours=1))),
        "export": lambda segment, user: segment.export(StringIO()),
        "has_member": lambda segment, user: segment.has_member(user),
    }
    for ask in (QUESTIONS | others).values():
        with pytest.raises(SegmentExecutionError, match="not saved yet"):
            ask(segment, users[0])


@pytest.mark.django_db
def test_check__with_an_unsaved_slug_is_of_its_own_segment(users, make):
    segment = make(definition=FEW)
    make("late", definition=LATE)
    segment.slug = "late"
    assert [segment.has_member(user) for user in (users[0], users[9])] == [True, False]


@pytest.mark.django_db
def test_check__is_one_query_from_the_first_on(users, make, django_assert_num_queries):
    segment = make(definition=FEW)
    for user in users:
        with django_assert_num_queries(1):
            assert segment.has_member(user) == (user.username < "u3")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("asked_before", [True, False])
def test_question__in_a_snapshot_from_before_the_rename(asked_before, users, make, query, session):
    segment, other = make(definition=FEW), session()
    late = make("late", definition=LATE)
    if asked_before:
        assert segment.has_member(users[0])
        assert late.has_member(users[9])
    with transaction.atomic():
        query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert query("SELECT count(*) FROM segments_segment") == [(2,)]
        for old, new in (("vip", "gold"), ("late", "vip")):
            other.execute("UPDATE segments_segment SET slug = %s WHERE slug = %s", [new, old])
            other.execute(f"ALTER MATERIALIZED VIEW segments.{old} RENAME TO {new}")
            other.execute(f"ALTER VIEW segments_live.{old} RENAME TO {new}")
        with pytest.raises(SegmentExecutionError, match="since this transaction began"):
            segment.has_member(users[0])
        with pytest.raises(SegmentExecutionError, match=RENAMED):
            segment.has_members(users)
    segment.refresh_from_db()
    assert segment.has_member(users[0])
    assert not segment.has_member(users[9])


@pytest.mark.django_db
@pytest.mark.parametrize("count", [None, 0, LARGE], ids=["unknown", "small", "large"])
def test_has_members__takes_more_keys_than_there_are_users(
    count, users, make, django_assert_num_queries
):
    segment = make(definition=FEW)
    segment.members_count = count
    keys = [*range(-50_000, 50_000), *(user.pk for user in users), users[0].pk]
    expected = {user.pk for user in users[:3]}
    with django_assert_num_queries(1):
        assert segment.has_members(keys) == expected
    assert segment.has_members(map(str, keys[-20_000:])) == expected
    assert segment.has_members([*keys[-100:], str(users[1].pk), users[2], None]) == expected
    with django_assert_num_queries(0), pytest.raises(TypeError, match="is not a user"):
        segment.has_members([*keys, True])
