"""The segments of a user are loaded without what lists do not need, and are otherwise like any."""

import pickle

import pytest

from segments.membership.querysets import NOT_IN_LISTS
from segments.models import Segment
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

STAFF = f"SELECT id FROM {USERS} WHERE username < 'u3'"


@pytest.fixture
def vip(users, make):
    """A segment of u0, u1 and u2, as one of them has it."""
    make(definition=STAFF)
    (segment,) = users[0].segments
    return segment


def test_for_user__leaves_out_what_lists_need_not_have(vip, django_assert_num_queries):
    assert vip.get_deferred_fields() == {*NOT_IN_LISTS}
    with django_assert_num_queries(0):
        assert (vip.slug, vip.name, vip.description, vip.members_count) == ("vip", "Vip", "", 3)
    with django_assert_num_queries(1):
        assert vip.definition == STAFF


def test_for_user__is_one_query_of_any_number(users, make, django_assert_num_queries):
    for n in range(3):
        make(f"s{n}", definition=STAFF, priority=n)
    with django_assert_num_queries(1):
        assert [each.slug for each in users[0].segments] == ["s2", "s1", "s0"]
    with django_assert_num_queries(1):
        assert users[0].segments.filter(priority__gt=0).count() == 2
    with django_assert_num_queries(1):
        assert {each.definition for each in users[0].segments.defer(None)} == {STAFF}


def test_for_user__keeps_what_the_caller_has_chosen(vip, users):
    everything = Segment.objects
    assert list(everything.values_list("slug", flat=True).for_user(users[0])) == ["vip"]
    assert list(everything.values("definition").for_user(users[0])) == [{"definition": STAFF}]
    (only,) = everything.only("definition").for_user(users[0])
    assert "definition" not in only.get_deferred_fields()
    (other,) = everything.defer("description").for_user(users[0])
    assert other.get_deferred_fields() == {"description"}
    assert not everything.exclude(pk=vip.pk).for_user(users[0]).exists()


def test_segment_of_a_user__can_be_asked(vip, users, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert vip.has_member(users[0])
        assert vip.has_members(users) == {user.pk for user in users[:3]}
    assert vip.has_member_live(users[0])
    assert len(vip) == vip.members.count() == 3
    assert vip.kind == "sql"
    assert vip.static_ids == ""


def test_segment_of_a_user__refreshes(vip, users):
    type(users[5]).objects.filter(pk=users[5].pk).update(username="a")
    assert vip.refresh().members_count == 4
    assert vip.members_count == 4
    assert users[5].segment_slugs == ["vip"]


def test_segment_of_a_user__saves_without_being_redefined(vip, users, query):
    attached = "SELECT oid, xmin::text FROM pg_class WHERE oid = 'segments.vip'::regclass"
    before, refreshed_at = query(attached), vip.refreshed_at
    vip.priority = 5
    vip.save()
    stored = Segment.objects.get()
    assert (stored.priority, stored.definition) == (5, STAFF)
    assert (query(attached), stored.refreshed_at) == (before, refreshed_at)
    vip.definition = f"SELECT id FROM {USERS} WHERE username < 'u1'"
    vip.save()
    assert Segment.objects.get().definition == vip.definition
    assert vip.has_members(users) == {users[0].pk}


def test_segment_of_a_user__is_renamed_copied_and_deleted(vip, users):
    vip.rename("gold")
    assert users[0].segment_slugs == ["gold"]
    assert pickle.loads(pickle.dumps(vip)).definition == STAFF
    vip.refresh_from_db()
    assert vip.get_deferred_fields() <= {*NOT_IN_LISTS}
    vip.delete()
    assert users[0].segment_slugs == []


def test_static_ids__assigned_outlast_a_deferred_field(vip, users):
    vip.static_ids = users[5:6]
    assert vip.definition == STAFF
    vip.save()
    assert users[5].segment_slugs == ["vip"]
