"""`segments.users.prefetching`: the segments of a page of users cost one query more."""

import copy
import pickle

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models import Prefetch, prefetch_related_objects
from django.utils.functional import SimpleLazyObject

from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.users import is_member
from segments.users.prefetching import prefetch_segments
from segments.users.querysets import SegmentUserQuerySet
from tests.accounts.models import SegmentableUser as User
from tests.shop.models import Order

pytestmark = pytest.mark.django_db

PLANS = {"vip": 0, "big-spenders": 5, "win_back": 5}
"""The slugs of the segments, each with its priority."""


@pytest.fixture
def plans(users, make):
    """Segments of u0 to u2, of u2 to u4, and of all."""
    chosen = (users[:3], users[2:5], users)
    return [
        make(slug, static_ids=list(ids), priority=priority)
        for (slug, priority), ids in zip(PLANS.items(), chosen, strict=True)
    ]


def slugs(segments):
    return [segment.slug for segment in segments]


def by_function(users):
    prefetch_segments(users)
    return users


def by_method(users):
    return list(SegmentUserQuerySet(User).prefetch_segments().order_by("pk"))


def by_django(users):
    return list(User.objects.prefetch_related("segments").order_by("pk"))


def by_objects(users):
    prefetch_related_objects(users, Prefetch("segments"))
    return users


WAYS = {"function": (by_function, 1), "method": (by_method, 2)}
WAYS |= {"prefetch_related": (by_django, 2), "prefetch_related_objects": (by_objects, 1)}


@pytest.mark.roles
@pytest.mark.parametrize(("prefetch", "cost"), WAYS.values(), ids=WAYS)
def test_page__costs_one_query_more(prefetch, cost, plans, users, django_assert_num_queries):
    vip = plans[0]
    with django_assert_num_queries(cost):
        page = prefetch(users)
    with django_assert_num_queries(0):
        for number, user in enumerate(page):
            spends, expected = 2 <= number < 5, number < 3
            for which in ("vip", vip):
                assert user.is_member(which) is expected
            assert user.is_member("big_spenders") is user.is_member("big-spenders") is spends
            found = ["big-spenders"] * spends + ["win_back"] + ["vip"] * expected
            assert slugs(user.segments) == slugs(user.segments.all()) == found
            assert user.segment_slugs == sorted(found)
            assert user.segment_ids == sorted(segment.pk for segment in user.segments)
            assert user.segments.count() == len(found)
            assert user.segments.exists()


def test_answers__are_those_without_it(plans, users):
    asked = [(list(u.segments), u.segment_ids, u.segment_slugs) for u in users]
    prefetch_segments(users)
    assert [(list(u.segments), u.segment_ids, u.segment_slugs) for u in users] == asked
    assert users[2].segments[0].name == "Big-Spenders"
    assert users[2].segments[0].timeout is None
    assert users[2].segments.filter(priority=5).count() == 2


def test_a_hundred_users__cost_one_query(plans, django_assert_num_queries):
    more = [User(username=f"more{n}") for n in range(100)]
    User.objects.bulk_create(more)
    with django_assert_num_queries(1):
        prefetch_segments(more)
    with django_assert_num_queries(0):
        assert not any(user.is_member("vip") or list(user.segments) for user in more)


def test_definition__is_loaded_when_it_is_read(users, make, django_assert_num_queries):
    segment = make("everyone")
    prefetch_segments(users)
    with django_assert_num_queries(1):
        assert users[0].segments[0].definition == segment.definition
    with django_assert_num_queries(0):  # The instance is shared.
        assert users[1].segments[0].definition == segment.definition


def test_unknown_slug__is_still_an_error(plans, users):
    prefetch_segments(users)
    with pytest.raises(Segment.DoesNotExist, match='Did you mean "vip"'):
        users[0].is_member("vpi")
    with pytest.raises(TypeError, match="a segment or its slug is needed"):
        users[0].is_member(7)


