"""Previews: members, cost, and warnings of likely mistakes."""

import pickle
from copy import deepcopy
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import connection, transaction
from psycopg.errors import InsufficientPrivilege

from segments.definition.compile import compile_segment
from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
)
from segments.models import Segment, StaticMember
from segments.validation.checks import trial
from segments.validation.preview import EMPTY_WARNING, PreviewWarning
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db

SLOW = f"SELECT id FROM {USERS} WHERE pg_sleep(0.05) IS NOT NULL"
"""A condition that takes half a second for ten users."""


def unsaved(definition="", **fields):
    return Segment(name="Vip", slug="vip", definition=definition, **fields)


def warned(definition):
    return unsaved(definition).preview().warnings


def test_preview__of_an_unsaved_segment_leaves_nothing(staff, users, names):
    before = names()
    preview = unsaved(EVEN).preview(limit=3)
    assert (preview.members_count, preview.exact) == (5, True)
    assert [user.username for user in preview.sample] == ["u0", "u2", "u4"]
    assert preview.cost > 0
    assert preview.rows >= 1
    assert preview.reads == (f"{USERS}.id", f"{USERS}.is_staff")
    assert preview.segments == preview.warnings == ()
    assert names() == before
    assert not Segment.objects.exists()


def test_preview__needs_no_slug(users):
    assert Segment(definition=f"SELECT id FROM {USERS}").preview(limit=0).sample == ()


def test_preview__of_a_change_keeps_what_is_saved(staff, users, make, relation):
    segment = make(definition=EVEN)
    before = relation("segments.vip"), relation("segments_live.vip")
    segment.definition = f"SELECT id FROM {USERS}"
    assert segment.preview().members_count == 10
    assert len(Segment.objects.get()) == 5
    assert Segment.objects.get().definition == EVEN
    assert (relation("segments.vip"), relation("segments_live.vip")) == before


@pytest.mark.roles
def test_comparison__shows_who_would_enter_and_leave(staff, users, make):
    segment = make(definition=EVEN)
    staff(0, 1, 3, 5, 7, 9)
    preview = segment.preview(limit=2)
    keys = [user.pk for user in users]
    assert (preview.present, preview.members_count) == (5, 6)
    assert (preview.entering.count, preview.entering.sample) == (5, (keys[1], keys[3]))
    assert (preview.leaving.count, preview.leaving.sample) == (4, (keys[2], keys[4]))
    assert preview.comparison == "5 now; 6 then; 4 leave, 5 enter"
    assert segment.members_count == 5


def test_comparison__is_with_what_is_saved(staff, users, make):
    segment = make(definition=EVEN)
    segment.slug, segment.definition = "other", ""
    segment.static_ids = users[1:3]
    preview = segment.preview()
    assert preview.entering.sample == (users[1].pk,)
    assert preview.leaving.count == 4


def test_comparison__names_members_who_were_deleted(users, make):
    segment = make()
    key = users[0].pk
    users[0].delete()
    assert segment.preview().leaving.sample == (key,)


@pytest.mark.slow
def test_comparison__needs_members_and_time(users, make, settings):
    none = (None, None, None, "")

    def compared(segment):
        preview = segment.preview()
        return preview.present, preview.entering, preview.leaving, preview.comparison

    assert compared(unsaved(EVEN)) == none
    settings.SEGMENTS_REFRESH_ASYNC = True
    assert compared(make("new")) == none
    settings.SEGMENTS_REFRESH_ASYNC = False
    segment = make()
    segment.definition = SLOW
    settings.SEGMENTS_PREVIEW_TIMEOUT = 0.1
    assert compared(segment) == none


def test_preview__inside_a_transaction_leaves_its_timeouts(users, query):
    query("SET LOCAL statement_timeout = '77s'")
    unsaved(EVEN).preview()
    assert query("SHOW statement_timeout") == [("77s",)]


def test_preview__of_segments_that_read_others(users, make):
    make("a-b")
    make("c", definition="SELECT user_id FROM segments.a_b")
    definition = "SELECT user_id FROM segments.a_b EXCEPT SELECT user_id FROM segments_live.c"
    preview = unsaved(definition).preview()
    assert preview.segments == ("a-b", "c")
    assert "segments.a_b.user_id" in preview.reads


def test_preview__of_a_manager_method(orders):
    from django.contrib.contenttypes.models import ContentType

    from tests.shop.models import Order

    model = ContentType.objects.get_for_model(Order)
    preview = unsaved(manager_method="large", model=model).preview()
    assert preview.members_count == 8
    assert {"shop_order.user_id", "shop_order.amount"} <= set(preview.reads)
    assert preview.warnings == ()


