"""Segment and SegmentMixin: their answers, the cost in queries, and their errors."""

import types
from datetime import timedelta
from importlib import import_module

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import TestCase

from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Segment, Status
from segments.pgviews import models as view_models
from segments.refreshing.schedule import due
from tests.conftest import USERS
from tests.shop.models import Offer, Order

pytestmark = pytest.mark.django_db

STAFF = f"SELECT id FROM {USERS} WHERE is_staff"


@pytest.fixture
def team(users, make):
    """A segment of u0 and u1."""
    type(users[0]).objects.filter(username__in=["u0", "u1"]).update(is_staff=True)
    return make("staff", definition=STAFF)


@pytest.mark.roles
def test_is_member__by_segment_and_by_slug_is_one_query(team, users, django_assert_num_queries):
    for user, expected in ((users[0], True), (users[5], False)):
        for question in (
            lambda: user.is_member(team),  # noqa: B023
            lambda: user.is_member("staff"),  # noqa: B023
            lambda: team.has_member(user),  # noqa: B023
            lambda: team.has_member(user.pk),  # noqa: B023
        ):
            with django_assert_num_queries(1) as captured:
                assert question() is expected
            assert "information_schema" not in captured[0]["sql"]


@pytest.mark.roles
def test_is_member__is_of_the_last_refresh_and_live_is_current(team, users):
    type(users[0]).objects.filter(username="u5").update(is_staff=True)
    assert not users[5].is_member(team)
    assert users[5].is_member_live(team)
    assert users[5].is_member_live("staff")
    assert team.has_member_live(users[5])
    team.refresh()
    assert users[5].is_member(team)


def test_is_member__of_an_unknown_slug_is_an_error(team, users):
    for question in (users[0].is_member, users[0].is_member_live):
        with pytest.raises(Segment.DoesNotExist):
            question("stuff")
        with pytest.raises(Segment.DoesNotExist):
            question("catalog")
    assert users[0].is_member("staff")


@pytest.mark.parametrize("options", [{"prepare_threshold": 0}, {"server_side_binding": True}])
def test_is_member__on_connections_with_other_options(
    options, team, users, django_assert_num_queries, monkeypatch
):
    if "prepare_threshold" in options:
        monkeypatch.setattr(connection.connection, "prepare_threshold", 0)
    else:
        import psycopg

        monkeypatch.setattr(connection.connection, "cursor_factory", psycopg.Cursor)
    for _ in range(3):
        with django_assert_num_queries(1):
            assert users[0].is_member(team)
        assert users[0].is_member("staff")
        assert not users[5].is_member(team)
    if "prepare_threshold" in options:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_prepared_statements "
                "WHERE statement LIKE 'SELECT m.user_id FROM %staff%'"
            )
            assert cursor.fetchone()[0] == 1


def test_has_member__of_a_user_that_is_not_saved_is_false(team, django_user_model):
    assert team.has_member(django_user_model()) is False
    assert team.has_member(AnonymousUser()) is False
    assert team.has_member_live(django_user_model()) is False
    assert team.has_member(None) is False
    assert django_user_model().is_member(team) is False
    assert django_user_model().is_member("staff") is False


@pytest.mark.roles
def test_never_populated__answers_from_the_live_view(team, users, owner):
    owner("REFRESH MATERIALIZED VIEW segments.staff WITH NO DATA")
    Segment.objects.update(refreshed_at=None, members_count=None, status=Status.UNPOPULATED)
    segment = Segment.objects.get()
    assert users[0].is_member(segment)
    assert users[0].is_member("staff")
    assert not users[5].is_member("staff")
    assert segment.has_members(users) == {users[0].pk, users[1].pk}
    assert len(segment) == 2
    assert set(segment.members) == set(users[:2])
    assert set(segment.member_ids()) == {users[0].pk, users[1].pk}


