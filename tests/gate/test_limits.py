"""The limits of a separate role, and the checks that report them."""

import django.db
import pytest
from django.db import connection, transaction

from segments import sync
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Segment
from tests.conftest import USERS
from tests.gate.corpus import own
from tests.servers import skip_without_library

pytestmark = pytest.mark.django_db


def came(definition):
    """Return the SQLSTATE of the error that stops a definition."""
    with pytest.raises(SegmentExecutionError) as caught, transaction.atomic():
        Segment.objects.create(name="x", slug="x", definition=definition)
    return caught.value.sqlstate


def denied(query, sql):
    with pytest.raises(django.db.ProgrammingError, match="permission denied"):
        with transaction.atomic():
            query(sql)


def test_readers__may_not_use_live_views_nor_their_functions(vip, restricted, query, as_superuser):
    with as_superuser():
        query(f'SET LOCAL ROLE "{restricted[2]}"')
        assert query("SELECT count(*) FROM segments.vip") == [(10,)]
        denied(query, "SELECT segments_live.is_member('vip', 1::bigint)")
        denied(query, "SELECT * FROM segments_live.members('vip')")
        denied(query, "SELECT * FROM segments_live.vip")
        query("RESET ROLE")


def test_readers__of_live_functions_do_not_become_their_owner(
    vip, restricted, query, as_superuser
):
    """A cast of a user-defined type must not run with the owner's privileges."""
    role, _, reader = restricted
    with as_superuser():
        query(f'GRANT USAGE ON SCHEMA segments_live TO "{reader}"')
        query(f'SET LOCAL ROLE "{reader}"')
        query("CREATE TYPE pg_temp.evil AS (x int)")
        query(
            "CREATE FUNCTION pg_temp.steal(pg_temp.evil) RETURNS bigint LANGUAGE plpgsql AS "
            "$$BEGIN EXECUTE format('COMMENT ON VIEW segments_live.vip IS %L', current_user); "
            "RAISE 'became %', current_user; END$$"
        )
        query(
            "CREATE CAST (pg_temp.evil AS bigint) "
            "WITH FUNCTION pg_temp.steal(pg_temp.evil) AS IMPLICIT"
        )
        became = ""
        try:
            with transaction.atomic():
                query("SELECT segments_live.is_member('vip', ROW(1)::pg_temp.evil)")
        except django.db.Error as error:
            became = str(error)
        query("RESET ROLE")
    assert f"became {role}" not in became
    assert reader in became  # The caller casts first, with its own privileges.


POLICY = (
    f"ALTER TABLE {USERS} ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY own ON {USERS} USING (tenant() = 'a')",
)
VIEW = (
    f"ALTER TABLE {USERS} RENAME TO all_users",
    f"CREATE VIEW {USERS} AS SELECT * FROM all_users WHERE tenant() = 'a'",
)


@pytest.mark.slow
@pytest.mark.parametrize("users_table", [POLICY, VIEW], ids=["policy", "view"])
def test_readers__do_not_become_the_owner_through_the_user_table(
    users_table, vip, restricted, users, query, as_superuser
):
    """A caller must not choose the meaning of names in the functions."""
    role, _, reader = restricted
    with as_superuser():
        for sql in (
            "CREATE TABLE current_tenant (name text)",
            "INSERT INTO current_tenant VALUES ('a')",
            f'GRANT SELECT ON current_tenant TO "{role}"',
            "CREATE FUNCTION tenant() RETURNS text LANGUAGE plpgsql STABLE AS "
            "$$BEGIN RETURN (SELECT name FROM current_tenant); END$$",
            *users_table,
            f'GRANT SELECT (id) ON {USERS} TO "{role}"',
        ):
            query(sql)
    assert {entry.error for entry in sync.sync()} == {None}
    assert not list(sync.check())
    with as_superuser():
        query(f'SET LOCAL ROLE "{reader}"')
        for sql in (
            "CREATE FUNCTION pg_temp.steal() RETURNS text LANGUAGE plpgsql AS "
            "$$BEGIN RAISE 'became %', current_user; END$$",
            "CREATE VIEW pg_temp.current_tenant AS SELECT pg_temp.steal() AS name",
            "GRANT SELECT ON pg_temp.current_tenant TO PUBLIC",
        ):
            query(sql)
        for question in ("is_user(%s::bigint)", "is_member('vip', %s::bigint)"):
            assert query(f"SELECT segments.{question}", users[0].pk) == [(True,)]
        query("RESET ROLE")


def test_functions_of_the_project__may_have_lasting_effects(vip, query):
    """As documented in docs/security.md."""
    calls = own("pg_try_advisory_lock(4242) AND lo_create(0) > 0")
    objects = "SELECT count(*) FROM pg_largeobject_metadata"
    before = query(objects)
    Segment.objects.create(name="x", slug="x", definition=f"SELECT id FROM {USERS} WHERE {calls}")
    held = "SELECT count(*) FROM pg_locks WHERE objid = 4242 AND pid = pg_backend_pid()"
    assert query(held) == [(1,)]
    assert query(objects) > before
    query("SELECT pg_advisory_unlock_all()")
    assert query(held) == [(0,)]


def test_functions_of_the_project__read_open_cursors(vip, query):
    query(f"DECLARE mine CURSOR FOR SELECT password FROM {USERS}")
    read = own("cursor_to_xml('mine', 1, true, true, '')::text")
    try:
        with transaction.atomic():
            found = Segment.objects.create(
                name="x",
                slug="x",
                definition=f"SELECT id FROM {USERS} WHERE (SELECT {read}) <> ''",
            )
    except SegmentExecutionError as error:
        assert error.sqlstate == "0A000"  # noqa: PT017  # A server without libxml.
    else:
        assert len(found) == 10


def test_dblink__is_an_extension_and_closed_by_its_privileges(vip, as_superuser, query):
    """dblink refuses a connection without a password to anybody but superusers."""
    dblink = "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t (id bigint)"
    with as_superuser():
        with transaction.atomic(), connection.cursor() as cursor:
            skip_without_library(cursor, "dblink")
        query("CREATE EXTENSION dblink")
    assert came(dblink) == "2F003"
    with as_superuser():
        query("REVOKE EXECUTE ON FUNCTION dblink(text, text) FROM PUBLIC")
    assert came(dblink) == "42501"


def test_error__shows_readers_what_was_granted_to_the_role(vip, query):
    Segment.objects.filter(slug="vip").update(
        definition="SELECT user_id FROM shop_order WHERE ('order of ' || amount)::int = 1"
    )
    with pytest.raises(SegmentExecutionError, match="order of"):
        Segment.objects.get(slug="vip").refresh()
    ((told,),) = query("SELECT last_error FROM segments.catalog WHERE slug = 'vip'")
    assert "order of" in told


def test_definitions__of_others_cannot_be_read(vip):
    definition = (
        f"SELECT id FROM {USERS} "
        "WHERE EXISTS (SELECT FROM public.segments_segment WHERE definition <> '')"
    )
    with pytest.raises(SegmentDefinitionError, match="reads segments_segment"):
        Segment.objects.create(name="x", slug="x", definition=definition)


def test_policy__holds_for_live_checks_and_refreshes(vip, users):
    segment = Segment.objects.create(name="x", slug="x", definition="SELECT id FROM tenants")
    assert [segment.has_member(u) for u in users] == [True] * 5 + [False] * 5
    assert [segment.has_member_live(u) for u in users] == [True] * 5 + [False] * 5
