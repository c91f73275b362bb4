"""`segments.users`: what a view asks for a user or a visitor, and how a segment is named."""

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.transaction import atomic
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject

from segments.exceptions import SegmentExecutionError
from segments.membership.overlap import overlap, users_in
from segments.models import Membership, Segment, SegmentMixin
from segments.users import is_member
from segments.users.access import visitor_in_segment
from segments.users.querysets import SegmentUserQuerySet
from tests.accounts.models import SegmentableUser as User
from tests.conftest import USERS
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def vip(users, make):
    """A segment of u0 and u1."""
    User.objects.filter(username__in=["u0", "u1"]).update(is_staff=True)
    return make("big-spenders", definition=f"SELECT id FROM {USERS} WHERE is_staff")


def lazy(user):
    return SimpleLazyObject(lambda: user)


@pytest.mark.roles
def test_lazy_user__is_the_user(vip, users, django_assert_num_queries):
    for user, expected in ((users[0], True), (users[5], False)):
        for which in (vip, "big-spenders", "big_spenders"):
            with django_assert_num_queries(1):
                assert is_member(lazy(user), which) is expected
        assert vip.has_member(lazy(user)) is vip.has_member_live(lazy(user)) is expected
        assert bool(vip.has_members([lazy(user)])) is expected
        assert list(Segment.objects.for_user(lazy(user))) == [vip] * expected
    assert len(Segment(slug="x", static_ids=[lazy(users[0])]).static_ids) == 1


def test_visitor__is_in_no_segment(vip):
    for visitor in (AnonymousUser(), lazy(AnonymousUser()), None):
        for which in (vip, "big-spenders"):
            assert is_member(visitor, which) is False
        assert vip.has_member(visitor) is vip.has_member_live(visitor) is False
        assert vip.has_members([visitor]) == set()
        assert list(Segment.objects.for_user(visitor)) == []
        assert Segment.objects.filter(priority=0).for_user(visitor).count() == 0


