"""`segments.users.querysets`: users by segments, in one statement and never wrong."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import UserManager
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.users.querysets import SegmentUserManager, SegmentUserQuerySet
from tests.accounts.models import SegmentableUser as User
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


def manager(kind=SegmentUserManager):
    """Return a manager of users, as the user model would have it."""
    made = kind()
    made.model = User
    return made


def names(users):
    return sorted(user.username for user in users)


@pytest.fixture
def people(users, make):
    """The manager of users; u0 to u2 are vip, u2 to u4 are big spenders, nobody is new."""
    make("vip", static_ids=users[:3])
    make("big-spenders", static_ids=users[2:5])
    make("new", definition="SELECT id FROM accounts_segmentableuser WHERE false")
    return manager()


@pytest.mark.roles
def test_in_segment__returns_the_members(people, django_assert_num_queries):
    for which in ("big-spenders", "big_spenders", Segment.objects.get(slug="big-spenders")):
        with django_assert_num_queries(1):
            assert names(people.in_segment(which)) == ["u2", "u3", "u4"]
    with django_assert_num_queries(1):
        assert names(people.in_segment("new")) == []


@pytest.mark.roles
def test_sets__are_one_statement_each(people, django_assert_num_queries):
    expected = {
        ("in_any", "vip", "big_spenders"): "u0 u1 u2 u3 u4",
        ("in_all", "vip", "big-spenders"): "u2",
        ("in_all", "vip", "new"): "",
        ("not_in", "vip", "big-spenders"): "u5 u6 u7 u8 u9",
        ("not_in", "new"): "u0 u1 u2 u3 u4 u5 u6 u7 u8 u9",
    }
    for (method, *slugs), found in expected.items():
        segments = [Segment.objects.get(slug=slug.replace("_", "-")) for slug in slugs]
        for which in (slugs, segments, [segments[0], *slugs[1:]]):
            with django_assert_num_queries(1):
                assert names(getattr(people, method)(*which)) == found.split()


def test_no_segments__are_what_logic_says(people):
    assert names(people.in_any()) == []
    assert len(people.in_all()) == len(people.not_in()) == 10


def test_other_filters__go_with_it(people, users, orders, django_assert_num_queries):
    with django_assert_num_queries(1):
        found = people.filter(username__gt="u0").in_segment("vip").not_in("big-spenders")
        assert names(found.exclude(username="u9")) == ["u1"]
    either = people.in_segment("vip") | people.filter(username="u9")
    with django_assert_num_queries(1):
        assert names(either) == ["u0", "u1", "u2", "u9"]
    with django_assert_num_queries(1):
        assert people.in_segment("vip").values_list("username", flat=True)[1:2][0] == "u1"
    with django_assert_num_queries(1):
        amounts = Order.objects.filter(user__in=people.in_all("vip", "big-spenders"))
        assert [order.user_id for order in amounts] == [users[2].pk]
    assert names(people.filter(Q(pk__in=people.in_segment("vip")) & ~Q(username="u0"))) == [
        "u1",
        "u2",
    ]


@pytest.mark.roles
def test_evaluations__of_each_kind_are_one_statement(people, django_assert_num_queries):
    vip = people.in_segment("vip").order_by("username")
    answers = {
        lambda: vip.count(): 3,
        lambda: vip.exists(): True,
        lambda: vip.first().username: "u0",
        lambda: vip.get(username="u2").username: "u2",
        lambda: vip.aggregate(last=models.Max("username"))["last"]: "u2",
        lambda: names(vip.iterator()): ["u0", "u1", "u2"],
        lambda: vip.update(first_name="V"): 3,
        lambda: "segments_membership" in vip.explain(): True,
    }
    for ask, answer in answers.items():
        with django_assert_num_queries(1):
            assert ask() == answer


EVALUATIONS = {
    "list": list,
    "count": lambda users: users.count(),
    "exists": lambda users: users.exists(),
    "get": lambda users: users.get(pk=-1),
    "first": lambda users: users.filter(pk=-1).first(),
    "aggregate": lambda users: users.aggregate(models.Max("pk")),
    "iterator": lambda users: list(users.iterator()),
    "values": lambda users: list(users.values_list("pk")),
    "update": lambda users: users.update(first_name="x"),
    "delete": lambda users: users.delete(),
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_unknown_slug__is_named_with_the_nearest(evaluate, people, users):
    wrong = {
        "in_segment": ("vpi",),
        "in_any": ("vip", "vpi"),
        "in_all": ("vip", "vpi"),
        "not_in": ("vpi", "big-spenders"),
    }
    for method, slugs in wrong.items():
        with CaptureQueriesContext(connection) as sent:
            with pytest.raises(Segment.DoesNotExist) as caught, transaction.atomic():
                evaluate(getattr(people, method)(*slugs))
        message = 'There is no segment with the slug "vpi". Did you mean "vip"?'
        assert str(caught.value) == message
        asked = [each for each in sent if "SAVEPOINT" not in each["sql"]]
        assert len(asked) == 1
    assert User.objects.filter(first_name="").count() == 10


@pytest.mark.slow
def test_nearest_slug__is_that_of_other_checks(people, make, users):
    for number in range(30):
        make(f"segment-{number}", static_ids=users[:1])
    for slug in ("Big Spenders", "big-spender", " BIG_SPENDERS", "", "x" * 99, 'a"b', "zebra"):
        with pytest.raises(Segment.DoesNotExist) as expected:
            users[0].is_member(slug)
        with pytest.raises(Segment.DoesNotExist) as caught, transaction.atomic():
            list(people.in_segment(slug))
        assert str(caught.value) == str(expected.value)


def test_unknown_slug__without_any_segment(make):
    make("vip").delete()
    with pytest.raises(Segment.DoesNotExist, match='^There is no segment .* slug "vip".$'):
        list(manager().in_segment("vip"))


def test_missing_schema__is_an_error(users, owner):
    owner("DROP SCHEMA IF EXISTS segments CASCADE")
    with pytest.raises(SegmentExecutionError, match='schema "segments" does not exist'):
        list(manager().in_segment("vip"))


def test_unknown_slug__in_a_subquery_is_an_error(people, orders):
    with pytest.raises(DatabaseError, match='There is no segment with the slug "vpi"'):
        list(Order.objects.exclude(user__in=people.in_segment("vpi")))


def test_unknown_slug__in_one_of_two_conditions_is_an_error(people):
    with pytest.raises(Segment.DoesNotExist):
        list(people.filter(pk__gt=0) | people.in_segment("vpi"))


@pytest.mark.roles
def test_unpopulated__is_an_error_and_not_empty(people):
    vip = Segment.objects.get(slug="vip")
    Segment.objects.filter(slug="vip").update(refreshed_at=None)
    for which in ("vip", vip):
        for method in ("in_segment", "in_any", "in_all", "not_in"):
            with pytest.raises(SegmentExecutionError) as caught, transaction.atomic():
                getattr(people, method)(which).count()
            assert str(caught.value).startswith('segment "vip" was never populated')
            assert caught.value.hint == "Refresh it: manage.py refresh_segments vip"


def test_deleted_segment__is_an_error_and_not_empty(people):
    vip = Segment.objects.get(slug="vip")
    Segment.objects.get(slug="vip").delete()
    with pytest.raises(SegmentExecutionError, match=f"key {vip.pk} has been deleted"):
        list(people.not_in(vip))


def test_renamed_segment__keeps_its_members(people):
    before = Segment.objects.get(slug="vip")
    Segment.objects.get(slug="vip").rename("gold")
    Segment.objects.get(slug="big-spenders").rename("vip")
    assert names(people.in_segment(before)) == ["u0", "u1", "u2"]


def test_deleted_user__is_no_member(people, users, query):
    query("DELETE FROM accounts_segmentableuser WHERE id = %s", users[0].pk)
    assert names(people.in_segment("vip")) == ["u1", "u2"]
    assert people.in_segment("vip").count() == 2


@pytest.mark.parametrize("wrong", [1, None, b"vip", ["vip"], Segment, User(pk=1)])
def test_other_things__are_refused_at_once(wrong, people, django_assert_num_queries):
    with django_assert_num_queries(0):
        for method in ("in_segment", "in_any", "in_all", "not_in"):
            with pytest.raises(TypeError, match="a segment or its slug is needed, not"):
                getattr(people, method)(wrong)


@pytest.mark.parametrize(
    "several", [["vip", "gold"], ("vip",), iter("v")], ids=["list", "tuple", "iterator"]
)
def test_several__are_named_one_by_one(several, people):
    for method in ("in_any", "in_all", "not_in"):
        with pytest.raises(TypeError, match=r"name several one by one: in_any\(\*segments\)"):
            getattr(people, method)(several)


def test_unsaved_segment__is_refused_at_once(people):
    with pytest.raises(ValueError, match='segment "gold" is not saved'):
        people.in_segment(Segment(slug="gold"))


def test_other_model__is_refused_at_once(people):
    with pytest.raises(TypeError, match="a queryset of users is needed, not .* of shop.Order"):
        SegmentUserQuerySet(Order).in_segment("vip")
    with pytest.raises(TypeError, match="a queryset of users is needed, not .* of shop.Order"):
        SegmentUserQuerySet(Order).not_in("vip")


def test_other_errors__stay_those_of_django(people):
    with pytest.raises(DatabaseError, match="division by zero"):
        list(people.in_segment("vip").annotate(x=1 / models.F("pk") / (models.F("pk") * 0)))


def test_missing_function__says_how_to_create_it(people, owner):
    owner("DROP FUNCTION segments.populated(text[], bigint[])")
    with pytest.raises(SegmentExecutionError, match="manage.py sync_segments"):
        list(people.in_segment("vip"))


class Named(models.QuerySet):
    def named(self, name):
        return self.filter(username=name)


class Both(SegmentUserQuerySet, Named):
    pass


@pytest.mark.parametrize(
    "kind",
    [
        SegmentUserManager,
        lambda: SegmentUserQuerySet.as_manager(),
        UserManager.from_queryset(SegmentUserQuerySet),
    ],
)
def test_managers__have_the_methods(kind, people):
    assert names(manager(kind).in_segment("vip").not_in("big-spenders")) == ["u0", "u1"]


def test_own_querysets__may_inherit_it(people):
    for kind in (Both.as_manager, UserManager.from_queryset(Both)):
        assert names(manager(kind).in_segment("vip").named("u1").in_all("vip")) == ["u1"]


def test_own_manager__creates_users(db):
    assert manager().create_user("ada").check_password("") is False


def test_async__works_and_tells_what_is_wrong(people):
    async def ask():
        vip = people.in_segment("vip")
        assert await vip.acount() == 3
        assert [user.username async for user in vip.order_by("pk")] == ["u0", "u1", "u2"]
        assert [user.username async for user in vip.order_by("pk").aiterator()] == [
            "u0",
            "u1",
            "u2",
        ]

    async_to_sync(ask)()


@pytest.mark.parametrize("stream", [True, False])
def test_async__names_an_unknown_slug(stream, people):
    async def ask():
        wrong = people.in_segment("vpi")
        return [user async for user in (wrong.aiterator() if stream else wrong)]

    with pytest.raises(Segment.DoesNotExist, match='Did you mean "vip"'):
        async_to_sync(ask)()
