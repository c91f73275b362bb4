"""Manager methods: which querysets select users, and the errors of others."""

import asyncio
from contextvars import ContextVar
from datetime import UTC, date, datetime

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections, models
from django.db.models import CharField, Q, Value
from django.db.models.functions import TruncDate
from django.utils import timezone, translation
from django.utils.translation import gettext, gettext_lazy

from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from tests.shop.models import Offer, Order, OrderQuerySet

pytestmark = pytest.mark.django_db


def content_type(model):
    return ContentType.objects.get_for_model(model)


@pytest.fixture
def method(orders, users, make, monkeypatch):
    """Create a segment from a function, after making it a manager method of a model."""

    def create(function, model=Order):
        manager = model.objects
        monkeypatch.setattr(type(manager), "chosen", lambda self: function(self), raising=False)
        return make(manager_method="chosen", model=content_type(model))

    return create


@pytest.fixture
def user_model(django_user_model):
    return django_user_model


ORDERS = {
    "the only relation": lambda orders: orders.filter(amount__gte=400),
    "values_list of the relation": lambda o: o.filter(amount__gt=390).values_list("user"),
    "values_list of its column": lambda o: o.order_by("amount").values_list("user_id")[8:],
    "values of its key": lambda orders: orders.filter(amount__gte=400).values("user__id"),
    "flat": lambda orders: orders.filter(amount__gte=400).values_list("user", flat=True),
    "sliced": lambda orders: orders.order_by("-amount")[:2],
    "sliced values": lambda orders: orders.order_by("-amount").values_list("user")[:2],
    "union": lambda orders: orders.filter(amount=400)
    .values_list("user")
    .union(orders.filter(amount=450).values_list("user")),
    "union of rows": lambda orders: orders.filter(amount=400).union(orders.filter(amount=450)),
    "distinct": lambda orders: orders.filter(amount__gte=400).values_list("user").distinct(),
    "text parameter": lambda orders: orders.filter(
        user__username__in=["u8", "u9", "' OR true --", "%s"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("function", ORDERS.values(), ids=ORDERS)
def test_queryset_of_another_model__selects_the_related_users(function, method, users):
    assert set(method(function).member_ids()) == {users[8].pk, users[9].pk}


USERS = {
    "plain": lambda users: users.filter(username__gte="u8"),
    "annotated": lambda users: users.annotate(n=_count("order")).filter(n=1, username__gte="u8"),
    "only": lambda users: users.filter(username__gte="u8").only("username"),
    "sliced": lambda users: users.order_by("-username")[:2],
    "union": lambda users: users.filter(username="u8").union(users.filter(username="u9")),
    "values of the key": lambda users: users.filter(username__gte="u8").values("id"),
    "related": lambda users: users.filter(order__amount__gte=400),
}


def _count(name):
    from django.db.models import Count

    return Count(name)


@pytest.mark.parametrize("function", USERS.values(), ids=USERS)
def test_queryset_of_users__selects_their_keys(function, method, users, user_model):
    assert set(method(function, user_model).member_ids()) == {users[8].pk, users[9].pk}


@pytest.fixture
def others(users, user_model, query):
    """Models that inherit from the user model, or refer to it in other ways; gone afterwards.

    The two last users are in each of them.
    """

    class Vip(user_model):
        mentor = models.ForeignKey(user_model, models.CASCADE, related_name="+")

        class Meta:
            app_label = "shop"

    class Numbered(user_model):
        id_card = models.AutoField(primary_key=True)
        person = models.OneToOneField(user_model, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "shop"

    class Stay(models.Model):  # noqa: DJ008
        vip = models.ForeignKey(Vip, models.CASCADE, related_name="+")

        objects = models.QuerySet.as_manager()

        class Meta:
            app_label = "shop"

    class Letter(models.Model):  # noqa: DJ008
        to = models.ForeignKey(user_model, models.CASCADE, to_field="username", related_name="+")

        objects = models.QuerySet.as_manager()

        class Meta:
            app_label = "shop"

    created = {model.__name__: model for model in (Vip, Numbered, Stay, Letter)}
    try:
        query("SET CONSTRAINTS ALL IMMEDIATE")
        with connection.schema_editor() as editor:
            for model in created.values():
                editor.create_model(model)
        for user in users[8:]:
            Vip(segmentableuser_ptr=user, mentor=users[0]).save_base(raw=True)
            Numbered(person=user).save_base(raw=True)
            Stay.objects.create(vip_id=user.pk)
            Letter.objects.create(to=user)
        yield created
    finally:
        for model in created.values():
            del apps.all_models["shop"][model._meta.model_name]
        apps.clear_cache()
        ContentType.objects.clear_cache()  # Their content types are rolled back.


OTHERS = {
    "a child of the user model": ("Vip", lambda vips: vips.all(), (8, 9)),
    "its key": ("Vip", lambda vips: vips.values_list("pk"), (8, 9)),
    "its link": ("Vip", lambda vips: vips.values("segmentableuser_ptr"), (8, 9)),
    "a second relation of it": ("Vip", lambda vips: vips.values_list("mentor"), (0,)),
    "a child with a key of its own": ("Numbered", lambda numbered: numbered.all(), (8, 9)),
    "the only relation to a child": ("Stay", lambda stays: stays.all(), (8, 9)),
    "values of the relation to a child": ("Stay", lambda stays: stays.values("vip"), (8, 9)),
    "a relation to another column": ("Letter", lambda letters: letters.all(), (8, 9)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "function", "numbers"), OTHERS.values(), ids=OTHERS)
def test_queryset__of_a_model_beside_the_users(name, function, numbers, others, method, users):
    assert set(method(function, others[name]).members) == {users[n] for n in numbers}


@pytest.mark.parametrize(("name", "path", "says"), [
    ("Letter", "to", "selects accounts.SegmentableUser.username, which is not a user id"),
    ("Letter", "id", "selects shop.Letter.id, which is not a user id"),
    ("Numbered", "id_card", "selects shop.Numbered.id_card, which is not a user id"),
])  # fmt: skip
def test_queryset__of_other_keys_is_refused(name, path, says, others, method):
    with pytest.raises(SegmentDefinitionError, match=says):
        method(lambda rows: rows.values_list(path), others[name])


def test_queryset__without_rows_is_an_empty_segment(method):
    assert len(method(lambda orders: orders.none())) == 0


def test_method__of_the_user_model_is_the_default(users, make):
    segment = make(manager_method="all")
    assert segment.kind == "manager"
    assert len(segment) == len(users)


def test_method__and_static_ids_is_the_union(method, users):
    segment = method(lambda orders: orders.filter(amount=450))
    segment.static_ids = [users[0].pk]
    segment.save()
    assert set(segment.member_ids()) == {users[0].pk, users[9].pk}


BAD = {
    "key of another model": (
        lambda orders: orders.values_list("id"), "selects shop.Order.id, which is not a user id",
    ),
    "two columns": (lambda orders: orders.values_list("user", "amount"), "selects 2 columns"),
    "no column": (lambda orders: orders.values_list(), "selects"),
    "wrong type": (lambda orders: orders.values_list("amount"), "is of type numeric"),
    "no relation": (lambda orders: ContentType.objects.all(), "has no relations"),
    "number": (lambda orders: 42, "returned int, not a queryset"),
    "list": (lambda orders: [1, 2], "returned list, not a queryset"),
    "raises": (lambda orders: 1 / 0, "raised ZeroDivisionError: division by zero"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "says"), BAD.values(), ids=BAD)
def test_queryset__that_names_no_users_is_refused(function, says, method, names):
    before = names()
    with pytest.raises(SegmentDefinitionError, match=says) as caught:
        method(function)
    assert caught.value.field == "manager_method"
    assert names() == before
    assert not Segment.objects.exists()


def test_queryset_of_users__with_other_columns_is_refused(method, user_model):
    with pytest.raises(SegmentDefinitionError, match="is_staff, which is not a user id"):
        method(lambda users: users.values("is_staff"), user_model)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"manager_method": "gone"}, "Order.objects has no method"),
        ({"manager_method": "large", "manager_name": "gone"}, 'Order has no manager "gone"'),
        ({"manager_method": "large", "manager_name": "amount"}, 'has no manager "amount"'),
        ({"manager_method": "needs_an_argument"}, "without arguments: missing.*minimum"),
        ({"manager_method": "create"}, "is a method of Django's"),
        ({"manager_method": "delete"}, "has no method"),
        ({"manager_method": "_fetch_all"}, "has no method|is a method of Django's"),
        ({"manager_method": "__class__"}, "has no method"),
        ({"manager_method": "__init__"}, "is a method of Django's"),
        ({"manager_method": "none"}, "is a method of Django's"),
        ({"manager_method": "model"}, "is a method of Django's|has no method"),
    ],
)
def test_method__that_cannot_be_called_is_refused(fields, says, orders, make):
    with pytest.raises(SegmentDefinitionError, match=says):
        make(model=content_type(Order), **fields)
    assert Order.objects.count() == len(orders)