def test_unpopulated__is_asked_live(plans, users):
    Segment.objects.filter(slug="vip").update(refreshed_at=None)
    prefetch_segments(users)
    plans[0].refresh_from_db()
    assert users[0].is_member("vip") is users[0].is_member(plans[0]) is True
    assert users[5].is_member("vip") is users[5].is_member(plans[0]) is False


def test_new_segment__is_asked_for(plans, users, make):
    prefetch_segments(users)
    late = make("late", static_ids=users[:1])
    assert users[0].is_member("late") is users[0].is_member(late) is True
    assert users[1].is_member("late") is users[1].is_member(late) is False


def test_answers__are_those_of_the_moment_until_dropped(plans, users, query):
    prefetch_segments(users[:4])
    plans[0].static_ids = users[5:]
    plans[0].save()
    plans[0].refresh()
    assert [user.is_member("vip") for user in users[:4]] == [True, True, True, False]
    assert is_member(users[0], "vip") is False
    users[0].refresh_from_db()
    users[1].refresh_from_db(fields=["segments"])
    users[2].refresh_segments()
    assert not any(user.is_member("vip") for user in users[:3])
    prefetch_segments(users)
    assert slugs(users[9].segments) == ["win_back", "vip"]


def test_save__keeps_it(plans, users, django_assert_num_queries):
    prefetch_segments(users)
    users[0].save()
    with django_assert_num_queries(0):
        assert users[0].is_member("vip") is copy.copy(users[0]).is_member("vip") is True
        assert pickle.loads(pickle.dumps(users[0])).is_member("vip") is True


def test_renamed_segment__is_found_by_its_key(plans, users):
    prefetch_segments(users)
    before = Segment.objects.get(slug="vip")
    plans[0].rename("gold")
    assert users[0].is_member(before) is users[0].is_member(plans[0]) is True
    assert users[0].is_member("gold") is True
    assert users[5].is_member(before) is users[5].is_member("gold") is False


def test_prefetch__with_a_queryset_is_not_taken_for_all(plans, users, django_assert_num_queries):
    urgent = Prefetch("segments", Segment.objects.filter(priority=5).order_by("-slug"))
    with django_assert_num_queries(2):
        page = list(User.objects.prefetch_related(urgent).order_by("pk"))
    with django_assert_num_queries(0):
        assert slugs(page[2].segments) == ["win_back", "big-spenders"]
        assert slugs(page[0].segments) == ["win_back"]
    assert slugs(page[2].segments.filter(slug="vip")) == []
    assert page[0].is_member("vip") is True
    assert page[0].segment_slugs == ["vip", "win_back"]


def test_prefetch__to_an_attribute(plans, users, django_assert_num_queries):
    urgent = Prefetch("segments", Segment.objects.filter(slug="vip"), to_attr="urgent")
    with django_assert_num_queries(2):
        page = list(User.objects.prefetch_related(urgent).order_by("pk"))
    with django_assert_num_queries(0):
        assert [slugs(user.urgent) for user in page[1:4]] == [["vip"], ["vip"], []]
    assert slugs(page[2].segments) == ["big-spenders", "win_back", "vip"]


@pytest.mark.parametrize("name", ["segments", "top"])
def test_prefetch__with_a_slice_is_that_of_each_user(
    name, plans, users, django_assert_num_queries
):
    options = {} if name == "segments" else {"to_attr": name}
    top = Prefetch("segments", Segment.objects.order_by("slug")[1:3], **options)
    with django_assert_num_queries(2):
        page = list(User.objects.prefetch_related(top).order_by("pk"))
    with django_assert_num_queries(0):
        assert [slugs(getattr(page[n], name)) for n in (0, 2, 9)] == [
            ["win_back"],
            ["vip", "win_back"],
            [],
        ]
    assert page[9].is_member("win_back")


def test_prefetch__through_a_relation(plans, orders, django_assert_num_queries):
    with django_assert_num_queries(3):
        found = list(Order.objects.prefetch_related("user__segments").order_by("pk"))
        assert [order.user.is_member("vip") for order in found[:4]] == [True, True, True, False]


