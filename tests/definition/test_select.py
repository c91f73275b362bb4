"""Definitions in SQL: what they compile to, and the errors of bad ones."""

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from segments import conf
from segments.exceptions import SegmentDefinitionError, SegmentError, SegmentExecutionError
from segments.models import Segment
from segments.sql import session
from tests.conftest import USERS

pytestmark = pytest.mark.django_db


def member_names(segment):
    return sorted(segment.members.values_list("username", flat=True))


@pytest.mark.parametrize(
    "definition",
    [
        f"SELECT * FROM {USERS} WHERE username < 'u2'",
        f"SELECT id FROM {USERS} WHERE username < 'u2'",
        f"select ID from {USERS} where username < 'u2' -- the first two",
        f"SELECT id FROM {USERS} WHERE username < 'u2' /* the first two */",
        f"TABLE {USERS} ORDER BY username LIMIT 2",
        f"SELECT id AS buyer FROM {USERS} WHERE username LIKE 'u0%' OR username LIKE '%1'",
        "SELECT user_id FROM shop_order WHERE amount < 100",
        "SELECT user_id, count(*) FROM shop_order WHERE amount < 100 GROUP BY user_id",
        "SELECT user_id FROM shop_order WHERE amount < 100 UNION ALL "
        "SELECT user_id FROM shop_order WHERE amount < 60",
        f"WITH few AS (SELECT id FROM {USERS} ORDER BY username LIMIT 2) SELECT id FROM few",
        f"SELECT id::int FROM {USERS} WHERE username < 'u2'",
        "SELECT o.user_id FROM shop_order o "
        "WHERE o.amount < 100 UNION SELECT 987654 UNION SELECT NULL",
        f"SELECT u.id FROM shop_order o "
        f"LEFT JOIN {USERS} u ON u.id = o.user_id AND o.amount < 100",
        "VALUES ((SELECT min(user_id) FROM shop_order)), "
        "((SELECT user_id FROM shop_order WHERE amount = 50))",
        f"SELECT '100%%' AS share, id FROM {USERS} WHERE username < 'u2' AND '%s' <> '{{}}'",
    ],
)
def test_sql__names_users_without_nulls_strangers_and_duplicates(definition, orders, make):
    segment = make(definition=definition)
    assert member_names(segment) == ["u0", "u1"]
    assert segment.members_count == len(segment) == 2


def test_sql__of_a_smaller_type_names_users(django_user_model, make):
    django_user_model.objects.bulk_create(
        django_user_model(pk=7 + number, username=f"u{number}") for number in range(3)
    )
    segment = make(definition=f"SELECT id::smallint FROM {USERS} WHERE username < 'u2'")
    assert member_names(segment) == ["u0", "u1"]
    assert segment.members_count == len(segment) == 2


def test_sql__without_the_column_does_not_name_everyone(orders, make, names):
    before = names()
    with pytest.raises(SegmentDefinitionError, match='no column "id" or "user_id".*"amount", "x"'):
        make(definition="SELECT amount, 1 AS x FROM shop_order")
    assert names() == before


@pytest.mark.roles
def test_sql__prefers_the_column_that_is_known_to_hold_users(orders, make, users):
    # The ids of orders equal those of users only by chance.
    segment = make(definition="SELECT * FROM shop_order WHERE amount >= 400")
    assert member_names(segment) == ["u8", "u9"]


def test_sql__skips_the_user_table_only_if_users_surely_exist(orders, make, query):
    def reads_users(slug):
        return (
            f"FROM {USERS} u\n"
            in query("SELECT pg_get_viewdef(%s)", f"segments_live.{slug}")[0][0]
        )

    make("by_key", definition="SELECT user_id FROM shop_order GROUP BY user_id")
    make("by_union", definition="SELECT user_id FROM shop_order UNION SELECT 1")
    query("ALTER TABLE shop_order ADD COLUMN referrer bigint")
    make("by_loose_column", definition="SELECT referrer AS id FROM shop_order")
    assert not reads_users("by_key")
    assert reads_users("by_union")
    assert reads_users("by_loose_column")


def test_sql__needs_the_user_table_without_a_foreign_key(orders, users, make, query):
    segment = make(definition="SELECT user_id FROM shop_order")
    (name,) = query(
        "SELECT conname FROM pg_constraint "
        "WHERE conrelid = 'shop_order'::regclass AND contype = 'f'"
    )[0]
    query(f'ALTER TABLE shop_order DROP CONSTRAINT "{name}"')
    query("INSERT INTO shop_order (user_id, amount, placed_at) VALUES (987654, 1, now())")
    assert segment.refresh().members_count == len(users)


