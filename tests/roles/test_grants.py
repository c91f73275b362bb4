"""Grants: a role owns the views, and reads the tables that were granted and nothing else."""

import os
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from segments import checks, sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.roles.rights import VIEW_COLUMNS
from tests.conftest import USERS
from tests.processes import ROOT

pytestmark = pytest.mark.django_db


@pytest.fixture
def roles(query):
    """Roles whose names no other test process uses; the rollback of the test drops them."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    query(f'CREATE ROLE "app {worker}" LOGIN')
    query(f'CREATE ROLE "bi {worker}"')
    return f"exec {worker}", f"app {worker}", f"bi {worker}"


def grants(roles, *options, apply=True):
    out = StringIO()
    role, app, reader = roles
    call_command(
        "grant_segments", "--role", role, "--app-role", app, "--reader", reader, *options,
        *(["--apply"] if apply else []), stdout=out,
    )  # fmt: skip
    return out.getvalue()


def privileges(query, role):
    """Return the privileges that a role has on whole tables."""
    return set(
        query(
            "SELECT c.relname::text, privilege_type FROM pg_class c, aclexplode(relacl) "
            "WHERE grantee = to_regrole(quote_ident(%s)) AND relowner <> grantee "
            "AND relkind = 'r'",
            role,
        )
    )


def readable(query, role, table):
    """Return the columns of a table that a role may read."""
    return [
        name
        for (name,) in query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND NOT attisdropped AND has_column_privilege(%s, attrelid, attnum, 'SELECT')",
            table,
            role,
        )
    ]


@pytest.fixture
def restricted(roles, orders, make, settings, query):
    """An application whose views belong to another role."""
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


@pytest.mark.slow
def test_commands__forget_and_uninstall_without_being_the_owner(restricted, query, users):
    Segment.objects.create(name="Listed", slug="listed", static_ids=users[:2])
    key = users[0].pk
    users[0].delete()
    out = StringIO()
    call_command("forget_user", str(key), stdout=out)
    assert "listed: refreshed without them" in out.getvalue()
    assert query("SELECT count(*) FROM segments.vip WHERE user_id = %s", key) == [(0,)]
    call_command("drop_segments", "--yes", stdout=out)
    assert "Everything is dropped." in out.getvalue()
    assert query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^segments'") == []


@pytest.mark.slow
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


def test_login_role__records_refreshes_and_has_no_members(roles, settings, query):
    settings.SEGMENTS_EXEC_CONNECTION = "exec"
    printed = grants(roles)
    assert query("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", roles[0]) == [(True,)]
    assert query("SELECT pg_has_role(%s, %s, 'MEMBER')", roles[1], roles[0]) == [(False,)]
    assert 'GRANT UPDATE ON "public"."segments_segment"' in printed
    assert privileges(query, roles[0]) == {
        ("segments_segment", "SELECT"),
        ("segments_segment", "UPDATE"),
        ("segments_staticmember", "SELECT"),
        ("segments_segmentversion", "SELECT"),
        ("segments_segmentversion", "UPDATE"),
        *(
            (f"segments_{name}", right)
            for name in ("membership", "segmentrefresh", "change")
            for right in ("SELECT", "INSERT", "DELETE")
        ),
        ("segments_segmentrefresh", "UPDATE"),
    }


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
    """Outside of a refresh, Postgres itself would let a definition do so."""
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


def test_readers__read_members_and_nothing_else(restricted, query):
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


def test_owner__reads_of_the_tables_of_segments_what_views_read(roles, make, query):
    make()
    make("listed", static_ids=[])
    grants(roles)
    read = query(
        "SELECT DISTINCT d.refobjid::regclass::text, a.attname::text FROM pg_rewrite w "
        "JOIN pg_class v ON v.oid = w.ev_class "
        "JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid "
        "AND d.refclassid = 'pg_class'::regclass AND d.refobjid::regclass::text "
        "~ '^segments_[a-z]+$' "
        "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
        "WHERE v.relnamespace IN ('segments'::regnamespace, 'segments_live'::regnamespace)"
    )
    granted = {
        (table, column) for table in VIEW_COLUMNS for column in readable(query, roles[0], table)
    }
    assert granted == set(read)
    assert privileges(query, roles[0]) == set()


def test_surplus__of_an_earlier_run_is_taken_back(roles, orders, query, settings):
    grants(roles, "--read", "shop_offer", "--read", "shop_order")
    for table in VIEW_COLUMNS:
        query(f'GRANT SELECT, INSERT ON {table} TO "{roles[0]}"')
    settings.SEGMENTS_EXEC_ROLE = roles[0]
    grants(roles, "--read", "shop_order(user_id)", "--read", "shop_order(amount)")
    assert readable(query, roles[0], "shop_order") == ["amount", "user_id"]
    assert privileges(query, roles[0]) == {("shop_offer", "SELECT")}
    assert checks.check_server(databases=["default"]) == []
    # The command in the hint of a check names no tables, so it leaves those of definitions alone.
    query(f'GRANT SELECT (username) ON {USERS} TO "{roles[0]}"')
    grants(roles)
    assert readable(query, roles[0], "shop_order") == ["amount", "user_id"]
    assert readable(query, roles[0], USERS) == ["id", "username"]


def test_reader__loses_its_rights_by_the_documented_statements(restricted, query):
    role, _, bi = restricted
    page = (ROOT / "docs" / "security.md").read_text()
    (code,) = re.findall(r"```sql\n(ALTER DEFAULT PRIVILEGES FOR.*?)```", page, re.DOTALL)
    query("RESET SESSION AUTHORIZATION")
    for statement in code.split(";\n")[:-1]:
        named = statement.replace("segments_exec", f'"{role}"')
        query(re.sub(r"\bbi\b", f'"{bi}"', named))
    Segment.objects.create(name="New", slug="new", static_ids=[])
    for view in ("vip", "new", "membership"):
        found = query(f"SELECT has_table_privilege(%s, 'segments.{view}', 'SELECT')", bi)
        assert found == [(False,)]
    assert query("SELECT has_schema_privilege(%s, 'segments', 'USAGE')", bi) == [(False,)]


def test_checks__report_a_role_that_lacks_rights(roles, settings, query):
    settings.SEGMENTS_EXEC_ROLE = roles[0]

    def lacks():
        found = checks.check_server(databases=["default"])
        assert {each.id for each in found} <= {"segments.E010", "segments.E011"}
        return [each.msg.partition("lacks: ")[2] for each in found]

    assert lacks()[0] == "everything, because it does not exist."
    query(f'CREATE ROLE "{roles[0]}"')
    assert lacks()[0] == (
        f'CREATE on the schemas of the segments, SELECT (id) on "{USERS}", '
        "SELECT (id, entered, at, refresh_id, segment_id, user_id) on segments_change, "
        "SELECT (entered_at, user_id, segment_id) on segments_membership, "
        "SELECT (id, name, slug, description, definition, manager_method, refresh_every, "
        "is_active, members_count, refreshed_at, status, last_error, failures, updated_at, "
        "attempted_at, ids_from) on segments_segment, "
        "SELECT (id, started_at, duration, status, members_count, added, removed, segment_id) "
        "on segments_segmentrefresh, "
        "SELECT (segment_id, user_id) on segments_staticmember."
    )
    grants(roles)
    assert lacks() == []
    query(f'REVOKE SELECT (entered_at) ON segments_membership FROM "{roles[0]}"')
    assert lacks() == ["SELECT (entered_at) on segments_membership."]
    query("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    query(f'REVOKE USAGE ON SCHEMA public FROM "{roles[0]}"')
    assert lacks()[0].startswith("USAGE on schema public, ")


def test_checks__report_an_application_that_is_no_member(restricted, settings, query):
    role, app, _ = restricted
    assert checks.check_server(databases=["default"]) == []
    query("RESET SESSION AUTHORIZATION")
    query(f'REVOKE "{role}" FROM "{app}"')
    query(f'REVOKE SELECT ON segments.vip FROM "{app}"')
    query(f'REVOKE USAGE ON SCHEMA segments_live FROM "{app}"')
    query(f'SET SESSION AUTHORIZATION "{app}"')
    owner, asks = checks.check_server(databases=["default"])
    assert (owner.id, asks.id) == ("segments.E010", "segments.E011")
    assert owner.msg.endswith(f'lacks: "{app}" as a member.')
    assert asks.msg.endswith("lacks: USAGE on schema segments_live, SELECT on segments.vip.")
    for message in owner, asks:
        assert message.hint.endswith(
            f"manage.py grant_segments --role '{role}' --app-role '{app}' --apply"
        )


@pytest.fixture
def owner(roles, settings):
    """A role that owns the views and has no surplus rights."""
    grants(roles)
    settings.SEGMENTS_EXEC_ROLE = roles[0]
    return roles[0]


@pytest.mark.parametrize(
    ("more", "surplus"),
    [
        ("ALTER ROLE {role} SUPERUSER BYPASSRLS", "SUPERUSER"),
        ("ALTER ROLE {role} BYPASSRLS REPLICATION", "BYPASSRLS"),
        ("ALTER ROLE {role} CREATEROLE", "CREATEROLE"),
        (
            "GRANT pg_read_all_stats, {other} TO {role}",
            "membership in {other}, pg_read_all_stats",
        ),
        ("GRANT {app} TO {role}", "membership in {app}"),
    ],
)
def test_owner__that_is_more_than_that_is_a_warning(more, surplus, owner, roles, query):
    assert checks.check_server(databases=["default"]) == []
    named = {"role": f'"{owner}"', "app": f'"{roles[1]}"', "other": f'"{roles[2]}"'}
    if "{app}" in more:  # Postgres allows no circle of members.
        query(f'REVOKE "{owner}" FROM "{roles[1]}"')
    query(more.format(**named))
    (warning,) = checks.check_server(databases=["default"])
    assert (warning.id, warning.is_serious()) == ("segments.W002", False)
    assert warning.msg == (
        f'Role "{owner}" owns the views and has more than it needs: {surplus.format(**named)}.'
    )


def test_owner__that_is_the_application_itself_gets_no_warning(settings, query):
    ((me,),) = query("SELECT current_user::text")
    settings.SEGMENTS_EXEC_ROLE = me
    assert checks.check_server(databases=["default"]) == []


@pytest.fixture
def superuser(query):
    """The role that this session logs in as."""
    ((name,),) = query("SELECT session_user::text")
    return name


@pytest.fixture
def admin(roles, query):
    """The session's role: it has CREATEROLE and owns the database, but is not a superuser."""
    app = roles[1]
    name = f"admin {app}"
    query(f'CREATE ROLE "{name}" LOGIN CREATEROLE')
    query(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" OWNER TO "{name}"')
    query(f'DROP ROLE "{app}"')
    query(f'SET SESSION AUTHORIZATION "{name}"')
    query(f'CREATE ROLE "{app}" LOGIN')
    yield name
    query("RESET SESSION AUTHORIZATION")


def give_tables_to(query, role, but=""):
    """Make a role the owner of all that the application would have created."""
    query("RESET SESSION AUTHORIZATION")
    for kind, name in query(
        "SELECT CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' "
        "END, oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v', 'm') AND relnamespace "
        "IN ('public'::regnamespace, 'segments'::regnamespace, 'segments_live'::regnamespace)"
    ):
        if name != but:
            query(f'ALTER {kind} {name} OWNER TO "{role}"')
    for (name,) in query(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace IN "
        "('segments'::regnamespace, 'segments_live'::regnamespace)"
    ):
        query(f'ALTER FUNCTION {name} OWNER TO "{role}"')
    for schema in ("segments", "segments_live"):
        query(f'ALTER SCHEMA {schema} OWNER TO "{role}"')


def memberships(query, member):
    """Return the roles that a role is a member of, unless it can only grant the membership."""
    rights = "m.inherit_option OR m.set_option" if connection.pg_version >= 160000 else "true"
    return [
        name
        for (name,) in query(
            "SELECT DISTINCT roleid::regrole::text FROM pg_auth_members AS m "
            f"WHERE member = quote_ident(%s)::regrole AND ({rights}) ORDER BY 1",
            member,
        )
    ]


@pytest.mark.slow
@pytest.mark.parametrize("tables_of", ["app", "admin"])
def test_createrole__grants_and_revokes_everything(
    tables_of, orders, admin, roles, make, query, settings
):
    query("RESET SESSION AUTHORIZATION")
    make()
    role, app, bi = roles
    give_tables_to(query, {"app": app, "admin": admin}[tables_of])
    query(f'REVOKE CONNECT ON DATABASE "{connection.settings_dict["NAME"]}" FROM PUBLIC')
    query(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{app}"')
    query(f'SET SESSION AUTHORIZATION "{admin}"')
    before = memberships(query, admin)
    printed = grants(roles, "--read", "shop_order(user_id)", apply=False)
    assert grants(roles, "--read", "shop_order(user_id)") == printed
    assert memberships(query, admin) == before == []
    database = "pg_catalog.current_database()"
    for name, expected in (role, False), (bi, True):
        found = query(f"SELECT has_database_privilege(%s, {database}, 'CONNECT')", name)
        assert found == [(expected,)]
    settings.SEGMENTS_EXEC_ROLE = role
    query(f'SET SESSION AUTHORIZATION "{app}"')
    assert checks.check_server(databases=["default"]) == sync.check() == []
    make("new", definition="SELECT user_id FROM shop_order")
    query(f'SET SESSION AUTHORIZATION "{admin}"')
    grants(roles)
    settings.SEGMENTS_EXEC_ROLE = None
    printed = grants(roles, "--revoke", apply=False)
    assert grants(roles, "--revoke") == printed
    assert memberships(query, admin) == before
    query(f'DROP ROLE "{role}"')  # Refused if it had any rights left.
    found = query(f"SELECT has_database_privilege(%s, {database}, 'CONNECT')", bi)
    assert found == [(False,)]
    query(f'SET SESSION AUTHORIZATION "{app}"')
    assert Segment.objects.get(slug="new").refresh(force=True).members_count == 10
    assert sync.check() == []


def test_createrole__keeps_its_previous_memberships(admin, roles, query):
    """`createrole_self_grant = inherit` grants such a membership to the creator of a role."""
    if connection.pg_version < 160000:
        pytest.skip("since PostgreSQL 16")
    app = roles[1]
    give_tables_to(query, app)
    query(f'SET SESSION AUTHORIZATION "{admin}"')
    query(f'GRANT "{app}" TO "{admin}" WITH INHERIT TRUE, SET FALSE')
    options = (
        "SELECT inherit_option, set_option FROM pg_auth_members "
        "WHERE member = grantor AND roleid = quote_ident(%s)::regrole"
    )
    printed = grants(roles)
    assert f'GRANT "{app}" TO CURRENT_USER WITH INHERIT true, SET false;\n' in printed
    assert query(options, app) == [(True, False)]


def test_createrole__learns_which_rights_it_lacks(superuser, admin, roles, query):
    give_tables_to(query, superuser, but="shop_order")
    query(f'SET SESSION AUTHORIZATION "{admin}"')
    with pytest.raises(CommandError, match="ADMIN OPTION") as error:
        grants(roles)
    assert f"lacks the rights of {superuser}, and cannot grant" in str(error.value)
    assert query("SELECT count(*) FROM pg_roles WHERE rolname = %s", roles[0]) == [(0,)]


def test_grant__of_which_postgres_only_warns_is_an_error(superuser, admin, roles, query):
    give_tables_to(query, admin)
    name = connection.settings_dict["NAME"]
    query(f'ALTER DATABASE "{name}" OWNER TO "{superuser}"')
    query(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
    query(f'GRANT CREATE ON DATABASE "{name}" TO "{admin}"')
    query(f'SET SESSION AUTHORIZATION "{admin}"')
    with pytest.raises(CommandError) as error:
        grants(roles)
    assert f"not grant all rights: {roles[0]} lacks: TEMP on the database" in str(error.value)
    assert f"lacks the rights of {superuser}" in str(error.value)
    assert query("SELECT count(*) FROM pg_roles WHERE rolname = %s", roles[0]) == [(0,)]


def test_revoke__takes_back_what_was_granted(roles, orders, make, query, capsys):
    make()
    grants(roles, "--read", "shop_order(user_id)", "--read", "shop_offer")
    printed = grants(roles, "--revoke", apply=False)
    assert grants(roles, "--revoke") == printed
    role, app, bi = roles
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'segments.vip'::regclass"
    assert query(owner) == [(f'"{app}"',)]
    assert query("SELECT count(*) FROM segments.vip") == [(10,)]
    ((acl,),) = query("SELECT relacl::text FROM pg_class WHERE oid = 'shop_order'::regclass")
    assert "exec" not in acl
    assert query("SELECT has_table_privilege(%s, 'segments.vip', 'SELECT')", bi) == [(False,)]
    # Other databases of the server may need the membership; it goes with the role.
    assert query("SELECT pg_has_role(%s, %s, 'MEMBER')", app, role) == [(True,)]
    assert f'-- Then run: DROP ROLE "{role}";\n' in printed
    query(f'DROP ROLE "{role}"')  # Refused if it had any rights left.
    assert grants(roles, "--revoke") == ""
    assert f'no role "{role}"' in capsys.readouterr().err


def test_revoke__tells_how_to_drop_a_role_with_rights(roles, make, query):
    """Other readers than the named ones have rights by default, and the role a table."""
    make()
    grants(roles)
    role, app, _ = roles
    query(f'ALTER TABLE shop_offer OWNER TO "{role}"')
    query(
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{role}" IN SCHEMA segments GRANT SELECT ON TABLES '
        "TO pg_monitor"
    )
    printed = grants(roles, "--revoke")
    with pytest.raises(Exception, match="cannot be dropped"), transaction.atomic():
        query(f'DROP ROLE "{role}"')
    (*_, every, last) = printed.removesuffix(";\n").split("\n-- ")
    for statement in [*every.split("; "), last.removeprefix("Then run: ")]:
        query(statement)
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'shop_offer'::regclass"
    assert query(owner) == [(f'"{app}"',)]


def test_revoke__after_all_was_dropped(restricted, query):
    call_command("drop_segments", "--yes", stdout=StringIO())
    query("RESET SESSION AUTHORIZATION")
    for table in VIEW_COLUMNS:
        query(f"ALTER TABLE {table} RENAME TO gone_{table}")
    printed = grants(restricted, "--revoke")
    assert "SCHEMA segments" not in printed
    query(f'DROP ROLE "{restricted[0]}"')  # Refused if it had any rights left.


@pytest.mark.parametrize("option", ["--apply", "--revoke"])
def test_role__that_is_a_superuser_or_the_application_is_refused(option, roles, query):
    ((superuser,),) = query("SELECT current_user::text")
    for role, message in (superuser, "is a superuser"), (roles[1], "is the role of the app"):
        with pytest.raises(CommandError, match=message):
            grants((role, *roles[1:]), option)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("nowhere", "no table nowhere"),
        ("shop_order(user_id, price)", "no column price\nHint: It has id, amount"),
        ("shop_order()", "no column with an empty name\nHint: It has id, amount"),
        ("a.b.c.d", "too many dotted names.*\nHint: Check the names"),
    ],
)
def test_read__of_a_missing_table_or_column_is_refused(read, message, roles, orders):
    with pytest.raises(CommandError, match=message):
        grants(roles, "--read", read)


def test_alias__that_is_missing_is_refused(roles):
    with pytest.raises(CommandError, match='no alias "gone"'):
        grants(roles, "--using", "gone")


def test_preview__has_the_rights_of_the_role_and_no_others(restricted, query, users):
    segment = Segment(slug="x", definition="SELECT user_id FROM shop_order WHERE amount > 300")
    preview = segment.preview(limit=1)
    assert (preview.members_count, preview.sample) == (3, (users[7],))
    segment.static_ids = users[:2]
    assert segment.preview().members_count == 5
    # A time word and a function of chance: finding them takes no more rights.
    segment.definition = "SELECT user_id FROM shop_order WHERE 'now' < now() OR random() < 2"
    assert len(segment.preview().warnings) == 2
    segment.definition = "SELECT user_id FROM shop_order WHERE placed_at > '2020-01-01'"
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