QUESTIONS = {
    "has_member": lambda segment, users: segment.has_member(users[0]),
    "has_member_live": lambda segment, users: segment.has_member_live(users[0]),
    "has_members": lambda segment, users: segment.has_members(users),
    "has_members of a queryset": lambda segment, users: segment.has_members(
        type(users[0]).objects.all()
    ),
    "is_member": lambda segment, users: users[0].is_member(segment),
    "is_member by slug": lambda segment, users: users[0].is_member(segment.slug),
    "len": lambda segment, users: len(segment),
    "member_ids": lambda segment, users: list(segment.member_ids()),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_missing_view__is_an_error_and_not_a_no(question, team, users, owner):
    owner("DROP MATERIALIZED VIEW segments.staff")
    owner("DROP VIEW segments_live.staff")
    with pytest.raises(SegmentExecutionError, match='"staff".*does not exist(?s:.*)sync_segments'):
        with transaction.atomic():
            question(team, users)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_lost_connection__is_an_error_and_not_a_no(question, team, users, session, query):
    (pid,) = query("SELECT pg_backend_pid()")[0]
    session().execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(SegmentExecutionError, match="(?i)terminat|connection"):
        question(team, users)
    connection.close()
    assert users[0].is_member(team)


@pytest.mark.roles
def test_has_members__is_one_query(team, users, django_user_model, django_assert_num_queries):
    expected = {users[0].pk, users[1].pk}
    for asked in (
        users,
        [user.pk for user in users],
        iter(users),
        [*users, None, AnonymousUser()],
        django_user_model.objects.order_by("username"),
        django_user_model.objects.values("pk"),
        django_user_model.objects.order_by("username")[:8],
    ):
        with django_assert_num_queries(1):
            assert team.has_members(asked) == expected
    assert team.has_members([]) == set()
    assert team.has_members(users[5:]) == set()


@pytest.mark.roles
def test_members__compose(team, users, orders, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert team.members.count() == 2
    with django_assert_num_queries(1):
        assert team.members.filter(username="u1").exists()
    assert not team.members.filter(username="u5").exists()
    assert set(team.members.exclude(username="u0")) == {users[1]}
    assert Order.objects.filter(user__in=team.members).count() == 2
    assert set(team.members.filter(order__amount=50)) == {users[1]}
    type(users[0]).objects.filter(username="u5").update(is_staff=True)
    assert team.members_live.count() == 3
    assert set(team.members_live.difference(team.members)) == {users[5]}


@pytest.mark.roles
def test_member_ids__stream(team, users):
    ids = team.member_ids()
    assert isinstance(ids, types.GeneratorType)
    assert {next(ids), *ids} == {users[0].pk, users[1].pk}


@pytest.mark.roles
def test_view__is_a_model_of_its_own_registry(team, users):
    from django.apps import apps
    from django_pgviews.view import MaterializedView

    assert issubclass(team.view, MaterializedView)
    assert team.view is Segment.objects.get().view
    assert team.view.objects.get(user=users[0]).user == users[0]
    assert team.view.objects.filter(user__username__in=["u0", "u5"]).count() == 1
    assert team.view not in apps.get_models()
    assert view_models.catalog_view() not in apps.get_models()


def test_segment__is_true_has_a_length_and_a_name(team, make):
    empty = make("empty", static_ids=[])
    assert len(empty) == 0
    assert empty
    assert bool(empty) is True
    assert (len(team), str(team)) == (2, "Staff")


@pytest.mark.roles
def test_segments_of_a_user__come_by_priority(users, make, django_assert_num_queries):
    low = make("low", priority=1)
    high = make("high", priority=9)
    make("others", static_ids=users[1:], priority=5)
    also_low = make("also-low", priority=1)
    with django_assert_num_queries(1):
        assert list(users[0].segments) == [high, also_low, low]
    assert list(Segment.objects.for_user(users[0])) == [high, also_low, low]
    assert list(Segment.objects.filter(priority=1).for_user(users[0].pk)) == [also_low, low]
    assert list(users[0].segments.filter(priority__gt=1)) == [high]
    with django_assert_num_queries(1):
        assert users[0].segment_ids == [low.pk, high.pk, also_low.pk]


@pytest.mark.slow
def test_segments_of_a_user__cost_one_query_however_many_exist(
    users, make, django_assert_num_queries
):
    for n in range(30):
        make(f"s{n}", static_ids=[users[n % 10].pk])
    with django_assert_num_queries(1):
        assert len(users[0].segment_ids) == 3
    with django_assert_num_queries(1):
        assert len(users[0].segments) == 3


def test_offer__goes_to_the_first_segment_that_the_user_is_in(team, users, make):
    everyone = make("everyone")
    second = Offer.objects.create(priority=2, discount=5, segment=everyone)
    first = Offer.objects.create(priority=1, discount=10, segment=team)
    assert Offer.get_offer_for_user(users[0]) == first
    assert Offer.get_offer_for_user(users[5]) == second
    second.delete()
    assert Offer.get_offer_for_user(users[5]) is None


@pytest.mark.parametrize("timeout", [timedelta(hours=2), timedelta()])
def test_timeout__above_the_limit_is_refused_unless_unchanged(timeout, make, settings):
    make("hour", timeout=timedelta(hours=1))
    with pytest.raises(SegmentDefinitionError, match="timeout may be at most 1:00:00") as caught:
        make(timeout=timeout)
    assert caught.value.field == "timeout"
    assert Segment.objects.count() == 1
    settings.SEGMENTS_MAX_TIMEOUT = 0
    segment = make(timeout=timeout)
    settings.SEGMENTS_MAX_TIMEOUT = 60
    segment.name = "Other"
    segment.save()
    for attempt in (segment.full_clean, segment.save, segment.preview):
        segment.timeout = timedelta(seconds=61)
        with pytest.raises((SegmentDefinitionError, ValidationError), match="at most 0:01:00"):
            attempt()
    segment.timeout = timedelta(seconds=60)
    segment.save()


@pytest.mark.parametrize("field", ["refresh_every", "timeout"])
def test_number__of_seconds_is_a_duration(field, make, users):
    minute = timedelta(seconds=60)
    segment = make(**{field: 60})
    assert getattr(segment, field) == getattr(Segment.objects.get(), field) == minute
    assert Segment.objects.filter(**{field: 60}).count() == 1
    assert segment.refresh().status == "unchanged"
    setattr(segment, field, 0.5)
    segment.full_clean()
    segment.save()
    segment.refresh_from_db()
    assert getattr(segment, field) == timedelta(seconds=0.5)
    Segment.objects.update(**{field: 60})
    deferred = Segment.objects.defer(field).get()
    assert getattr(deferred, field) == minute
    Segment.objects.update_or_create(slug="vip", defaults={field: None})
    assert getattr(Segment.objects.get(), field) is None


def test_refresh_every__in_seconds_makes_a_segment_due(make, users, query):
    segment = make(refresh_every=60)
    assert due(Segment.objects.all()) == []
    query("UPDATE segments_segment SET attempted_at = attempted_at - interval '61 seconds'")
    assert due(Segment.objects.all()) == [segment]


@pytest.mark.roles
def test_live_check__is_under_the_timeout(users, make, settings):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE pg_sleep(0.002) IS NOT NULL")
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0.001
    with pytest.raises(SegmentExecutionError, match="timeout"):
        segment.has_member_live(users[0])
    assert segment.has_member(users[0])


def test_reads__follow_the_routers(team, users, settings, monkeypatch):
    seen = []

    class Router:
        def db_for_read(self, model, **hints):
            seen.append(model._meta.object_name)

    settings.DATABASE_ROUTERS = [Router()]
    team.has_member(users[0])
    users[0].is_member("staff")
    len(team)
    assert seen == ["Segment"] * 3
    team.members.count()
    assert seen[-1] == "SegmentableUser"


@pytest.mark.roles
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_refresh_async__runs_once_the_transaction_is_committed(team, users, settings):
    settings.TASKS = {
        "default": {"BACKEND": f"{_framework()}.backends.immediate.ImmediateBackend"}
    }
    users[5].is_staff = True
    users[5].save()
    with transaction.atomic():
        users[5].refresh_segments_async()
        assert not users[5].is_member(team)
    assert users[5].is_member(team)


def test_refresh_async__of_a_deleted_user_does_nothing(team, users):
    from segments.tasks import refresh_user_segments

    key = users[0].pk
    users[0].delete()
    assert refresh_user_segments.call(str(key)) == {}


def test_refresh_async__of_a_user_who_is_not_saved_does_nothing(django_user_model, settings):
    settings.TASKS = {
        "default": {"BACKEND": f"{_framework()}.backends.immediate.ImmediateBackend"}
    }
    with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
        django_user_model().refresh_segments_async()
    assert callbacks == []


def _framework():
    from importlib.util import find_spec

    return "django.tasks" if find_spec("django.tasks") else "django_tasks"


def test_public_names__can_be_imported_from_the_package():
    import segments

    assert segments.Segment is Segment
    for name in segments.__all__:
        home = import_module(segments.HOMES[name])
        assert getattr(segments, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="has no attribute"):
        segments.nothing  # noqa: B018