def test_prefetch__is_not_repeated(plans, users, django_assert_num_queries):
    prefetch_related_objects(users, "segments")
    with django_assert_num_queries(0):
        prefetch_related_objects(users, "segments")


def test_deleted_user__is_no_member(plans, users, query):
    query("DELETE FROM accounts_segmentableuser WHERE id = %s", users[0].pk)
    prefetch_segments(users)
    assert users[0].is_member("vip") is False
    assert list(users[0].segments) == []


def test_users_without_a_row__are_in_no_segment(plans, users, django_assert_num_queries):
    lazy = SimpleLazyObject(lambda: users[0])
    unsaved = User(username="later")
    with django_assert_num_queries(1):
        prefetch_segments([lazy, unsaved, AnonymousUser()])
    with django_assert_num_queries(0):
        assert lazy.is_member("vip") is users[0].is_member("vip") is True
        assert unsaved.is_member("vip") is False
        assert unsaved.segment_slugs == list(unsaved.segments) == []
    with django_assert_num_queries(1):
        prefetch_segments([])


@pytest.mark.parametrize("wrong", [[1], ["nobody"], [Order(pk=1)], [None], User(pk=1), "17", 17])
def test_other_things__are_refused(wrong, users, django_assert_num_queries):
    with django_assert_num_queries(0), pytest.raises(TypeError):
        prefetch_segments(wrong)


def test_method__needs_the_mixin(db):
    with pytest.raises(TypeError, match="shop.Order needs segments.models.SegmentMixin"):
        SegmentUserQuerySet(Order).prefetch_segments()


def test_broken_database__is_an_error(plans, users, query):
    query("ALTER TABLE segments_membership RENAME TO gone")
    with pytest.raises(SegmentExecutionError, match="segments_membership"):
        prefetch_segments(users)


def test_for_users__is_one_query(plans, users, django_assert_num_queries):
    with django_assert_num_queries(1):
        told = Segment.objects.for_users([*users[1:3], str(users[9].pk), AnonymousUser()])
    assert {key: slugs(found) for key, found in told.items()} == {
        users[1].pk: ["win_back", "vip"],
        users[2].pk: ["big-spenders", "win_back", "vip"],
        users[9].pk: ["win_back"],
    }
    assert told[users[2].pk][0].get_deferred_fields() >= {"definition"}


def test_for_users__of_some_segments_in_their_order(plans, users, django_assert_num_queries):
    some = Segment.objects.exclude(slug="win_back").order_by("slug")
    with django_assert_num_queries(2):
        told = some.for_users(User.objects.filter(username__in=["u2", "u9"]))
    assert {key: slugs(found) for key, found in told.items()} == {
        users[2].pk: ["big-spenders", "vip"],
        users[9].pk: [],
    }
    assert Segment.objects.none().for_users(users[:1]) == {users[0].pk: []}
    assert Segment.objects.for_users([]) == {}


def test_for_users__says_what_to_do_instead(plans, users):
    rows = Segment.objects.all()
    with pytest.raises(
        TypeError, match=r"cannot have a slice: .* for_users\(users\)\[key\]\[:3\]"
    ):
        rows[:3].for_users(users)
    with pytest.raises(TypeError, match=r"cannot have a slice: .* for_user\(user\)\[:3\]"):
        rows[:3].for_user(users[0])
    for wrong in (rows.values("slug"), rows.values_list("slug", flat=True)):
        with pytest.raises(TypeError, match=r"for_users returns segments, so it cannot follow"):
            wrong.for_users(users)


@pytest.mark.parametrize("wrong", [[Order(pk=1)], Order.objects.all(), User(pk=1), "17", 17])
def test_for_users__refuses_what_are_no_users(wrong, orders):
    with pytest.raises(TypeError):
        Segment.objects.for_users(wrong)