def test_sql__rows_of_inheriting_tables_are_not_certain(users, make, query):
    query("CREATE TABLE parent (user_id bigint REFERENCES accounts_segmentableuser (id))")
    query("CREATE TABLE child () INHERITS (parent)")
    query("INSERT INTO child VALUES (987654)")
    assert len(make(definition="SELECT user_id FROM parent")) == 0


BAD_SQL = {
    "not SQL": ("gimme the users", "syntax error", 1, 1),
    "semicolon before": (f"; SELECT id FROM {USERS}", 'syntax error at or near ";"', 1, 1),
    "two statements": (
        f"SELECT id FROM {USERS}; DROP TABLE shop_order", "multiple commands", 0, 0,
    ),
    "update": (f"UPDATE {USERS} SET username = '' RETURNING id", "syntax error", 1, 33),
    "delete": (f"DELETE FROM {USERS}", "returns no columns", 0, 0),
    "insert": (f"INSERT INTO {USERS} (username) VALUES ('x') RETURNING id", "syntax error", 1, 8),
    "create": ("CREATE TABLE x (id bigint)", "returns no columns", 0, 0),
    "show": ("SHOW work_mem", "is of type text", 0, 0),
    "explain": ("EXPLAIN SELECT 1 AS id", "is of type text", 0, 0),
    "copy": ("COPY shop_order TO PROGRAM 'id'", "returns no columns", 0, 0),
    "writing CTE": (
        f"WITH gone AS (DELETE FROM {USERS} RETURNING id) SELECT id FROM gone",
        "data-modifying statement must be at the top level", 1, 6,
    ),
    "into": (f"SELECT id INTO copied FROM {USERS}", "returns no columns", 0, 0),
    "parameter": (f"SELECT id FROM {USERS} WHERE id = $1", "parameters", 0, 0),
    "open comment": (f"SELECT id FROM {USERS} /*", "unterminated /* comment", 1, 41),
    "break-out": (
        "select 1 as id) as definition) union all select 999999999::bigint "
        "where 1 in (select definition.id from (select 1 as id",
        'syntax error at or near ")"', 1, 15,
    ),
    "no columns": ("SELECT", "returns no columns", 0, 0),
    "only a comment": ("-- nobody", "returns no columns", 0, 0),
    "blanks": ("  \n ", "empty", 0, 0),
    "two id columns": (
        f"SELECT a.id, b.id FROM {USERS} a, {USERS} b",
        'two columns are called "id": columns 1 and 2', 0, 0,
    ),
    "wrong type": (
        f"SELECT username FROM {USERS}", '"username" is of type character varying', 0, 0,
    ),
    "null": ("SELECT NULL AS id", "is of type text", 0, 0),
    "two columns in question": (
        "SELECT id + 0 AS id, user_id + 0 AS user_id FROM shop_order",
        'has "id" and "user_id", and neither is known', 0, 0,
    ),
    "array": ("SELECT ARRAY[1, 2] AS id", "is of type integer[]", 0, 0),
    "unknown table": ("SELECT id\nFROM nowhere", 'relation "nowhere" does not exist', 2, 6),
    "unknown column": (
        f"SELECT id FROM {USERS}\nWHERE plan = 1", 'column "plan" does not exist', 2, 7,
    ),
    "unknown segment": ("SELECT user_id FROM segments.nobody", "does not exist", 1, 21),
    "NUL": (f"SELECT id FROM {USERS} WHERE '\0' = ''", "NUL character", 0, 0),
    "surrogate": (f"SELECT id FROM {USERS} WHERE '\udc80' = ''", "not Unicode, at index", 0, 0),
    "temporary table": ("SELECT id FROM scratch", "temporary", 0, 0),
}  # fmt: skip


@pytest.mark.parametrize(("definition", "says", "line", "column"), BAD_SQL.values(), ids=BAD_SQL)
def test_bad_sql__is_refused_and_nothing_is_left(
    definition, says, line, column, users, names, query, owner
):
    owner("CREATE TEMPORARY TABLE scratch (id bigint)")
    before = names()
    segment = Segment(name="Bad", slug="bad", definition=definition)
    with pytest.raises(SegmentError, match='(?s)^segment "bad": ') as caught:
        segment.save()
    assert says in str(caught.value)
    assert (caught.value.line or 0, caught.value.column or 0) == (line, column)
    if line:
        source = definition.split("\n")[line - 1]
        shown, caret = caught.value.excerpt.split("\n")
        assert source[column - 1] == shown[caret.index("^")]
    assert segment.pk is None
    assert names() == before
    assert not Segment.objects.exists()
    assert query("SELECT count(*) FROM accounts_segmentableuser") == [(len(users),)]
    with pytest.raises(ValidationError, match="bad"):
        Segment(name="Bad", slug="bad", definition=definition).clean()


