"""The door to Postgres: a segment has the same members whatever the settings of a session are."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.models.signals import post_save

from segments import sync
from segments.models import Segment
from segments.sql.session import PINNED_SETTINGS
from tests.conftest import USERS
from tests.sessions import connect
from tests.shop.models import Order

pytestmark = pytest.mark.django_db

ZONE = "America/Chicago"
"""Django's default for `TIME_ZONE`, which the settings of the tests do not set."""

OTHER = {
    "DateStyle": "ISO, DMY",
    "IntervalStyle": "postgres_verbose",
    "TimeZone": "Pacific/Kiritimati",
    "array_nulls": "off",
    "bytea_output": "escape",
    "default_text_search_config": "pg_catalog.danish",
    "extra_float_digits": "0",
    "gin_fuzzy_search_limit": "7",
    "lc_monetary": "POSIX",
    "lc_numeric": "POSIX",
    "lc_time": "POSIX",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "information_schema",
    "standard_conforming_strings": "off",
    "timezone_abbreviations": "Australia",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
    "xmloption": "document",
}
"""A value for each setting that the server does not have; the tests check that it differs."""

CONDITIONS = {
    "date of a time": ("TimeZone", "'2026-01-01 23:00-06'::timestamptz::date = '2026-01-01'"),
    "literal without a zone": (
        "TimeZone", "'2026-01-01'::timestamptz = '2026-01-01 06:00Z'::timestamptz",
    ),
    "time as text": ("TimeZone", "'2026-01-01Z'::timestamptz::text LIKE '2025-12-31 18:00%'"),
    "current date": (
        "TimeZone", f"current_date = (now() AT TIME ZONE '{ZONE}')::date"
        f" AND localtimestamp = now() AT TIME ZONE '{ZONE}'",
    ),
    "day or month": ("DateStyle", "'01/02/2026'::date = 'January 2, 2026'::date"),
    "interval as text": ("IntervalStyle", "(interval '26 hours')::text = '26:00:00'"),
    "NULL in an array": ("array_nulls", "('{NULL}'::text[])[1] IS NULL"),
    "bytes as text": ("bytea_output", r"'A'::bytea::text = '\x41'"),
    "words": (
        "default_text_search_config",
        "to_tsvector('hunden') = to_tsvector(:'default_text_search_config'::regconfig, 'hunden')",
    ),
    "float as text": ("extra_float_digits", "(0.1::float8 + 0.2)::text = '0.30000000000000004'"),
    "quoted name": ("quote_all_identifiers", "quote_ident('a') = 'a'"),
    "name of a table": ("quote_all_identifiers", "'pg_class'::regclass::text = 'pg_class'"),
    "backslash": ("standard_conforming_strings", r"length('a\n') = 3"),
    "abbreviation": (
        "timezone_abbreviations",
        "'2026-01-01 00:00 EST'::timestamptz = '2026-01-01 05:00Z'::timestamptz",
    ),
    "equal to NULL": ("transform_null_equals", "(NULL = NULL) IS NULL"),
}  # fmt: skip
"""Conditions that hold for everyone under the first setting, and for no one under the other."""


def value_of(query, name):
    return query(f"SHOW {name}")[0][0]


def everyone(condition):
    return f"SELECT id FROM {USERS} WHERE {condition}"


def check_all_ways(segment, users, query):
    """Assert that everyone is a member, in whatever way one asks."""
    assert segment.refresh(force=True).members_count == len(users)
    assert segment.refresh(concurrently=False).members_count == len(users)
    assert segment.has_member_live(users[3])
    assert segment.members_live.count() == len(users)
    assert segment.preview().members_count == len(users)
    name = segment.view._meta.db_table.split(".")[1].strip('"')
    assert query(f"SELECT count(*) FROM segments_live.members('{name}')") == [(len(users),)]
    assert query(f"SELECT segments_live.is_member('{name}', {users[3].pk})") == [(True,)]
    query(f"SELECT segments_live.refresh('{name}')")
    assert query(f"SELECT count(*) FROM segments.{name}") == [(len(users),)]
    unpopulated = Segment.objects.get(pk=segment.pk)
    unpopulated.refreshed_at = None
    assert unpopulated.has_members(users) == {user.pk for user in users}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TimeZone", *PINNED_SETTINGS])
def test_setting__is_the_same_at_every_evaluation(name, users, make, query):
    value = ZONE if name == "TimeZone" else value_of(query, name)
    if name == "search_path":  # As in a REFRESH since PostgreSQL 17.
        value = "pg_catalog, pg_temp"
    definition = everyone(f"current_setting('{name}') = '{value}'")
    before = make("before", definition=definition)
    tables = "" if name != "search_path" else ", public"
    query(f"SELECT set_config('{name}', '{OTHER[name]}{tables}', true)")
    changed = value_of(query, name)
    assert changed not in (value, ZONE)
    after = make("after", definition=definition)
    for segment in (before, after):
        assert segment.members_count == len(users)
        check_all_ways(segment, users, query)
    assert value_of(query, name) == changed


@pytest.mark.slow
@pytest.mark.parametrize(("name", "condition"), CONDITIONS.values(), ids=CONDITIONS)
def test_session__with_another_setting_has_the_same_members(name, condition, users, make, query):
    own = value_of(query, name)
    condition = condition.replace(f":'{name}'", f"'{own}'")
    before = make("before", definition=everyone(condition))
    query(f"SELECT set_config('{name}', '{OTHER[name]}', true)")
    ((wrong,),) = query(f"SELECT count(*) FROM {USERS} WHERE {condition}")
    assert wrong == 0, "the setting makes no difference, so this test could not fail"
    after = make("after", definition=everyone(condition))
    for segment in (before, after):
        assert segment.members_count == len(users)
        check_all_ways(segment, users, query)


