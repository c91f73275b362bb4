"""The privileges of the logins in a set-up, and refreshes that involve several logins."""

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connection, connections, transaction

from segments import checks, sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment, Status
from tests.conftest import EVEN, USERS
from tests.databases import address

pytestmark = [
    pytest.mark.roles,
    pytest.mark.django_db(transaction=True, databases=["default", "exec"]),
    pytest.mark.usefixtures("clean_views"),
]

separate = pytest.mark.roles(
    "exec_role", "exec_alias", reason="the application owns the views itself"
)
alias_only = pytest.mark.roles("exec_alias", reason="views follow at once")

HIDDEN = f"SELECT id FROM {USERS} WHERE EXISTS (SELECT FROM django_session)"
"""A definition that reads a table which the owner of the views may not read."""


def test_logins__have_no_rights_but_those_of_the_set_up(make, query):
    make()
    for alias in ("default", "exec"):
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls "
                "FROM pg_roles WHERE rolname = session_user"
            )
            assert cursor.fetchone() == (False,)
    assert query("SELECT session_user::text") == [(settings.APP,)]
    owner = settings.APP if settings.SETUP == "one_role" else settings.OWNER
    owners = (
        "SELECT DISTINCT relowner::regrole::text FROM pg_class "
        "WHERE relnamespace IN ('segments'::regnamespace, 'segments_live'::regnamespace)"
    )
    assert query(owners) == [(owner,)]
    member = "SELECT rolcanlogin, pg_has_role(session_user, oid, 'MEMBER') FROM pg_roles "
    expected = {"one_role": [], "exec_role": [(False, True)], "exec_alias": [(True, False)]}
    found = query(f"{member} WHERE rolname = %s", settings.OWNER)
    assert found == expected[settings.SETUP]


@separate
def test_application__has_only_usage_on_the_schemas(query):
    with pytest.raises(ProgrammingError, match="permission denied for database"):
        query("CREATE SCHEMA mine")
    rights = (
        "SELECT nspname::text, privilege_type FROM pg_namespace, aclexplode(nspacl) "
        "WHERE nspname IN ('segments', 'segments_live') AND grantee = %s::regrole ORDER BY 1, 2"
    )
    assert query(rights, settings.APP) == [("segments", "USAGE"), ("segments_live", "USAGE")]


@alias_only
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE segments.mine (id int)",
        "CREATE VIEW segments_live.mine AS SELECT 1",
        "DROP VIEW segments_live.vip",
        "REFRESH MATERIALIZED VIEW segments.vip",
        "SELECT * FROM segments_live.vip",
    ],
)
def test_application__may_not_touch_the_views(statement, make, query):
    make()
    with pytest.raises(ProgrammingError, match="permission denied|must be owner"):
        query(statement)


@separate
def test_definition__that_reads_what_was_not_granted_is_refused(make, query):
    query("SELECT count(*) FROM django_session")  # The application itself may read it.
    with pytest.raises(SegmentExecutionError, match="permission denied for table django_session"):
        make(definition=HIDDEN)
    assert not Segment.objects.exists()


@pytest.fixture
def inherits_nothing(dba):
    """Make the application a member that gets the owner's privileges only by SET ROLE."""
    if connection.pg_version < 160000:
        pytest.skip("needs PostgreSQL 16")
    dba(f"GRANT {settings.OWNER} TO {settings.APP} WITH INHERIT FALSE")
    yield
    dba(f"GRANT {settings.OWNER} TO {settings.APP} WITH INHERIT TRUE")


@pytest.mark.roles("exec_role", reason="the application is no member of the owner")
def test_member__that_inherits_nothing_does_the_main_job(inherits_nothing, staff, users, make):
    segment = make(definition=EVEN, static_ids=users[1:2])
    staff(3)
    assert segment.refresh().members_count == len(segment) == segment.members_live.count() == 2
    assert users[3].is_member("vip")
    assert users[3].is_member_live("vip")
    segment.slug, segment.definition = "gold", f"{EVEN} LIMIT 0"
    segment.save()
    assert set(segment.member_ids()) == {users[1].pk}
    assert users[1].segment_ids == [segment.pk]
    assert checks.check_server(databases=["default"]) == sync.check() == []
    assert [entry.error for entry in sync.detach()] == [None]
    assert [entry.error for entry in sync.sync()] == [None]
    segment.delete()


@pytest.mark.parametrize("alias", ["default", "exec"])
def test_checks__find_nothing(alias):
    assert checks.check_server(databases=[alias]) == []
    call_command("check", "--database", alias, fail_level="WARNING")
    assert sync.check() == []


def test_writes__of_a_hidden_login_are_not_overlooked(make, staff):
    """Sessions report their writes late, and Postgres hides the sessions of other logins."""
    segment = make(definition=EVEN)
    name = connection.settings_dict["NAME"]
    with psycopg.connect(address(name), autocommit=True) as other:
        for numbers, members in ("0", 1), ("01", 2), ("", 0):
            other.execute(
                f"UPDATE {USERS} SET is_staff = right(username, 1) = ANY (%s)", [list(numbers)]
            )
            assert segment.refresh().members_count == members


@pytest.fixture
def granted(dba):
    """Restore the privilege that a test revokes from the owner of the views."""
    yield
    dba(f"GRANT SELECT ON {USERS} TO {settings.OWNER}")


@alias_only
@pytest.mark.usefixtures("granted")
def test_first_population__that_fails_is_recorded_and_repaired(users, make, dba, relation):
    with transaction.atomic():
        segment = make()  # It is evaluated here, and again when the views follow on commit.
        dba(f"REVOKE SELECT ON {USERS} FROM {settings.OWNER}")
    assert (segment.status, segment.refreshed_at) == (Status.FAILED, None)
    assert "permission denied" in segment.last_error
    assert relation("segments.vip") is None
    with pytest.raises(SegmentExecutionError, match="does not exist"):
        users[0].is_member(segment)
    with pytest.raises(SegmentExecutionError, match="permission denied"):
        segment.refresh()
    dba(f"GRANT SELECT ON {USERS} TO {settings.OWNER}")
    assert segment.refresh().members_count == 10
    assert users[0].is_member("vip")
    assert sync.check() == []


@alias_only
def test_foreign_view__is_not_taken_over_after_a_commit(make, owner):
    make("first")
    owner("CREATE MATERIALIZED VIEW segments.vip AS SELECT 1::bigint AS user_id")
    segment = make()
    assert segment.status == Status.FAILED
    assert "this package has not created" in segment.last_error
    assert owner("SELECT count(*) FROM segments.vip") == [(1,)]
    owner("DROP MATERIALIZED VIEW segments.vip")
    assert [entry.error for entry in sync.sync()] == [None]
