"""docs/views.md: its models, views, templates and queries run, at the cost that it states."""

import re
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.template import engines
from django.test import RequestFactory

import segments
import segments.users
from segments.models import Segment
from segments.users.context_processors import segments as context
from segments.users.querysets import SegmentUserManager
from tests.accounts.models import SegmentableUser
from tests.shop.models import Offer, Order

PAGE = (Path(__file__).parent.parent / "docs" / "views.md").read_text()

pytestmark = pytest.mark.django_db


def block(part, language="python"):
    """Return the one snippet of the page that has this part."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (code,) = [code for code in blocks if part in code]
    return code


class User:
    """Stands for the user model of the page: the one of the tests has no such manager."""

    objects = SegmentUserManager()
    objects.model = SegmentableUser


@pytest.fixture
def shop(users, orders, make):
    make("vip", static_ids=users[:3], priority=1)
    make("big-spenders", static_ids=users[2:5], priority=9)
    return {"User": User, "Order": Order, "Segment": Segment}


def test_model__has_the_manager():
    code = block("class User(AbstractUser")
    namespace = {"__name__": "tests.accounts.page"}
    exec(f"{code}\n    class Meta:\n        abstract = True\n", namespace)
    manager = namespace["User"]._meta.managers[0]
    assert isinstance(manager, SegmentUserManager)


def test_filters__are_one_statement_each(shop, django_assert_num_queries):
    *lines, last = block("in_any(").splitlines()
    users = [
        {user.username for user in eval(line, shop)} for line in lines if "count()" not in line
    ]
    assert users == [{"u0", "u1", "u2"}, {"u0", "u1", "u2", "u3", "u4"}, {"u2"}]
    for line in lines:
        with django_assert_num_queries(1):
            bool(eval(line, shop))
    assert {order.user.username for order in eval(last, shop)} == {"u0", "u1", "u2"}


def test_page_of_users__costs_two_queries(shop, django_assert_num_queries):
    with django_assert_num_queries(2):
        exec(block("prefetch_segments().order_by"), shop)
        assert [list(user.segments) != [] for user in shop["users"][4:6]] == [True, False]


def test_prefetches__work(shop, users):
    exec(block("urgent = "), shop | {"users": users})
    assert users[0].is_member("vip")


def test_for_users__is_one_query(shop, users, django_assert_num_queries):
    with django_assert_num_queries(1):
        exec(block("by_user ="), namespace := shop | {"users": users})
    segments = namespace["by_user"][users[2].pk]
    assert [segment.slug for segment in segments] == ["big-spenders", "vip"]


def request_of(user):
    request = RequestFactory().get("/")
    request.user = user

    async def auser():
        return user

    request.auser = auser
    return request


def test_views__let_members_in(shop, users):
    exec(block("class Lounge("), shop)
    for view in (shop["lounge"], shop["Lounge"].as_view()):
        assert view(request_of(users[0])).status_code == 200
        assert view(request_of(AnonymousUser())).status_code == 302
        with pytest.raises(PermissionDenied):
            view(request_of(users[9]))


@pytest.mark.parametrize(
    ("part", "texts"),
    [
        ("{% load", ["Hello again. Free delivery.", ""]),
        ("{% for", ["Hello again. Big-Spenders. Vip.", ""]),
    ],
)
def test_templates__greet(part, texts, shop, users, django_assert_num_queries):
    template = engines["django"].from_string(block(part, "html"))
    for user, text in zip((users[2], users[9]), texts, strict=True):
        request = request_of(user)
        with django_assert_num_queries(1):
            found = template.render({"user": user} | context(request), request)
        assert " ".join(found.split()) == text


def test_async__answers(shop, users):
    exec(block("async def offers"), shop)
    assert async_to_sync(shop["offers"])(request_of(users[2])) == ["big-spenders", "vip"]
    assert len(async_to_sync(shop["offers"])(request_of(users[9]))) == 3


def test_methods__that_are_named_exist():
    names = set(re.findall(r"`(?:[\w.]+\.)?(a\w+)[`(]", PAGE)) - {"and", "auser"}
    assert len(names) == 20
    owners = (SegmentableUser, Segment, type(Segment.objects), segments, segments.users)
    assert all(any(hasattr(owner, name) for owner in owners) for name in names)


def test_offer__is_found_in_one_query(shop, users, django_assert_num_queries):
    for priority, slug in ((2, "vip"), (1, "big-spenders")):
        segment = Segment.objects.get(slug=slug)
        Offer.objects.create(priority=priority, discount=5, segment=segment)
    for user, expected in ((users[2], 1), (users[0], 2), (users[9], None)):
        with django_assert_num_queries(1):
            offer = Offer.objects.filter(segment__in=Segment.objects.for_user(user)).first()
        assert (offer and offer.priority) == expected
