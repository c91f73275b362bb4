"""Random sequences of writes and refreshes; the members are right after every refresh."""

from collections import Counter
from contextlib import nullcontext, suppress

import psycopg
import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from segments import sync
from segments.models import Membership, Segment
from segments.refreshing import many
from tests.conftest import USERS
from tests.sessions import connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("server"),
    pytest.mark.django_db(transaction=True),
]

SCHEMA = f"""
    CREATE TABLE buy (id serial PRIMARY KEY, user_id integer, amount integer);
    CREATE TABLE visit (user_id integer, month integer) PARTITION BY LIST (month);
    CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
    CREATE TABLE visit_2 PARTITION OF visit FOR VALUES IN (2);
    CREATE TABLE unrelated (n integer);
    CREATE VIEW buyer AS SELECT user_id FROM buy WHERE amount > 1;
    INSERT INTO {USERS} (id, username, password, first_name, last_name, email, date_joined,
        is_superuser, is_staff, is_active)
    SELECT n, 'u' || n, '', '', '', '', now(), false, false, true FROM generate_series(1, 6) AS n;
"""

AFRESH = f"""
    DELETE FROM buy; DELETE FROM visit; DELETE FROM segments_staticmember;
    INSERT INTO buy (user_id, amount) SELECT n, n % 3 FROM generate_series(1, 6) AS n;
    INSERT INTO visit SELECT n, 1 + n % 2 FROM generate_series(1, 4) AS n;
    UPDATE {USERS} SET is_staff = false;
    CREATE OR REPLACE VIEW buyer AS SELECT user_id FROM buy WHERE amount > 1;
"""

DEFINITIONS = {
    "buyers": "SELECT user_id FROM buy WHERE amount > 0",
    "rich": "SELECT user_id FROM buyer",
    "staff": f"SELECT id FROM {USERS} WHERE is_staff",
    "all": f"SELECT id FROM {USERS} WHERE id <> 3",
    "visitors": "SELECT user_id FROM visit",
    "both": "SELECT user_id FROM segments.buyers INTERSECT SELECT user_id FROM segments.visitors",
}

WRITES = [
    "INSERT INTO buy (user_id, amount) VALUES ({user}, {number})",
    "UPDATE buy SET amount = {number} WHERE user_id = {user}",
    "UPDATE buy SET user_id = {user} WHERE amount = {number}",
    "DELETE FROM buy WHERE user_id = {user}",
    "INSERT INTO visit VALUES ({user}, 1)",
    "UPDATE visit SET month = 3 - month WHERE user_id = {user}",
    "DELETE FROM visit WHERE user_id = {user}",
    f"UPDATE {USERS} SET is_staff = NOT is_staff WHERE id = {{user}}",
    f"UPDATE {USERS} SET last_login = now() WHERE id = {{user}}",
    "INSERT INTO unrelated VALUES ({number})",
    "MERGE INTO buy USING (SELECT DISTINCT user_id FROM visit) AS v ON buy.user_id = v.user_id "
    "WHEN MATCHED THEN UPDATE SET amount = {number}",
]

CHANGES = [
    "TRUNCATE buy; INSERT INTO buy (user_id, amount) VALUES ({user}, 2)",
    "TRUNCATE visit_1",
    "CREATE OR REPLACE VIEW buyer AS SELECT user_id FROM buy WHERE amount > {number}",
    "ALTER TABLE buy ALTER amount SET STATISTICS {number}",
]

OUTSIDE = [
    "VACUUM FULL buy",
    "VACUUM FULL pg_class",
    "CLUSTER buy USING buy_pkey",
    "VACUUM ANALYZE",
    "SELECT pg_stat_reset()",
    "SELECT pg_stat_reset_single_table_counters('buy'::regclass)",
    "SELECT pg_stat_reset_shared('wal')",
    "ALTER TABLE visit DETACH PARTITION visit_1 CONCURRENTLY",
    "ALTER TABLE visit DETACH PARTITION visit_1",
    "ALTER TABLE visit ATTACH PARTITION visit_1 FOR VALUES IN (1)",
    "REFRESH MATERIALIZED VIEW segments.buyers",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY segments.visitors",
]

RESTARTS = ["immediate", "fast"]

SLUGS = [*DEFINITIONS, "listed"]

statuses = Counter()
"""The statuses of all refreshes, counted."""


