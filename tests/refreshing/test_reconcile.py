"""The membership index follows a view at a cost of the segment's size, whatever Postgres knows."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from segments.models import Membership, Segment
from segments.refreshing.reconcile import reconcile
from tests.conftest import EVEN, USERS
from tests.own_server import connected
from tests.scaling.growth import load
from tests.waiting import STUCK, until

MEMBERS = 10_000

MOST_BLOCKS = 20
"""The blocks of the table and its indexes that each changed member may cost."""

TABLE = "segments_membership"

CHOSEN = f"SELECT id FROM {USERS} WHERE id % 2 = (SELECT n FROM side)"
"""A definition whose members the only row of a table chooses."""

BLOCKS = f"""
    SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint FROM pg_class
    WHERE oid = '{TABLE}'::regclass
        OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = '{TABLE}'::regclass)
"""

FEW = f"""
    INSERT INTO {TABLE} (user_id, segment_id, entered_at)
    SELECT n, -s, now() FROM generate_series(1, 20) AS n, generate_series(1, 3) AS s
"""

MANY = f"""
    INSERT INTO {TABLE} (user_id, segment_id, entered_at)
    SELECT n, -9, now() FROM generate_series(1, {20 * MEMBERS}) AS n
"""

STATES = {
    "never analyzed": (f"DELETE FROM pg_statistic WHERE starelid = '{TABLE}'::regclass",),
    "analyzed when empty": (f"VACUUM ANALYZE {TABLE}",),
    "never analyzed, with one page": (FEW,),
    "analyzed with one page": (FEW, f"VACUUM ANALYZE {TABLE}"),
    "analyzed with one segment": (MANY, f"VACUUM ANALYZE {TABLE}"),
    "large segment deleted, vacuumed only": (
        FEW,
        MANY,
        f"ANALYZE {TABLE}",
        f"DELETE FROM {TABLE} WHERE segment_id = -9",
        f"VACUUM {TABLE}",
    ),
    "large segment deleted, vacuumed, analyzed": (
        MANY,
        f"DELETE FROM {TABLE}",
        FEW,
        f"VACUUM ANALYZE {TABLE}",
    ),
    "large segment deleted, pages kept": (
        MANY,
        f"DELETE FROM {TABLE}",
        FEW,
        f"VACUUM (ANALYZE, TRUNCATE off) {TABLE}",
    ),
    "large segment deleted, never vacuumed": (
        MANY,
        f"DELETE FROM {TABLE}",
        FEW,
        f"ANALYZE {TABLE}",
    ),
}
"""What happens to the empty table before a segment is created, by name."""


@pytest.fixture
def table(clean_views, query):
    """The empty table of memberships, which only a test analyzes."""
    query(f"TRUNCATE {TABLE}")
    query(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
    query("SET work_mem = '4MB'")
    yield
    query("RESET work_mem")
    query(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")
    query(f"TRUNCATE {TABLE}")
    query(f"ANALYZE {TABLE}")


def changed(result):
    """Return how many members a refresh has changed."""
    return result.added + result.removed


@pytest.fixture
def cost(query):
    """Return how many blocks of the table a refresh has fetched, for each changed member."""

    def measure(act):
        with transaction.atomic():
            ((before,),) = query(BLOCKS)
            changed = act()
            ((after,),) = query(BLOCKS)
        return (after - before) / changed

    return measure


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", STATES)
def test_reconcile__costs_the_members_that_change(state, table, make, query, cost):
    load(MEMBERS)
    query("CREATE TABLE side AS SELECT 0 AS n")
    try:
        for statement in STATES[state]:
            query(statement)

        assert cost(lambda: make(definition=CHOSEN).members_count) < MOST_BLOCKS
        segment = Segment.objects.get()
        for number in (1, 0):
            query("UPDATE side SET n = %s", number)
            assert cost(lambda: changed(segment.refresh())) < MOST_BLOCKS
        assert Membership.objects.filter(segment=segment).count() == MEMBERS
        query("UPDATE side SET n = 2")
        assert cost(lambda: changed(segment.refresh())) < MOST_BLOCKS
        assert not Membership.objects.filter(segment=segment).exists()
    finally:
        Segment.objects.all().delete()
        query("DROP TABLE side")


@pytest.mark.django_db
def test_first__leaves_out_users_who_were_deleted(staff, make, users, query):
    """The view may have been populated a moment before a user was deleted."""
    segment = make(definition=EVEN)
    query(f"DELETE FROM {TABLE}")
    query(f"DELETE FROM {USERS} WHERE id = %s", users[0].pk)
    assert reconcile(connection, "vip", segment.pk, first=True)[:2] == (4, 0)
    left = {user.pk for user in users[2::2]}
    assert set(Membership.objects.values_list("user_id", flat=True)) == left


@pytest.mark.django_db
def test_first__compares_if_there_are_memberships(staff, make, users, query):
    """As when the view was lost, and is populated again."""
    staff(1, 2)
    segment = make(definition=f"SELECT id FROM {USERS} WHERE is_staff", track_changes=False)
    entered_at = dict(Membership.objects.values_list("user_id", "entered_at"))
    query("UPDATE segments_membership SET entered_at = entered_at - interval '1 day'")
    query("REFRESH MATERIALIZED VIEW segments.vip WITH NO DATA")
    staff(2, 3)
    assert changed(segment.refresh()) == 2
    kept = dict(Membership.objects.values_list("user_id", "entered_at"))
    assert set(kept) == {users[2].pk, users[3].pk}
    assert kept[users[2].pk] < entered_at[users[2].pk]


@pytest.mark.django_db(transaction=True)
def test_reconcile__keeps_no_plan(clean_views, staff, make, query):
    """A plan for one page would compare each row of a large table with each row that leaves."""
    make(definition=EVEN)
    preparing = {"server_side_binding": True, "prepare_threshold": 0}
    with connected(default={"OPTIONS": connection.settings_dict["OPTIONS"] | preparing}):
        assert reconcile(connection, "vip", Segment.objects.get().pk)[:2] == (0, 0)
        assert connection.connection.prepare_threshold == 0
        prepared = [text for (text,) in query("SELECT statement FROM pg_prepared_statements")]
    assert any('FROM "segments_segment"' in text for text in prepared)
    assert not any("FULL JOIN" in text for text in prepared)


@pytest.mark.django_db(transaction=True)
def test_reconcile__skips_rows_that_others_have_deleted(
    clean_views, staff, make, users, query, session
):
    """Another session deletes a member who leaves, and vacuums; no other row is deleted for it."""
    segment = make(definition=EVEN)
    other, third = session(), session()
    staff(1)
    query("REFRESH MATERIALIZED VIEW segments.vip")
    other.execute("BEGIN")
    other.execute(f"DELETE FROM {TABLE} WHERE user_id = %s", [users[0].pk])

    def commit():
        until(lambda: third.execute(STUCK).fetchall())
        other.execute("COMMIT")
        third.execute(f"VACUUM {TABLE}")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(commit)
        with transaction.atomic():
            entered, left, *_ = reconcile(connection, "vip", segment.pk)
        done.result(timeout=30)
    assert (entered, left) == (1, 4)
    assert set(Membership.objects.values_list("user_id", flat=True)) == {users[1].pk}
