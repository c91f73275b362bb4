"""The role of docs/bi.md: what it reads, what it does not, and the queries on that page."""

from datetime import date
from decimal import Decimal

import psycopg
import pytest

from tests.bi.conftest import blocks
from tests.databases import run
from tests.fill import MEMBERS

pytestmark = pytest.mark.slow

QUERIES = {
    "from_vip": [(date(2026, 1, 1), Decimal(2250), Decimal(1950))],
    "only_large": [(1, 7, 1)],
    "with_slug": [
        ("large", "vip", 6),
        ("large", "win-back", 2),
        ("inner-circle", "large", 1),
        ("inner-circle", "pilot", 1),
        ("inner-circle", "vip", 1),
        ("large", "pilot", 1),
        ("pilot", "vip", 1),
    ],
    "AS entered": [(date(2026, 1, 5), 3), (date(2026, 1, 12), 3)],
    "NOT EXISTS": [(2, "u2")],
    "string_agg": [
        (1, "pilot"),
        (3, "large, win-back"),
        (4, "large, win-back"),
        (5, "inner-circle, large, pilot, vip"),
        *((key, "large, vip") for key in range(6, 11)),
    ],
    "interval '1 day'": [],
}
"""The result of each query of the page, by words that only this query has."""


@pytest.mark.parametrize("words", QUERIES)
def test_page__queries_answer(words, ask):
    (code,) = [code for code in blocks("sql") if words in code]
    assert ask(code) == QUERIES[words]


def test_page__has_no_query_that_is_not_run():
    elsewhere = ("CREATE ", "ALTER ", "ATTACH ", "{{ source")
    known = [*QUERIES, *elsewhere]
    assert [code for code in blocks("sql") if not any(words in code for words in known)] == []


def test_page__finds_a_segment_that_was_not_refreshed(shop, ask):
    (code,) = [code for code in blocks("sql") if "interval '1 day'" in code]
    change = "UPDATE segments_segment SET refreshed_at = {} WHERE slug = 'vip'"
    run(shop.where, change.format("now() - interval '2 days'"))
    ((slug, status, age, error),) = ask(code)
    run(shop.where, change.format("now()"))
    assert (slug, status, age.days, error) == ("vip", "refreshed", 2, "")


def test_reader__reads_members_in_all_ways(ask):
    for name, keys in MEMBERS.items():
        assert ask(f"SELECT user_id FROM segments.{name} ORDER BY 1") == [(key,) for key in keys]
        slug = name.replace("_", "-")
        joined = f"SELECT user_id FROM segments.membership WHERE slug = '{slug}' ORDER BY 1"
        assert ask(joined) == [(key,) for key in keys]
    assert ask("SELECT segments.is_member('win-back', 3)") == [(True,)]
    assert ask("SELECT segments.is_member('win-back', 5)") == [(False,)]
    assert ask("SELECT segments.is_member('nothing', 5)") == [(None,)]
    assert ask("SELECT slug, members_count FROM segments.catalog ORDER BY 1") == [
        ("inner-circle", 1), ("large", 8), ("pilot", 2), ("vip", 6), ("win-back", 2),
    ]  # fmt: skip


REFUSED = {
    "TABLE segments_live.vip": "permission denied for schema segments_live",
    "TABLE django_session": "permission denied for table django_session",
    "TABLE segments_segment": "permission denied for table segments_segment",
    "SELECT password FROM accounts_segmentableuser": "permission denied for table accounts_",
    "DELETE FROM shop_order": "permission denied for table shop_order",
    "DELETE FROM segments.membership": "cannot delete from view",
    "DELETE FROM segments_membership": "permission denied for table segments_membership",
    "REFRESH MATERIALIZED VIEW segments.vip": "(must be owner of|permission denied for) mat",
    "DROP MATERIALIZED VIEW segments.vip": "must be owner of materialized view vip",
    "CREATE TABLE segments.mine ()": "permission denied for schema segments",
    "CREATE TABLE public.mine ()": "permission denied for schema public",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_reader__is_refused_what_was_not_granted(statement, ask):
    with pytest.raises(psycopg.Error, match=REFUSED[statement]):
        ask(statement)


def test_information_schema__lists_the_two_views_and_no_segment(ask):
    assert ask(
        "SELECT table_name, table_type FROM information_schema.tables "
        "WHERE table_schema LIKE 'segments%' ORDER BY 1"
    ) == [
        ("catalog", "VIEW"),
        ("changes", "VIEW"),
        ("history", "VIEW"),
        ("membership", "VIEW"),
    ]
    assert ask(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = 'segments' AND table_name = 'membership' ORDER BY ordinal_position"
    ) == [("user_id",), ("segment_id",), ("slug",), ("entered_at",)]


def test_columns__of_all_views_say_what_they_are(ask):
    comments = {
        (view, column): comment
        for view, column, comment in ask(
            "SELECT c.relname::text, a.attname::text, col_description(c.oid, a.attnum) "
            "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
            "WHERE c.relnamespace = 'segments'::regnamespace AND c.relkind IN ('v', 'm')"
        )
    }
    assert {("vip", "user_id"), ("membership", "entered_at"), ("catalog", "age")} <= set(comments)
    assert [column for column, comment in comments.items() if not comment] == []
    assert comments["membership", "user_id"] == comments["vip", "user_id"]