def test_preview__of_a_list_that_is_not_saved(users, make):
    segment = make(static_ids=users[:2])
    assert segment.preview().members_count == 2
    segment.static_ids = users[5:9]
    preview = segment.preview()
    assert [user.username for user in preview.sample] == ["u5", "u6", "u7", "u8"]
    assert set(segment.unsaved_static_ids) == set(users[5:9])
    assert StaticMember.objects.count() == 2
    assert unsaved(static_ids=users[:3]).preview().members_count == 3
    assert unsaved(EVEN, static_ids=users[:3]).preview().members_count == 3
    assert unsaved(static_ids="").preview().warnings == (EMPTY_WARNING,)


def test_preview__of_a_timeout_below_a_millisecond_is_under_one(users):
    unlimited = f"SELECT id FROM {USERS} WHERE current_setting('statement_timeout') = '0'"
    segment = Segment(definition=unlimited, timeout=timedelta(microseconds=1))
    try:
        assert segment.preview().members_count == 0
    except SegmentExecutionError as error:
        assert error.sqlstate == "57014"  # noqa: PT017  # It was too short for all of that.


@pytest.mark.slow
def test_preview__that_takes_too_long_shows_the_estimate(users, settings):
    settings.SEGMENTS_PREVIEW_TIMEOUT = 0.1
    preview = unsaved(SLOW).preview()
    assert (preview.exact, preview.sample) == (False, ())
    assert preview.members_count == preview.rows > 0
    assert "longer than 0.1 s" in preview.warnings[0]
    settings.SEGMENTS_PREVIEW_TIMEOUT, settings.SEGMENTS_STATEMENT_TIMEOUT = 0, 0.1
    assert not unsaved(SLOW).preview().exact
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0
    assert unsaved(SLOW).preview().exact