def test_method__that_writes_is_not_called(method, monkeypatch, orders):
    def purge(self):
        self.all().delete()
        return self.all()

    purge.alters_data = True
    monkeypatch.setattr(type(Order.objects), "purge", purge, raising=False)
    with pytest.raises(SegmentDefinitionError, match="writes"):
        Segment.objects.create(
            name="x", slug="x", manager_method="purge", model=content_type(Order)
        )
    assert Order.objects.count() == len(orders)


def test_model__with_two_relations_must_choose(orders, make, monkeypatch):
    class Two(Order):
        other = None

        class Meta:
            proxy = True
            app_label = "shop"

    field = Order._meta.get_field("user")
    monkeypatch.setattr(Two._meta, "get_fields", lambda *args, **kwargs: (field, field))
    monkeypatch.setattr(OrderQuerySet, "two", lambda self: Two.objects.all(), raising=False)
    monkeypatch.setattr(type(Order.objects), "two", lambda self: Two.objects.all(), raising=False)
    with pytest.raises(SegmentDefinitionError, match="has 2 relations to the user model"):
        make(manager_method="two", model=content_type(Order))


def test_model__that_is_not_installed_is_an_error(make):
    stale = ContentType.objects.create(app_label="gone", model="gone")
    with pytest.raises(SegmentDefinitionError, match="is not installed"):
        make(manager_method="all", model=stale)


