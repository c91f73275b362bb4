"""Grants: a role that owns the views, reads what it was given, and nothing else."""

import os
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from segments import checks, sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from tests.conftest import USERS

pytestmark = pytest.mark.django_db


@pytest.fixture
def roles(query):
    """Names that no other process of the tests uses; gone when the test is rolled back."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    query(f'CREATE ROLE "app {worker}" LOGIN')
    query(f'CREATE ROLE "bi {worker}"')
    return f"exec {worker}", f"app {worker}", f"bi {worker}"


def grants(roles, *options, apply=True):
    out = StringIO()
    role, app, reader = roles
    call_command(
        "segments_grants", "--role", role, "--app-role", app, "--reader", reader, *options,
        *(["--apply"] if apply else []), stdout=out,
    )  # fmt: skip
    return out.getvalue()


@pytest.fixture
def restricted(roles, orders, make, settings, query):
    """An application that is not the owner of the views."""
    make()
    grants(roles, "--read", "shop_order(user_id, amount)")
    settings.SEGMENTS_EXEC_ROLE = roles[0]
    query(
        "CREATE FUNCTION put(text, text, boolean) RETURNS text LANGUAGE plpgsql AS "
        "'BEGIN RETURN set_config($1, $2, $3); END'"
    )
    query(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{roles[1]}"')
    query(f'SET SESSION AUTHORIZATION "{roles[1]}"')
    yield roles
    query("RESET SESSION AUTHORIZATION")


def test_statements__are_printed_and_run_only_if_asked_for(roles, make, query):
    make()
    printed = grants(roles, "--read", "shop_order(user_id)", apply=False)
    role, app, _ = roles
    assert f'GRANT "{role}" TO "{app}";\n' in printed
    assert f'GRANT SELECT ("user_id") ON "public"."shop_order" TO "{role}";\n' in printed
    assert f'ALTER MATERIALIZED VIEW segments.vip OWNER TO "{role}";\n' in printed
    assert query("SELECT count(*) FROM pg_roles WHERE rolname = %s", role) == [(0,)]
    for statement in printed.split(";\n")[:-1]:
        query(statement.replace("%", "%%"))
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'segments.vip'::regclass"
    assert query(owner) == [(f'"{role}"',)]
    assert grants(roles, "--read", "shop_order(user_id)") == printed


def test_commands__forget_and_uninstall_without_being_the_owner(restricted, query, users):
    Segment.objects.create(name="Listed", slug="listed", static_ids=users[:2])
    key = users[0].pk
    users[0].delete()
    out = StringIO()
    call_command("forget_user", str(key), stdout=out)
    assert "listed: refreshed without them" in out.getvalue()
    assert query("SELECT count(*) FROM segments.vip WHERE user_id = %s", key) == [(0,)]
    call_command("drop_segments", "--yes", stdout=out)
    assert "All is dropped." in out.getvalue()
    assert query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^segments'") == []


def test_segments__live_under_the_role(restricted, query, relation, users):
    role, app, _ = restricted
    segment = Segment.objects.create(
        name="Spenders",
        slug="spenders",
        definition="SELECT user_id FROM shop_order WHERE amount > 300",
    )
    assert query("SELECT current_user") == [(app,)]
    owners = query(
        "SELECT DISTINCT c.relowner::regrole::text FROM pg_class c "
        "WHERE relnamespace IN ('segments'::regnamespace, 'segments_live'::regnamespace)"
    )
    assert owners == [(f'"{role}"',)]
    assert len(segment) == 3
    assert segment.refresh(force=True).members_count == 3
    assert users[9].is_member(segment)
    assert users[9].is_member_live(segment)
    assert segment.members_live.count() == 3
    assert users[9].is_member("spenders")
    segment.slug = "big"
    segment.definition = "SELECT user_id FROM shop_order WHERE amount > 400"
    segment.save()
    assert set(segment.member_ids()) == {users[9].pk}
    listed = Segment.objects.create(name="Listed", slug="listed", static_ids=users[:2])
    assert len(listed) == 2
    assert [each.error for each in sync.sync()] == []
    assert sync.check() == []
    segment.delete()
    assert relation("segments.big") is None


def test_first_segment__brings_what_all_share_into_the_schemas(
    roles, users, make, settings, query
):
    query("DROP SCHEMA segments, segments_live CASCADE")
    grants(roles)
    settings.SEGMENTS_EXEC_ROLE = roles[0]
    make()
    assert users[0].is_member("vip")
    assert sync.check() == []


def test_role__that_an_alias_logs_in_as_is_made_for_that_and_shared_with_nobody(
    roles, settings, query
):
    settings.SEGMENTS_EXEC_CONNECTION = "exec"
    printed = grants(roles)
    assert query("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", roles[0]) == [(True,)]
    assert query("SELECT pg_has_role(%s, %s, 'MEMBER')", roles[1], roles[0]) == [(False,)]
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON" in printed


@pytest.mark.parametrize(
    "definition",
    [
        "SELECT user_id FROM shop_offer JOIN shop_order ON true",
        "SELECT user_id FROM shop_order WHERE placed_at < now()",
        f"SELECT id FROM {USERS} WHERE password <> ''",
        "SELECT user_id FROM shop_order WHERE put('role', 'none', true) IS NOT NULL",
    ],
)
def test_definition__that_reads_what_was_not_granted_is_refused(definition, restricted):
    with pytest.raises(SegmentExecutionError, match="permission denied|cannot set parameter"):
        Segment.objects.create(name="x", slug="x", definition=definition)
    with pytest.raises(Exception, match="permission denied|cannot set parameter"):
        Segment(name="x", slug="x", definition=definition).clean()
    assert not Segment.objects.filter(slug="x").exists()


def test_live_check__cannot_give_up_the_role(restricted, users, settings, query):
    """Where a check is not a refresh, Postgres would let a definition do so."""
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment = Segment.objects.get(slug="vip")
    segment.definition = (
        "SELECT user_id FROM shop_order WHERE put('role', 'none', true) IS NOT NULL"
    )
    segment.save()
    for ask in (
        lambda: segment.has_member_live(users[0]),
        lambda: list(segment.members_live),
    ):
        with pytest.raises(Exception, match="within security-definer function"):
            with transaction.atomic():
                ask()


def test_live_check__leaves_no_setting_behind(restricted, users, settings, query):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment = Segment.objects.get(slug="vip")
    segment.definition = (
        "SELECT user_id FROM shop_order WHERE put('search_path', 'nowhere', false) <> ''"
    )
    segment.save()
    assert segment.has_member_live(users[0])
    assert segment.members_live.count() == 10
    assert query("SHOW search_path") == [('"$user", public',)]


def test_readers__read_members_alone(restricted, query):
    query("RESET SESSION AUTHORIZATION")
    Segment.objects.create(name="New", slug="new", definition="SELECT user_id FROM shop_order")
    query(f'SET LOCAL ROLE "{restricted[2]}"')
    assert query("SELECT count(*) FROM segments.new") == [(10,)]
    assert query("SELECT count(*) FROM segments.membership") == [(20,)]
    for denied in (
        "SELECT * FROM segments_live.new",
        "SELECT * FROM segments_live.members('new')",
        "SELECT * FROM shop_order",
    ):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            query(denied)


def test_role__that_lacks_rights_is_told_by_the_checks(roles, settings, query):
    settings.SEGMENTS_EXEC_ROLE = roles[0]

    def lacks():
        found = [each.msg for each in checks.check_server(databases=["default"])]
        return found[0].partition("lacks: ")[2] if found else None

    assert lacks() == "to be there."
    query(f'CREATE ROLE "{roles[0]}"')
    assert f'SELECT on the key of "{USERS}"' in lacks()
    assert "SELECT on segments_segment" in lacks()
    grants(roles)
    assert lacks() is None
    query(f'REVOKE SELECT ON segments_membership FROM "{roles[0]}"')
    assert lacks() == "SELECT on segments_membership."


def test_revoke__takes_all_back(roles, orders, make, query):
    make()
    grants(roles, "--read", "shop_order(user_id)", "--read", "shop_offer")
    printed = grants(roles, "--revoke")
    assert f'DROP ROLE "{roles[0]}";' in printed
    assert query("SELECT count(*) FROM pg_roles WHERE rolname = %s", roles[0]) == [(0,)]
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'segments.vip'::regclass"
    assert query(owner) == [(f'"{roles[1]}"',)]
    assert query("SELECT count(*) FROM segments.vip") == [(10,)]
    ((acl,),) = query("SELECT relacl::text FROM pg_class WHERE oid = 'shop_order'::regclass")
    assert "exec" not in acl
    assert grants(roles, "--revoke") == ""


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("nowhere", "no table nowhere"),
        ("shop_order(user_id, price)", "no column price\nHint: It has id, amount"),
    ],
)
def test_read__of_what_is_not_there_is_refused(read, message, roles):
    with pytest.raises(CommandError, match=message):
        grants(roles, "--read", read)


def test_alias__that_is_not_there_is_refused(roles):
    with pytest.raises(CommandError, match='no alias "gone"'):
        grants(roles, "--using", "gone")


def test_preview__has_the_rights_of_the_role_and_no_others(restricted, query, users):
    segment = Segment(slug="x", definition="SELECT user_id FROM shop_order WHERE amount > 300")
    preview = segment.preview(limit=1)
    assert (preview.members_count, preview.sample) == (3, (users[7],))
    segment.static_ids = users[:2]
    assert segment.preview().members_count == 5
    # With a LIMIT, a function that hides what it reads, and a time: all that is looked into.
    segment.definition = (
        "SELECT user_id FROM shop_order WHERE 'now' < now() OR random() < 2 LIMIT 3"
    )
    assert len(segment.preview().warnings) == 3
    segment.definition = "SELECT id FROM shop_order WHERE placed_at > '2020-01-01'"
    with pytest.raises(SegmentExecutionError, match="permission denied for table shop_order"):
        segment.preview()
    assert query("SELECT current_user") == [(restricted[1],)]


def test_preview__lets_no_function_give_up_the_role(restricted, query):
    query("RESET SESSION AUTHORIZATION")
    query(
        "CREATE FUNCTION escape(text) RETURNS text LANGUAGE plpgsql STABLE AS "
        "'BEGIN RETURN set_config(''role'', $1, true); END'"
    )
    query(f'SET SESSION AUTHORIZATION "{restricted[1]}"')
    segment = Segment(
        slug="x", definition=f"SELECT id FROM {USERS} WHERE id::text > public.escape('none')"
    )
    with pytest.raises(SegmentExecutionError, match="within security-restricted operation"):
        segment.preview()