class Refreshes(RuleBasedStateMachine):
    """Two sessions write, one of them refreshes, and the server crashes now and then."""

    server = None
    write, change = (
        st.builds(
            str.format, st.sampled_from(texts), user=st.integers(1, 6), number=st.integers(0, 2)
        )
        for texts in ([*WRITES, *CHANGES], CHANGES)
    )

    @initialize()
    def start(self):
        self.other = connect()
        self.savepoints = []
        with suppress(psycopg.Error):
            self.other.execute("ALTER TABLE visit ATTACH PARTITION visit_1 FOR VALUES IN (1)")
        self.other.execute(AFRESH)
        for slug, definition in DEFINITIONS.items():
            Segment.objects.filter(slug=slug).update(definition=definition)
        for _ in many.refresh_many(Segment.objects.all(), force=True):
            pass

    @rule(writes=st.lists(write, min_size=1, max_size=2), safely=st.booleans(), then=st.booleans())
    def write_here(self, writes, safely, then):
        """Write in this session, with or without a savepoint."""
        with transaction.atomic() if safely else nullcontext(), connection.cursor() as cursor:
            for each in writes:
                cursor.execute(each)
        if then:
            self.refresh_all()

    @rule(
        writes=st.lists(write, min_size=1, max_size=3),
        ends=st.sampled_from(["COMMIT", "COMMIT AND CHAIN", "ROLLBACK"]),
    )
    def write_there(self, writes, ends):
        """Write in the other session; a short lock timeout avoids waiting for this one."""
        with suppress(psycopg.Error):
            self.other.execute("ROLLBACK; BEGIN; SET LOCAL lock_timeout = '5ms'")
            for each in writes:
                self.other.execute(each)
        self.other.execute(ends)

    @rule(one=write, two=write, then=st.booleans())
    def write_twice_there(self, one, two, then):
        """Write twice within a second; Postgres reports the second write late."""
        self.other.execute("ROLLBACK")  # Ends its transaction, which may hold locks.
        for each in (one, two):
            with suppress(psycopg.Error):
                self.other.execute(f"SET lock_timeout = '5ms'; {each}")
        if then:
            self.refresh_all()

    @rule(changes=st.lists(change, min_size=1, max_size=3), at_once=st.booleans())
    def change_here(self, changes, at_once):
        """Make changes that no counter shows, perhaps all in one transaction."""
        self.refresh_all()
        with transaction.atomic() if at_once else nullcontext(), connection.cursor() as cursor:
            for each in changes:
                cursor.execute(each)
                self.refresh_all()

    @rule()
    def leave(self):
        self.other.close()
        self.other = connect()

    @precondition(lambda self: len(self.savepoints) < 3)
    @rule()
    def begin(self):
        self.savepoints.append(transaction.atomic())
        self.savepoints[-1].__enter__()

    @precondition(lambda self: self.savepoints)
    @rule(commits=st.booleans())
    def end(self, commits):
        if not commits:
            transaction.set_rollback(True)
        self.savepoints.pop().__exit__(None, None, None)

    @precondition(lambda self: not self.savepoints)
    @rule(what=st.sampled_from([*OUTSIDE, *RESTARTS]))
    def do(self, what):
        self.refresh_all()
        if what in RESTARTS:
            self.server.restart(what)
            connection.close()
            self.leave()
        else:
            with suppress(Exception):
                connection.cursor().execute(what)

    @rule(slug=st.sampled_from(["buyers", "visitors"]), number=st.integers(0, 2))
    def redefine(self, slug, number):
        segment = Segment.objects.get(slug=slug)
        segment.definition = f"{DEFINITIONS[slug].partition(' WHERE')[0]} WHERE user_id > {number}"
        segment.save()

    @rule(ids=st.sets(st.integers(1, 6)))
    def list_anew(self, ids):
        segment = Segment.objects.get(slug="listed")
        segment.static_ids = ids
        segment.save()

    @rule(slug=st.sampled_from(SLUGS))
    def refresh(self, slug):
        self.check(slug, Segment.objects.get(slug=slug).refresh().status)

    @rule()
    def refresh_all(self):
        for result in list(many.refresh_many(Segment.objects.all())):
            self.check(result.slug, result.status)

    def check(self, slug, status):
        statuses[status] += 1
        members = {key for (key,) in _ask(f'SELECT user_id FROM segments."{slug}"')}
        live = {key for (key,) in _ask(f'SELECT user_id FROM segments_live."{slug}"')}
        assert members == live, (slug, status)
        indexed = Membership.objects.filter(segment__slug=slug).values_list("user_id", flat=True)
        assert set(indexed) == members, (slug, status)

    def teardown(self):
        while self.savepoints:
            self.end(commits=False)
        self.other.close()


def _ask(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_refresh__of_any_sequence_of_writes(clean_views, query, server):
    query(SCHEMA)
    query(
        "ALTER DATABASE "
        + connection.ops.quote_name(connection.settings_dict["NAME"])
        + " SET lock_timeout = '2s'"
    )
    connection.close()
    for slug, definition in DEFINITIONS.items():
        Segment.objects.create(name=slug, slug=slug, definition=definition)
    Segment.objects.create(name="listed", slug="listed", static_ids=[1, 2])
    machine = type("Refreshes", (Refreshes,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # Shrinking takes minutes.
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert sync.check() == []
    assert set(statuses) == {"refreshed", "unchanged"}
    assert statuses["unchanged"] > statuses.total() / 4
