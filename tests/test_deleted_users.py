"""A deleted user is in no read at once, and in no view after the next refresh."""

from datetime import timedelta

import pytest
from django.db import connection

from segments.models import Membership, Segment, StaticMember
from tests.conftest import USERS

pytestmark = pytest.mark.django_db


def by_instance(user, query):
    type(user).objects.get(pk=user.pk).delete()


def by_queryset(user, query):
    type(user).objects.filter(pk=user.pk).delete()


def by_sql(user, query):
    query(f"DELETE FROM {USERS} WHERE id = %s", user.pk)


@pytest.fixture(params=[by_instance, by_queryset, by_sql])
def gone(request, users, make, query):
    """A user that was deleted after the refresh; the instance is still in memory."""
    make()
    make("pilot", static_ids=users[:2])
    request.param(users[0], query)
    return users[0]


@pytest.mark.parametrize("threshold", [None, 0])
@pytest.mark.parametrize("slug", ["vip", "pilot"])
def test_check__is_false_at_once(gone, slug, threshold, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(connection.connection, "prepare_threshold", threshold)
    segment = Segment.objects.get(slug=slug)
    for user in (gone, gone.pk):
        with django_assert_num_queries(1):
            assert segment.has_member(user) is False
        assert segment.has_member_live(user) is False
    for which in (segment, slug):
        with django_assert_num_queries(1):
            assert gone.is_member(which) is False
        assert gone.is_member_live(which) is False


def test_check__in_psql_is_false_at_once(gone, query):
    assert query("SELECT segments.is_member('vip', %s)", gone.pk) == [(False,)]
    assert query("SELECT segments.is_member('vip', %s)", gone.pk + 1) == [(True,)]


@pytest.mark.parametrize("slug", ["vip", "pilot"])
def test_reads__of_many_leave_them_out(gone, slug, users):
    segment = Segment.objects.get(slug=slug)
    others = {user.pk for user in users[1 : 2 if slug == "pilot" else None]}
    assert segment.has_members([gone.pk, *others]) == others
    assert segment.has_members([gone, *users[1:]]) == others
    assert segment.has_members(type(gone).objects.all()) == others
    every = Membership.objects.values_list("user_id", flat=True)
    assert segment.has_members(every) == others
    assert set(segment.member_ids()) == others
    assert len(segment) == segment.count_members() == len(others)
    assert {user.pk for user in segment.members} == others
    assert {user.pk for user in segment.members_live} == others


def test_segments__of_them_are_none(gone):
    assert list(Segment.objects.for_user(gone)) == list(Segment.objects.for_user(gone.pk)) == []
    assert gone.segment_ids == gone.segment_slugs == list(gone.segments) == []


def test_views__are_without_them_after_one_refresh(gone, query):
    for slug in ("vip", "pilot"):
        assert query(f"SELECT count(*) FROM segments.{slug} WHERE user_id = %s", gone.pk) == [(1,)]
        assert Segment.objects.get(slug=slug).refresh().removed == 1
        assert query(f"SELECT count(*) FROM segments.{slug} WHERE user_id = %s", gone.pk) == [(0,)]
    assert not Membership.objects.filter(user_id=gone.pk).exists()


def test_list__goes_with_django_at_once_the_index_on_refresh(users, make):
    segment = make(static_ids=users)
    type(users[0]).objects.filter(pk=users[0].pk).delete()
    assert (StaticMember.objects.count(), Membership.objects.count()) == (9, 10)
    segment.refresh()
    assert (StaticMember.objects.count(), Membership.objects.count()) == (9, 9)


def test_changes__tell_that_they_left(gone):
    for slug in ("vip", "pilot"):
        segment = Segment.objects.get(slug=slug)
        segment.refresh()
        (change,) = segment.changes()
        assert (change.user, change.change) == (gone.pk, "left")
        assert list(segment.left(timedelta(minutes=1)).users()) == []