def test_settings__are_shown_in_the_database(users, make, query):
    make()
    shown = dict(query("SELECT * FROM segments_live.settings()"))
    assert shown.keys() == {"TimeZone", *PINNED_SETTINGS}
    assert shown["TimeZone"] == ZONE
    query("SET LOCAL DateStyle = 'ISO, DMY'; SET LOCAL TimeZone = 'Asia/Tokyo'")
    assert dict(query("SELECT * FROM segments_live.settings()")) == shown


def test_settings__in_the_database_are_not_those_of_a_session(users, make, query):
    make()
    assert not sync.check()
    query("SET LOCAL DateStyle = 'ISO, DMY'")
    query("DROP FUNCTION segments_live.settings()")
    make("other")
    assert dict(query("SELECT * FROM segments_live.settings()"))["DateStyle"] == "ISO, MDY"
    assert value_of(query, "DateStyle") == "ISO, DMY"
    assert not sync.check()


@pytest.mark.roles("one_role", reason="creates a schema")
def test_names__mean_the_same_whatever_the_search_path_is(orders, make, query):
    definition = "SELECT user_id FROM shop_order"
    before = make("before", definition=definition)
    query("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.shop_order (user_id bigint)")
    query("SET LOCAL search_path = elsewhere, public")
    assert query("SELECT count(*) FROM shop_order") == [(0,)]
    after = make("after", definition=definition)
    for segment in (before, after):
        assert segment.refresh(force=True).members_count == len(orders)
        assert segment.members_live.count() == len(orders)
        assert segment.preview().members_count == len(orders)
    assert value_of(query, "search_path") == "elsewhere, public"


@pytest.mark.roles("one_role", reason="creates a temporary table over one of the application")
def test_names__never_mean_temporary_tables_of_a_session(orders, make, query):
    query("CREATE TEMP TABLE shop_order (user_id bigint) ON COMMIT DROP")
    segment = make(definition="SELECT user_id FROM shop_order")
    assert segment.members_count == len(orders)
    assert segment.refresh(force=True).members_count == len(orders)


@pytest.mark.roles("one_role", reason="creates a function")
def test_function__that_names_no_schema_fails_on_all_versions(users, make, query):
    query(
        "CREATE FUNCTION public.many() RETURNS bigint LANGUAGE plpgsql STABLE "
        f"AS 'BEGIN RETURN (SELECT count(*) FROM {USERS}); END'"
    )
    with pytest.raises(Exception, match=f'relation "{USERS}" does not exist'):
        make(definition=everyone("many() > 0"))
    query("ALTER FUNCTION public.many() SET search_path = public")
    assert make(definition=everyone("many() > 0")).members_count == len(users)


@pytest.mark.roles
def test_time_zone__is_that_of_the_setting(orders, make, query, settings):
    Order.objects.update(placed_at=datetime(2026, 1, 1, 12, tzinfo=UTC))
    segment = make(
        definition="SELECT user_id FROM shop_order WHERE placed_at::date = '2026-01-02'"
    )
    assert segment.members_count == 0
    settings.SEGMENTS_TIME_ZONE = "Pacific/Kiritimati"  # 14 hours before UTC.
    assert segment.members_live.count() == len(orders)
    assert segment.has_member_live(orders[0].user_id)
    assert segment.preview().members_count == len(orders)
    assert segment.refresh().members_count == len(orders)
    assert [result.what for result in sync.check()] == [
        ["what all segments share is of another version or other settings"]
    ]
    settings.SEGMENTS_TIME_ZONE = None
    settings.TIME_ZONE = "UTC"
    assert segment.refresh().members_count == 0


def test_code_of_the_project__runs_under_its_own_settings(users, make, query):
    seen = set()

    def receive(sender, **kwargs):
        seen.update(query("SELECT current_setting('TimeZone'), current_setting('search_path')"))

    query("SET LOCAL search_path = public")
    post_save.connect(receive, sender=Segment)
    try:
        make()
    finally:
        post_save.disconnect(receive, sender=Segment)
    assert seen == {(connection.timezone_name, "public")}


def test_times__are_right_although_the_zone_differs(users, make, query):
    segment = make()
    ((now,),) = query("SELECT clock_timestamp()")
    for moment in (segment.refreshed_at, segment.attempted_at):
        assert abs((now - moment).total_seconds()) < 60
    stored = Segment.objects.get(pk=segment.pk)
    assert stored.refreshed_at == segment.refreshed_at


@pytest.mark.django_db(transaction=True)
def test_refresh__by_hand_has_the_members_of_a_refresh(orders, make, clean_views):
    Order.objects.update(placed_at=datetime(2026, 1, 1, 3, tzinfo=UTC))
    day = "SELECT user_id FROM shop_order WHERE placed_at::date = '2025-12-31'"
    segment = make(definition=f"{day} AND amount > 100")
    by_refresh = set(segment.member_ids())
    assert len(by_refresh) == 7
    Order.objects.filter(amount=0).update(amount=900)
    with connect(options="-c TimeZone=Asia/Tokyo -c DateStyle=ISO,DMY") as other:
        other.execute("SELECT segments_live.refresh('vip')")
        assert other.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)
    by_hand = set(segment.member_ids())
    assert by_hand == by_refresh | {orders[0].user_id}
    assert segment.refresh(force=True).members_count == len(by_hand)
    assert set(segment.member_ids()) == by_hand
