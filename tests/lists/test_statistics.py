"""Changing a list costs its lines and its users, whatever Postgres' statistics say of lists."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from segments.models import Segment, StaticMember
from tests.conftest import USERS
from tests.scaling.growth import load

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = "segments_staticmember"

MANY = 40_000

LEFT_BEHIND = (
    f"INSERT INTO {TABLE} (segment_id, user_id) SELECT -9, n FROM generate_series(1, {MANY}) AS n",
    f"INSERT INTO {TABLE} (segment_id, user_id) VALUES (-8, 1)",
    f"DELETE FROM {TABLE} WHERE segment_id = -9",
    f"VACUUM ANALYZE {TABLE}",
)
"""A large list was deleted, and the row after it keeps its pages: they seem to be empty."""

WRITING = (f'INSERT INTO "{TABLE}"', f'DELETE FROM "{TABLE}"', "INSERT INTO pg_temp.")


@pytest.fixture
def table(clean_views, query):
    """The table of lists, of which Postgres believes that it holds next to nothing."""
    query(f"TRUNCATE {TABLE}")
    query(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
    for statement in LEFT_BEHIND:
        query(statement)
    yield
    query(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")
    query(f"TRUNCATE {TABLE}")
    query(f"ANALYZE {TABLE}")


@pytest.fixture
def plans():
    """The plans of the statements that change lists, or collect ids for them, as they are run."""
    found = []

    def explain(execute, statement, params, many, context):
        text = sql.SQL(statement) if isinstance(statement, str) else statement
        raw = context["connection"].connection
        if any(part in text.as_string() for part in WRITING):
            rows = psycopg.ClientCursor(raw).execute(sql.SQL("EXPLAIN ") + text, params)
            found.append("\n".join(line for (line,) in rows))
        return execute(statement, params, many, context)

    with connection.execute_wrapper(explain):
        yield found


def assign(segment, users):
    segment.static_ids = users
    segment.save()


@pytest.mark.parametrize(
    "change",
    [
        assign,
        lambda segment, users: segment.load_ids(users, "replace"),
        lambda segment, users: segment.load_ids(users, "add"),
        lambda segment, users: segment.load_ids(users, "remove"),
    ],
    ids=["assign", "replace", "add", "remove"],
)
def test_change_of_a_list__is_never_a_nested_loop(change, table, users, make, plans):
    segment = make("pilot", static_ids=users[:4])
    plans.clear()
    change(segment, users[2:])
    (plan,) = [plan for plan in plans if TABLE in plan]
    assert "Full Join" in plan


def test_restored_list__costs_its_ids_and_its_changes(table, users, make, plans):
    segment = make("pilot", static_ids=users[:4])
    segment.add(users[6:])
    segment.remove(users[3:7])
    plans.clear()
    segment.versions.last().restore()
    collected, _ = [plan for plan in plans if TABLE in plan]
    assert "Full Join" in collected
    assert "SubPlan" not in collected
    assert segment.has_members(users) == {user.pk for user in users[:4]}


@pytest.mark.slow
def test_list__is_changed_again_as_soon_as_it_is_loaded(table, make, query):
    load(MANY // 2)  # Half of them are staff.
    keys = [key for (key,) in query(f"SELECT id FROM {USERS} ORDER BY id")]
    segment = make("pilot", static_ids=[], timeout=timedelta(seconds=30))

    def counts(source, mode="replace"):
        report = segment.load_ids(source, mode)
        return report.added, report.removed, report.already_there

    assert counts(keys) == (MANY, 0, 0)
    assert counts(keys) == (0, 0, MANY)
    assert counts(keys[10:]) == (0, 10, MANY - 10)
    assert counts(keys, "add") == (10, 0, MANY - 10)
    assert counts(keys[:10], "remove") == (0, 10, 0)
    assign(segment, keys)
    assign(segment, keys[5:])
    assert Segment.objects.get().members_count == MANY - 5
    assert StaticMember.objects.filter(segment=segment).count() == MANY - 5
