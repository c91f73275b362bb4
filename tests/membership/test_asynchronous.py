"""The async twins answer as their namesakes do, errors included."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser

from segments import aoverlap
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.users import ais_member, aprefetch_segments

pytestmark = pytest.mark.django_db


async def collected(rows):
    return [row async for row in rows]


@pytest.fixture
def vip(users, make):
    return make("vip", static_ids=users[:2])


def test_segment__answers_alike(vip, users):
    first, keys = users[0], {users[0].pk, users[1].pk}
    assert async_to_sync(vip.ahas_member)(first) is True
    assert async_to_sync(vip.ahas_member)(users[5].pk) is False
    assert async_to_sync(vip.ahas_member_live)(first) is True
    assert async_to_sync(vip.ahas_members)(users) == keys
    assert async_to_sync(vip.acount_members)() == 2
    assert set(async_to_sync(collected)(vip.amember_ids())) == keys


def test_segment__is_refreshed(vip, make):
    reader = make("reader", definition="SELECT user_id FROM segments.vip")
    result = async_to_sync(vip.arefresh)(with_dependents=True, force=True)
    assert result.members_count == 2
    assert [each.slug for each in result.dependents] == [reader.slug]


def test_user__answers_alike(vip, users):
    user = users[0]
    assert async_to_sync(user.ais_member)("vip") is True
    assert async_to_sync(users[5].ais_member)(vip) is False
    assert async_to_sync(user.ais_member_live)("vip") is True
    assert async_to_sync(user.asegment_ids)() == [vip.pk]
    assert async_to_sync(user.asegment_slugs)() == ["vip"]
    assert async_to_sync(collected)(user.segments) == [vip]
    assert async_to_sync(user.arefresh_segments)() == []

    async def ask():
        return await Segment.objects.afor_users(users[:1])

    assert async_to_sync(ask)() == {user.pk: [vip]}


def test_function__takes_visitors(vip, users):
    assert async_to_sync(ais_member)(users[0], "vip") is True
    assert async_to_sync(ais_member)(AnonymousUser(), "vip") is False


def test_errors__are_the_same(vip, users, query):
    with pytest.raises(Segment.DoesNotExist, match='Did you mean "vip"'):
        async_to_sync(users[0].ais_member)("vpi")
    with pytest.raises(TypeError, match="is not a user"):
        async_to_sync(vip.ahas_member)(1.5)
    query("DROP MATERIALIZED VIEW segments.vip CASCADE")
    with pytest.raises(SegmentExecutionError):
        async_to_sync(collected)(vip.amember_ids())


def test_lists__are_changed_alike(vip, users):
    assert async_to_sync(vip.aadd)(users[2]).added == 1
    assert async_to_sync(vip.aremove)([users[2], 0], skip_bad=True).removed == 1
    report = async_to_sync(vip.aload_ids)("username\nu7\n", mode="add", by="username")
    assert report.added == 1
    assert vip.has_members(users) == {users[0].pk, users[1].pk, users[7].pk}


def test_segments__are_made_and_compared_alike(vip, users):
    frozen = async_to_sync(vip.afreeze)("frozen")
    clone = async_to_sync(vip.aclone)("clone", name="Clone")
    sample = async_to_sync(vip.asample)("sample", percent=100, seed=3)
    assert (frozen.kind, clone.name, sample.kind) == ("static", "Clone", "sql")
    found = async_to_sync(aoverlap)([vip, frozen, "clone", sample])
    assert {pair.both for pair in found.pairs} == {2}


def test_prefetch__costs_one_query(vip, users, django_assert_num_queries):
    with django_assert_num_queries(1):
        async_to_sync(aprefetch_segments)(users)
    with django_assert_num_queries(0):
        assert users[0].is_member("vip")