def test_model__may_be_that_of_an_app_beside(make):
    with pytest.raises(SegmentDefinitionError, match="Offer, which has no relations"):
        make(manager_method="all", model=content_type(Offer))


@pytest.fixture
def late_orders(orders):
    """Let half of the orders be placed when it is another day in Chicago than in UTC."""
    late = [order.pk for order in orders[:5]]
    Order.objects.filter(pk__in=late).update(placed_at=datetime(2026, 1, 2, 3, tzinfo=UTC))
    Order.objects.exclude(pk__in=late).update(placed_at=datetime(2026, 1, 2, 18, tzinfo=UTC))
    return [order.user_id for order in orders[:5]]


LOOKUPS = {
    "date": lambda orders: orders.filter(placed_at__date=date(2026, 1, 1)),
    "day": lambda orders: orders.filter(placed_at__day=1),
    "hour": lambda orders: orders.filter(placed_at__hour=21),
    "truncated": lambda orders: orders.annotate(day=TruncDate("placed_at")).filter(
        day="2026-01-01"
    ),
    "in Python": lambda orders: orders.filter(
        placed_at__lt=timezone.make_aware(datetime.fromisoformat("2026-01-02"))
    ),
    "with a word": lambda orders: orders.filter(
        Q(placed_at__day=1) & Q(user__username__contains="u" if gettext("Yes") == "Yes" else "x")
    ),
    "with a lazy word": lambda orders: orders.annotate(
        word=Value(gettext_lazy("Yes"), CharField())
    ).filter(word="Yes", placed_at__day=1),
}


@pytest.mark.parametrize("function", LOOKUPS.values(), ids=LOOKUPS)
def test_request__has_no_influence_on_a_method(function, method, late_orders, settings):
    settings.USE_I18N = True
    segment = method(function)
    assert set(segment.member_ids()) == set(late_orders)
    with timezone.override("Asia/Tokyo"), translation.override("de"):
        segment.refresh(force=True)
        assert set(segment.member_ids()) == set(late_orders)
        assert segment.preview().members_count == len(late_orders)
        assert segment.members_live.count() == len(late_orders)
        assert timezone.get_current_timezone_name() == "Asia/Tokyo"
        assert translation.get_language() == "de"


def test_method__runs_in_the_zone_of_the_setting(method, late_orders, settings):
    segment = method(lambda orders: orders.filter(placed_at__date=date(2026, 1, 1)))
    settings.SEGMENTS_TIME_ZONE = "UTC"
    assert segment.refresh(force=True).members_count == 0
    settings.SEGMENTS_TIME_ZONE = "America/New_York"
    assert segment.refresh(force=True).members_count == len(late_orders)


def test_method__sees_no_variables_of_a_request(method, orders):
    tenant = ContextVar("tenant", default="nobody")
    segment = method(lambda orders: orders.all() if tenant.get() == "nobody" else orders.none())
    tenant.set("somebody")
    assert segment.refresh(force=True).members_count == len(orders)
    assert tenant.get() == "somebody"


def test_method__that_queries_uses_the_same_connection(method, orders):
    def largest(orders):
        (found,) = orders.order_by("-amount").values_list("pk", flat=True)[:1]
        return orders.filter(pk=found)

    before = connections.all(initialized_only=True)
    assert set(method(largest).member_ids()) == {orders[9].user_id}
    assert connections.all(initialized_only=True) == before


def test_method__runs_in_a_thread_with_an_event_loop(method, orders, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    opened = connection.connection

    def first(orders):
        assert connection.connection is not None
        return orders.filter(pk__in=[orders.earliest("pk").pk])

    async def work():
        connections["default"] = wrapper  # As a shell with an event loop would have it.
        count = method(first).members_count
        assert connection.connection is opened
        return count

    wrapper = connections["default"]
    assert asyncio.run(work()) == 1