ERRORS = {
    "text": ("SELECT id FROM nowhere", SegmentDefinitionError, 'relation "nowhere"'),
    "two statements": ("SELECT 1 AS id; SELECT 2", SegmentDefinitionError, "multiple commands"),
    "run time": (f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1", SegmentExecutionError, "zero"),
    "planning": (f"SELECT id FROM {USERS} WHERE 1 / 0 = 1", SegmentExecutionError, "by zero"),
    "nothing": ("", SegmentDefinitionError, "it has no definition"),
}


@pytest.mark.parametrize(("definition", "kind", "says"), ERRORS.values(), ids=ERRORS)
def test_errors__are_those_of_validation(definition, kind, says, users):
    segment = unsaved(definition)
    with pytest.raises(kind, match=says) as raised:
        segment.preview()
    assert raised.value.field == "definition"
    with pytest.raises(ValidationError, match=says):
        segment.clean()


def test_errors__of_slugs_circles_lists_and_limits(users, make):
    segment = make()
    segment.definition = "SELECT user_id FROM segments.vip"
    with pytest.raises(SegmentDefinitionError, match="it would read itself"):
        segment.preview()
    with pytest.raises(SegmentDefinitionError, match="a slug starts with"):
        Segment(slug="$body$", definition=EVEN).preview()
    with pytest.raises(SegmentDefinitionError, match='line 2: "x" is not a whole number'):
        unsaved(static_ids=f"{users[0].pk}\nx").preview()
    with pytest.raises(ValueError, match="must be zero or more"):
        segment.preview(limit=-1)


def test_planning__runs_functions_as_restricted_as_a_refresh(users, query):
    # The planner calls it to estimate rows, though no row is compared with it.
    query(
        "CREATE FUNCTION escape(text) RETURNS text LANGUAGE plpgsql STABLE AS "
        "'BEGIN RETURN set_config($1, ''none'', true); END'"
    )
    segment = unsaved(f"SELECT id FROM {USERS} WHERE false AND username > public.escape('role')")
    assert segment.preview().warnings[0] == EMPTY_WARNING
    segment.definition = f"SELECT id FROM {USERS} WHERE username > public.escape('role')"
    with pytest.raises(InsufficientPrivilege, match="within security-restricted operation"):
        with transaction.atomic():
            trial.price(connection, "vip", compile_segment(connection, segment))
    with pytest.raises(SegmentExecutionError, match="within security-restricted operation"):
        segment.preview()


@pytest.mark.parametrize("where", [
    "placed_at > 'yesterday'",
    "placed_at > ' Tomorrow 10:00'",
    "placed_at > timestamp 'now'",
    "placed_at > CAST('TODAY' AS date)",
    "placed_at > $$now$$",
    "placed_at > ALL ('{now}'::timestamptz[])",
    "placed_at <@ '[2020-01-01, today)'::tstzrange",
])  # fmt: skip
def test_warning__of_a_time_that_is_frozen(where, orders):
    (warning,) = warned(f"SELECT user_id FROM shop_order\nWHERE amount > -1 OR {where}")
    assert "in line 2 is read once" in warning


@pytest.mark.parametrize("condition", [
    "username = 'today'",
    "username IN ('now', 'tomorrow')",
    "last_login > now() - interval '1 day'",
    "last_login > 'now'::text::timestamptz",
    "last_login > '2020-01-01' -- not 'yesterday'",
    "(SELECT now FROM (SELECT 1 AS now) AS \"yesterday\") = 1",
])  # fmt: skip
def test_warning__of_a_time_is_not_given_for_other_text(condition, users):
    warnings = warned(f"SELECT id FROM {USERS}\nWHERE is_active OR {condition}")
    assert warnings == ()


def test_warning__of_every_column(orders):
    (warning,) = warned(f"WITH x AS (SELECT * FROM {USERS}) SELECT * FROM x")
    assert f"every column of {USERS}" in warning
    assert warned("SELECT user_id, amount FROM shop_order") == ()
    assert warned("SELECT user_id, count(*) FROM shop_order GROUP BY user_id") == ()


def test_warning__of_functions(orders, query):
    assert warned(f"SELECT id FROM {USERS} WHERE random() < 2")[0].startswith(
        "random() may return"
    )
    query(
        "CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql STABLE AS "
        f"'SELECT max(id) FROM public.{USERS}'"
    )
    (warning,) = warned(f"SELECT id FROM {USERS} WHERE id <= hidden()")
    assert warning.startswith("hidden() hides what it reads")
    query(f"CREATE VIEW through AS SELECT id FROM {USERS} WHERE id <= hidden()")
    assert "hidden() hides" in warned("SELECT id FROM through")[0]
    query(
        "CREATE FUNCTION bigger(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS "
        "'BEGIN RETURN greatest($1, $2); END'"
    )
    query("CREATE AGGREGATE biggest(bigint) (SFUNC = bigger, STYPE = bigint)")
    (warning,) = warned("SELECT biggest(user_id) AS user_id FROM shop_order")
    assert warning.startswith("biggest() hides")


def test_warning__is_text_and_what_it_consists_of():
    warning = PreviewWarning("%(count)s of 100 %% are %(what)s", count=1_000, what="50%")
    for copied in (warning, deepcopy(warning), pickle.loads(pickle.dumps(warning))):
        assert copied == "1,000 of 100 % are 50%"
        assert copied.values == {"count": 1_000, "what": "50%"}


def test_warning__of_an_empty_segment(users):
    assert warned(f"SELECT id FROM {USERS} WHERE false") == (EMPTY_WARNING,)


# The cost limit.


def test_cost__that_is_too_high_is_refused_unless_it_is_allowed(users, settings, names):
    settings.SEGMENTS_MAX_COST = 1
    before = names()
    segment = unsaved(EVEN)
    for refused in (segment.clean, segment.save):
        with pytest.raises((ValidationError, SegmentCostError)) as raised:
            refused()
        assert "SEGMENTS_MAX_COST is 1" in str(raised.value)
        assert "allow_cost = True" in str(raised.value)
    assert names() == before
    assert "above SEGMENTS_MAX_COST" in segment.preview().warnings[-1]
    segment.allow_cost = True
    segment.clean()
    segment.save()
    assert not segment.allow_cost
    segment.definition += " AND true"
    with pytest.raises(SegmentCostError) as raised:
        segment.save()
    assert raised.value.field == "definition"
    Segment.objects.update_or_create(
        slug="vip", defaults={"definition": segment.definition, "allow_cost": True}
    )
    method = Segment(name="Method", slug="method", manager_method="all")
    with pytest.raises(SegmentCostError) as raised:
        method.save()
    assert raised.value.field == "manager_method"


def test_cost__concerns_only_new_definitions(users, make, settings):
    segment = make(definition=EVEN)
    settings.SEGMENTS_MAX_COST = 1
    segment.refresh(force=True)
    segment.name, segment.static_ids = "Other", users[:1]
    segment.clean()
    segment.save()
    assert len(segment) == 1
    make("list", static_ids=users[:2])
    make("dear", definition=EVEN, allow_cost=True)
    settings.SEGMENTS_MAX_COST = 1e9
    make("cheap", definition=EVEN)


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("exec_alias", "clean_views")
def test_preview__on_a_connection_of_its_own(users):
    preview = unsaved(f"SELECT id FROM {USERS}").preview(limit=2)
    assert [user.username for user in preview.sample] == ["u0", "u1"]
    assert not Segment.objects.exists()


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("exec_alias", "clean_views")
def test_cost__is_refused_before_a_row_is_saved_elsewhere(settings):
    settings.SEGMENTS_MAX_COST = 1
    with pytest.raises(SegmentCostError):
        unsaved(EVEN).save()
    assert not Segment.objects.exists()
    unsaved(EVEN, allow_cost=True).save()
    assert Segment.objects.get().status == "refreshed"


@pytest.mark.parametrize("cost", [0, -1, "1000", True])
def test_cost__must_be_a_number(cost, settings, users):
    settings.SEGMENTS_MAX_COST = cost
    with pytest.raises(ImproperlyConfigured, match="SEGMENTS_MAX_COST must be a number"):
        unsaved(EVEN).save()


def test_errors__are_all_of_one_kind():
    assert issubclass(SegmentCostError, SegmentDefinitionError)
    assert issubclass(SegmentCostError, SegmentError)