@pytest.mark.roles
def test_bad_sql__members_of_before_stay(users, make, query):
    segment = make(definition=f"SELECT id FROM {USERS} WHERE username < 'u3'")
    for definition in ("SELECT 1; SELECT 2", f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1"):
        segment.definition = definition
        with transaction.atomic(), pytest.raises(SegmentError):
            segment.save()
        segment.refresh_from_db()
        assert segment.definition.endswith("< 'u3'")
        assert query("SELECT count(*) FROM segments.vip") == [(3,)]
        assert segment.members_live.count() == 3


@pytest.mark.roles
def test_run_time_error__is_an_execution_error(users, make, names):
    before = names()
    with pytest.raises(SegmentExecutionError, match="division by zero") as caught:
        make(definition=f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1")
    assert caught.value.sqlstate == "22012"
    assert names() == before
    with pytest.raises(ValidationError, match="division by zero"):
        Segment(
            name="x", slug="x", definition=f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1"
        ).clean()


@pytest.mark.roles
def test_timeout__is_an_execution_error_and_names_the_setting(users, make, settings, query):
    settings.SEGMENTS_STATEMENT_TIMEOUT = 0.1
    with pytest.raises(SegmentExecutionError, match="(?s)timeout.*SEGMENTS_STATEMENT_TIMEOUT"):
        make(definition=f"SELECT id FROM {USERS} CROSS JOIN pg_sleep(60)")
    assert query("SHOW statement_timeout") == [("0",)]


@pytest.mark.roles
def test_limits__of_the_caller_hold_again_afterwards(users, make, owner):
    with transaction.atomic(using=conf.exec_connection()):
        owner("SET LOCAL statement_timeout = '7s'")
        owner("SET LOCAL application_name = 'the caller'")
        owner("SET LOCAL citus.enable_ddl_propagation = 'on'")
        make()
        assert owner("SHOW statement_timeout") == [("7s",)]
        assert owner("SHOW application_name") == [("the caller",)]
        assert owner("SHOW citus.enable_ddl_propagation") == [("on",)]


def test_views__stay_on_the_coordinator_of_a_citus_cluster(make, query):
    with session.transaction("default", "vip"):
        assert query("SHOW citus.enable_ddl_propagation") == [("off",)]


@pytest.mark.slow
def test_cycle__is_refused_with_its_path(users, make, query):
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    query("CREATE VIEW bridge AS SELECT user_id FROM segments.b")
    make("c", definition="SELECT user_id FROM bridge")
    a = Segment.objects.get(slug="a")
    for definition, path in (
        ("SELECT user_id FROM segments.c", "a -> c -> b -> a"),
        ("SELECT user_id FROM segments_live.b", "a -> b -> a"),
        ("SELECT user_id FROM segments.a", "a -> a"),
        ("SELECT user_id FROM segments_live.a", "a -> a"),
    ):
        a.definition = definition
        with pytest.raises(ValidationError, match=f"read itself: {path}"):
            a.clean()
        with pytest.raises(SegmentDefinitionError, match=f"read itself: {path}"):
            a.save()
    assert query("SELECT count(*) FROM segments_live.a") == [(10,)]


def test_empty_segment__needs_a_definition(db):
    with pytest.raises(SegmentDefinitionError, match="it has no definition"):
        Segment.objects.create(name="x", slug="x")


def test_sql_and_manager__is_refused(db):
    with pytest.raises(SegmentDefinitionError, match="not both") as caught:
        Segment.objects.create(
            name="x", slug="x", definition="SELECT 1 AS id", manager_method="all"
        )
    assert caught.value.field == "manager_method"


@pytest.mark.roles
def test_sql_and_static_ids__is_the_union(users, make):
    segment = make(
        definition=f"SELECT id FROM {USERS} WHERE username < 'u3'",
        static_ids=[users[2].pk, users[9].pk],
    )
    assert member_names(segment) == ["u0", "u1", "u2", "u9"]
    assert segment.kind == "sql"


@pytest.mark.roles
def test_gate__executes_nothing_while_it_compiles(users, make, query):
    query("CREATE SEQUENCE calls")
    segment = Segment(name="x", slug="x", definition="SELECT nextval('calls') AS id")
    from segments.definition.compile import compile_segment

    compile_segment(connection, segment)
    assert query("SELECT is_called FROM calls") == [(False,)]
