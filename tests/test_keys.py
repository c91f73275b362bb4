"""The door for users and keys: what is a key, what is nobody, and what is refused."""

import time
import timeit
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.auth.models import User as DjangoUser
from django.db.models import Count, F
from django.utils.functional import SimpleLazyObject

from segments.models import Membership, Segment, SegmentRefresh, StaticMember
from segments.sql import keys
from tests.accounts.models import SegmentableUser as User
from tests.shop.models import Offer, Order
from tests.stock.models import Visit


class Number:
    """A number that is not an int, as those of NumPy are."""

    def __index__(self):
        return 17


@pytest.mark.parametrize(
    "given",
    [
        17,
        "17",
        " 17\n",
        "+17",
        Number(),
        User(pk=17),
        User(pk="17"),
        SimpleLazyObject(lambda: User(pk=17)),
        SimpleNamespace(pk="17", is_authenticated=True),
    ],
    ids=lambda key: type(key).__name__ if isinstance(key, Number) else repr(key),
)
def test_user_key__is_a_key_of_the_fields_type(given):
    key = keys.user_key(given)
    assert (key, type(key)) == (17, int)


def test_user_key__of_an_inherited_model_is_that_of_the_user():
    class Proxy(User):
        class Meta:
            app_label = "accounts"
            proxy = True

    assert keys.user_key(Proxy(pk=17)) == 17


@pytest.mark.parametrize(
    "given",
    [None, AnonymousUser(), SimpleLazyObject(AnonymousUser), User()],
    ids=["none", "visitor", "lazy visitor", "not saved"],
)
def test_user_key__of_nobody_is_none(given):
    assert keys.user_key(given) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Order(pk=17), 'instance of shop.Order .*accounts.SegmentableUser.*; take its "user_id"'),
        (SimpleLazyObject(lambda: Order(pk=17)), 'shop.Order .*; take its "user_id"'),
        (Offer(pk=17), r"instance of shop.Offer .*\(a whole number\)$"),
        (Group(pk=17), "instance of auth.Group"),
        (Segment(pk=17), "instance of segments.Segment"),
        (b"17", "b'17' is not a user"),
        (bytearray(b"17"), "is not a user"),
        (17.0, "17.0 is not a user"),
        (True, "True is not a user"),
        ([17], r"\[17\] is not a user"),
        ((17,), r"\(17,\) is not a user"),
        ({"pk": 17}, "is not a user"),
        (SimpleNamespace(pk=17), "is not a user"),
        (User.objects.none(), "a queryset of accounts.SegmentableUser is not a user"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_user_key__of_another_thing_is_a_type_error(given, words):
    with pytest.raises(TypeError, match=words):
        keys.user_key(given)


@pytest.mark.parametrize(
    "given", ["vip", "", "1.5", "1_7", "17 18", "\u0661\u0667", 2**63, "9" * 19, "9" * 40]
)
def test_user_key__that_cannot_be_one_is_a_value_error(given):
    with pytest.raises(ValueError, match="is not a whole number of at most 64 bits"):
        keys.user_key(given)


QUERYSETS = {
    "users": lambda: User.objects.all(),
    "keys": lambda: User.objects.values("pk"),
    "ids": lambda: User.objects.values_list("id", flat=True),
    "relation": lambda: Order.objects.values("user"),
    "column": lambda: Order.objects.values_list("user_id"),
    "path": lambda: Order.objects.values("user__pk"),
    "index": lambda: Membership.objects.values("user_id"),
    "list": lambda: StaticMember.objects.values("user"),
    "annotation": lambda: Order.objects.annotate(who=F("user_id")).values("who"),
    "members of a group": lambda: Group.objects.values("user"),
    "unknown": lambda: Order.objects.values("amount"),
    "unknown expression": lambda: Order.objects.annotate(n=F("id") + 1).values("n"),
    "union": lambda: User.objects.filter(pk=1).union(User.objects.filter(pk=2)),
}


@pytest.mark.django_db
@pytest.mark.parametrize("queryset", QUERYSETS.values(), ids=QUERYSETS)
def test_user_keys__take_what_may_hold_keys(queryset):
    assert len(keys.user_keys(queryset())) == 0


WRONG_QUERYSETS = {
    "model": (lambda: Order.objects.all(), r'end it with .values_list\("user_id", flat=True\)'),
    "other model": (lambda: Visit.objects.filter(pk=17), r'values_list\("user_id", flat=True\)'),
    "no relation": (lambda: Offer.objects.all(), r"shop.Offer is not a user .*whole number\)$"),
    "composite key": (lambda: Membership.objects.all(), r'\.values_list\("user_id"'),
    "key": (lambda: Order.objects.values("pk"), 'shop.Order that selects "pk" is not a user'),
    "id": (lambda: Order.objects.values_list("id", flat=True), 'that selects "id"'),
    "foreign key": (lambda: SegmentRefresh.objects.values("segment"), 'that selects "segment"'),
    "path": (lambda: Offer.objects.values("segment_id"), 'that selects "segment_id"'),
    "annotation": (lambda: Order.objects.annotate(who=F("id")).values("who"), 'selects "who"'),
    "name": (lambda: User.objects.values("username"), 'that selects "username"'),
    "name of a user": (lambda: Order.objects.values("user__username"), 'selects "user__username"'),
    "two columns": (lambda: User.objects.values("pk", "username"), "selects 2 columns"),
    "counts": (lambda: Order.objects.values("user").annotate(n=Count("pk")), "selects 2 columns"),
}


@pytest.mark.parametrize(("queryset", "words"), WRONG_QUERYSETS.values(), ids=WRONG_QUERYSETS)
def test_user_keys__refuse_what_holds_others(queryset, words):
    with pytest.raises(TypeError, match=words):
        keys.user_keys(queryset())


@pytest.mark.parametrize(
    "given",
    [
        [17, 18],
        ["17", 18],
        [17, User(pk=18)],
        [User(pk=17), User(pk=18)],
        [User(pk=17), User(), AnonymousUser(), None, User(pk="18")],
        (str(key) for key in (17, 18)),
        {17: "a", 18: "b"},
    ],
    ids=["numbers", "text and number", "mixed", "users", "nobody", "generator", "mapping"],
)
def test_known_keys__are_those_of_somebody(given):
    found = keys.known_keys(given)
    assert (found, {*map(type, found)}) == ([17, 18], {int})


def test_known_keys__of_none_are_none():
    assert keys.known_keys([]) == keys.known_keys([None, User()]) == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (True, TypeError),
        (1.5, TypeError),
        (b"17", TypeError),
        (Order(pk=17), TypeError),
        (Group(pk=17), TypeError),
        ("nobody", ValueError),
        (2**63, ValueError),
        (-(2**63) - 1, ValueError),
    ],
    ids=repr,
)
def test_known_keys__refuse_what_user_key_refuses(wrong, error):
    for given in ([wrong], [17, wrong], [User(pk=17), wrong]):
        with pytest.raises(error):
            keys.known_keys(given)


def test_user_key__follows_an_overridden_setting(settings):
    assert keys.user_key_type().model is User
    settings.AUTH_USER_MODEL = "auth.User"
    assert keys.user_key_type().model is DjangoUser


@pytest.mark.parametrize("given", [User(pk=17), 17], ids=["user", "key"])
def test_user_key__costs_less_than_a_microsecond(given):
    number, timer = 20_000, time.process_time
    seconds = min(
        timeit.repeat(lambda: keys.user_key(given), timer=timer, number=number, repeat=9)
    )
    assert seconds / number < 1e-6  # Measured: 0.2 us for a user, 0.4 us for a key.