def test_visitor__costs_no_query_where_the_segment_is_there(vip, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert vip.has_member(AnonymousUser()) is False
        assert is_member(AnonymousUser(), vip) is False
        assert list(Segment.objects.for_user(AnonymousUser())) == []


def test_request_user__may_be_asked_as_it_is(vip, users, client):
    request = RequestFactory().get("/")
    client.force_login(users[0])
    for session, expected in ((client.session, True), ({}, False)):
        request.session = session
        assert is_member(SimpleLazyObject(lambda: get_user(request)), "big-spenders") is expected


@pytest.mark.roles
def test_key__means_the_same_as_a_number_and_as_text(vip, users):
    for user, expected in ((users[0], True), (users[5], False)):
        for key in (user.pk, str(user.pk), f" {user.pk} ", User(pk=str(user.pk))):
            assert vip.has_member(key) is vip.has_member_live(key) is expected
            assert is_member(key, vip) is is_member(key, "big-spenders") is expected
            assert vip.has_members([key]) == ({user.pk} if expected else set())
            assert list(Segment.objects.for_user(key)) == [vip] * expected


QUESTIONS = {
    "has_member": lambda segment, thing: segment.has_member(thing),
    "has_member_live": lambda segment, thing: segment.has_member_live(thing),
    "has_members": lambda segment, thing: segment.has_members([thing]),
    "for_user": lambda segment, thing: Segment.objects.for_user(thing),
    "is_member": lambda segment, thing: is_member(thing, segment),
    "is_member by slug": lambda segment, thing: is_member(thing, segment.slug),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_another_thing__is_refused_before_postgres(
    question, vip, users, django_assert_num_queries
):
    order = Order(pk=users[0].pk, user=users[5])
    with django_assert_num_queries(0):
        with pytest.raises(TypeError, match='shop.Order is not a user .*; take its "user_id"'):
            question(vip, order)
        with pytest.raises(TypeError, match="is not a user"):
            question(vip, str(users[0].pk).encode())
        with pytest.raises(ValueError, match='"nobody" is not a whole number'):
            question(vip, "nobody")


@pytest.mark.parametrize("make_wrong", [lambda pk: pk, str, lambda pk: str(pk).encode(), User])
def test_has_members__of_one_thing_is_refused(make_wrong, vip, users):
    thing = make_wrong(users[0].pk)
    with pytest.raises(TypeError, match="has_members takes users or their keys, not"):
        vip.has_members(thing)
    with pytest.raises(TypeError, match="has_members takes users or their keys, not"):
        vip.has_members(lazy(users[0]))


def test_has_members__of_a_wrong_queryset_is_refused(vip, orders, users):
    for wrong in (
        Order.objects.all(),
        Order.objects.values("pk"),
        User.objects.values("username"),
    ):
        with pytest.raises(TypeError, match="is not a user"):
            vip.has_members(wrong)
    expected = {users[0].pk, users[1].pk}
    assert vip.has_members(Order.objects.values("user_id")) == expected
    assert vip.has_members(vip.view.objects.all()) == expected


def test_mixin__of_another_class_answers_for_no_user(vip, users):
    class Customer(SegmentMixin):
        pk = users[0].pk

    for question in (Customer().is_member, Customer().is_member_live):
        for which in (vip, "big-spenders"):
            with pytest.raises(TypeError, match="is not a user"):
                question(which)
    for name in ("segment_ids", "segment_slugs", "segments"):
        with pytest.raises(TypeError, match="is not a user"):
            getattr(Customer(), name)


@pytest.mark.roles
def test_slug__has_hyphens_or_underscores(vip, users, make):
    make("win_back", static_ids=users)
    for slug in ("big-spenders", "big_spenders", "win-back", "win_back"):
        assert users[0].is_member(slug) is True
        assert users[0].is_member_live(slug) is True
    Segment.objects.update(refreshed_at=None)
    assert users[0].is_member("big_spenders") is True


def test_unknown_slug__is_named_with_the_nearest(vip, users):
    for slug in ("big-spender", "Big Spenders", "BIG_SPENDERS", " big-spenders"):
        for question in (users[0].is_member, users[0].is_member_live):
            with pytest.raises(Segment.DoesNotExist) as caught:
                question(slug)
            message = f'There is no segment with the slug "{slug}". Did you mean "big-spenders"?'
            assert str(caught.value) == message
    for user in (users[0], AnonymousUser(), User()):
        with pytest.raises(Segment.DoesNotExist, match='^There is no .* slug "zebra".$'):
            is_member(user, "zebra")


@pytest.mark.parametrize(
    "wrong", [1, None, b"vip", True, ["vip"], Segment, Order(pk=1), User(pk=1)]
)
def test_is_member__of_no_segment_says_what_it_wants(wrong, users):
    for question in (users[0].is_member, users[0].is_member_live):
        with pytest.raises(TypeError, match="a segment or its slug is needed, not"):
            question(wrong)


@pytest.mark.roles
@pytest.mark.parametrize("threshold", [None, 0])
def test_segment_slugs__are_sorted_in_one_query(
    threshold, vip, users, make, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr(connection.connection, "prepare_threshold", threshold)
    more = [
        make(slug, static_ids=users[:1], priority=n) for n, slug in enumerate(("z", "a_b", "a-c"))
    ]
    for user, expected in ((users[0], [vip, *more]), (users[1], [vip]), (users[5], [])):
        with django_assert_num_queries(1):
            assert user.segment_slugs == sorted(each.slug for each in expected)
        with django_assert_num_queries(1):
            assert user.segment_ids == sorted(each.pk for each in expected)


@pytest.mark.parametrize("threshold", [None, 0])
def test_segment_slugs__of_nobody_are_none(threshold, vip, users, monkeypatch):
    monkeypatch.setattr(connection.connection, "prepare_threshold", threshold)
    Membership.objects.filter(user=users[1]).update(user_id=User(pk=10**9).pk)
    for nobody in (User(), User(pk=10**9)):
        assert nobody.segment_slugs == nobody.segment_ids == list(nobody.segments) == []


@pytest.mark.parametrize("name", ["segment_ids", "segment_slugs"])
def test_segments_of__without_their_function_is_an_error(name, vip, users, query):
    query(f"DROP FUNCTION segments.{name}(bigint)")
    with pytest.raises(SegmentExecutionError, match="sync_segments"):
        getattr(users[0], name)


def test_segments_of__follow_another_schema(vip, users, settings):
    assert users[0].segment_ids
    settings.SEGMENTS_SCHEMA = "elsewhere"
    with pytest.raises(SegmentExecutionError, match="elsewhere"):
        users[0].segment_ids  # noqa: B018


@pytest.mark.parametrize("slug", ["big\0spenders", "\0", "\ud800", "big-spenders\n"])
def test_slug__that_no_segment_can_have_is_unknown(slug, vip, users):
    for ask in (
        lambda: is_member(users[0], slug),
        lambda: is_member(None, slug),
        lambda: users[0].is_member(slug),
        lambda: users[0].is_member_live(slug),
        lambda: visitor_in_segment(users[0], slug),
        lambda: overlap([vip, slug]),
        lambda: users_in([slug]),
        lambda: list(SegmentUserQuerySet(User).in_segment(slug)),
        lambda: SegmentUserQuerySet(User).not_in(vip, slug).count(),
    ):
        with pytest.raises(Segment.DoesNotExist, match="There is no segment"), atomic():
            ask()
