"""System checks: each fault, its id and its hint."""

import re
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, connections

from segments import checks, conf
from tests.databases import login_role as committed_role
from tests.processes import ROOT, run_module


def faults(found):
    assert all(message.hint for message in found)
    return {message.id: message for message in found}


def test_project__that_is_right_has_no_faults(db):
    assert run_checks(databases=["default"]) == []


def test_exec_alias__that_is_missing(settings):
    settings.SEGMENTS_EXEC_CONNECTION = "gone"
    assert "DATABASES" in faults(checks.check_project())["segments.E001"].msg
    settings.SEGMENTS_EXEC_CONNECTION = "defaul"
    assert "Did you mean default?" in faults(checks.check_project())["segments.E001"].hint
    assert checks.check_server(databases=["gone"]) == []


def test_database__that_is_not_postgres(settings, monkeypatch):
    from django.db import connections
    from django.db.backends.sqlite3.base import DatabaseWrapper

    lite = DatabaseWrapper({**connections.settings["default"], "NAME": ":memory:"}, "lite")
    monkeypatch.setitem(connections.settings, "lite", {"ENGINE": "django.db.backends.sqlite3"})
    connections["lite"] = lite
    try:
        settings.SEGMENTS_EXEC_CONNECTION = "lite"
        fault = faults(checks.check_project())["segments.E002"]
        assert "SQLite" in fault.msg
        assert "SEGMENTS_EXEC_CONNECTION" in fault.hint  # The other alias is PostgreSQL.
        assert checks.check_server(databases=["lite"]) == []
    finally:
        del connections["lite"]


def test_server__that_is_too_old(db, monkeypatch):
    monkeypatch.setattr(checks, "MIN_PG_VERSION", 990000)
    found = faults(checks.check_server(databases=["default"]))
    assert "segments needs PostgreSQL" in found["segments.E003"].msg


def test_server__is_asked_only_where_databases_are_checked(django_assert_num_queries):
    assert checks.check_server(databases=None) == []
    assert checks.check_server(databases=["other"]) == []


def test_pgviews__that_is_not_installed(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_pgviews"]
    assert "django_pgviews" in faults(checks.check_project())["segments.E004"].msg


@pytest.mark.parametrize("missing", ["TEMP", "CREATE"])
def test_privilege__that_is_missing(missing, db, query, role, settings):
    settings.SEGMENTS_SCHEMA = "elsewhere"
    name = role("app")
    database = connection.settings_dict["NAME"]
    for right in {"TEMP", "CREATE"} - {missing}:
        query(f'GRANT {right} ON DATABASE "{database}" TO "{name}"')
    query(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    query(f'SET LOCAL ROLE "{name}"')
    found = faults(checks.check_server(databases=["default"]))
    assert missing in found["segments.E005"].msg
    granting = f'GRANT {missing} ON DATABASE "{database}" TO "{name}"'
    assert granting in found["segments.E005"].hint


def test_create__is_not_needed_where_the_schemas_are_there(db, query, role):
    name = role("app")
    query(f'GRANT CREATE ON SCHEMA segments, segments_live TO "{name}"')
    query(f'SET LOCAL ROLE "{name}"')
    assert checks.check_server(databases=["default"]) == []


@pytest.mark.django_db(databases=["default", "exec"])
def test_exec_alias__that_reaches_another_database(exec_alias, monkeypatch):
    assert checks.check_server(databases=["exec"]) == []
    real = checks._server
    monkeypatch.setattr(
        checks,
        "_server",
        lambda each: {**real(each), "database": each.alias},
    )
    found = faults(checks.check_server(databases=["exec"]))
    assert "are not one database" in found["segments.E006"].msg


@pytest.fixture
def login(exec_alias, query):
    """The role that the alias of the views logs in as; its grants are revoked in the end."""
    with committed_role("check_owner") as owner:
        with connections["exec"].cursor() as cursor:
            cursor.execute(f'SET SESSION AUTHORIZATION "{owner}"')
        yield owner
        query("RESET SESSION AUTHORIZATION")
        connections["exec"].close()
        grant_segments(owner, "--revoke")


def grant_segments(owner, *options):
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user::text")
        (app,) = cursor.fetchone()
    roles = ("--role", owner, "--app-role", app)
    call_command("grant_segments", *roles, "--apply", *options, stdout=StringIO())


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_login__of_its_own_is_looked_at(login, query):
    """The role owns the views and records refreshes; the application's role does not."""

    def found():
        return [(each.id, each.msg) for each in checks.check_server(databases=["exec"])]

    ((kind, told),) = found()
    assert kind == "segments.E010"
    assert told.startswith(f'"exec" logs in as "{login}", which lacks: CREATE on the schemas')
    assert "DELETE on segments_membership, INSERT on segments_membership, SELECT on" in told
    grant_segments(login)
    assert found() == []
    query(f'REVOKE INSERT ON segments_membership FROM "{login}"')
    assert found()[0][1].endswith("lacks: INSERT on segments_membership.")
    grant_segments(login)
    query(f'GRANT pg_read_all_stats TO "{login}"')
    assert found() == []
    query(f'GRANT pg_monitor TO "{login}"')
    assert found() == [
        (
            "segments.W002",
            f'Role "{login}" owns the views and has more than it needs: membership in pg_monitor.',
        )
    ]


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_application__besides_a_login_of_its_own_is_looked_at(login, query):
    grant_segments(login)
    with committed_role("check_app") as app:
        query(f'SET SESSION AUTHORIZATION "{app}"')
        (message,) = checks.check_server(databases=["exec"])
        query("RESET SESSION AUTHORIZATION")
    assert message.id == "segments.E011"
    assert message.msg.endswith(
        "lacks: USAGE on schema segments, USAGE on schema segments_live, SELECT on "
        "segments.catalog."
    )
    assert f"--role {login} --app-role {app} --apply" in message.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEGMENTS_SCHEMA", "Bad Name"),
        ("SEGMENTS_READER_ROLES", "bi"),
        ("SEGMENTS_REFRESH_EVERY", "daily"),
        ("SEGMENTS_CHANGES_DAYS", -1),
        ("SEGMENTS_STATEMENT_TIMEOUT", -1),
        ("SEGMENTS_LOCK_TIMEOUT", True),
        ("SEGMENTS_PREVIEW_TIMEOUT", "5"),
        ("SEGMENTS_PREVIEW_TIMEOUT", float("inf")),
        ("SEGMENTS_SKIP_LAG", float("nan")),
        ("SEGMENTS_HISTORY_DAYS", "90"),
        ("SEGMENTS_HISTORY_DAYS", 10**12),
        ("SEGMENTS_MAX_TIMEOUT", None),
        ("SEGMENTS_MAX_COST", "1e6"),
        ("SEGMENTS_READER_ROLES", ["bi", None]),
        ("SEGMENTS_READER_ROLES", None),
        ("SEGMENTS_EXEC_CONNECTION", None),
        ("SEGMENTS_EXEC_CONNECTION", ["default"]),
        ("SEGMENTS_EXEC_ROLE", 1),
        ("SEGMENTS_EXEC_ROLE", ""),
        ("SEGMENTS_REFRESH_ON_SAVE", "False"),
        ("SEGMENTS_REFRESH_ASYNC", None),
        ("SEGMENTS_WORK_MEM", "64 megabytes"),
        ("SEGMENTS_WORK_MEM", True),
        ("SEGMENTS_TIME_ZONE", "Berlin"),
        ("SEGMENTS_TIME_ZONE", "Europe"),
        ("SEGMENTS_TIME_ZONE", 2),
    ],
)
def test_setting__that_is_wrong(name, value, settings):
    setattr(settings, name, value)
    assert name in faults(checks.check_project())["segments.E007"].msg
    assert checks.check_server(databases=["default"]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEGMENTS_READER_ROLES", ("bi",)),
        ("SEGMENTS_REFRESH_ON_SAVE", 0),
        ("SEGMENTS_WORK_MEM", "1.5 GB"),
        ("SEGMENTS_WORK_MEM", 65536),
        ("SEGMENTS_MAX_COST", 1000),
        ("SEGMENTS_SKIP_LAG", 0.5),
    ],
)
def test_setting__of_every_type_that_is_right(name, value, settings):
    setattr(settings, name, value)
    assert checks.check_project() == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SEGMENTS_SCHEME", "Did you mean SEGMENTS_SCHEMA?"),
        ("SEGMENTS_EXEC_CONECTION", "Did you mean SEGMENTS_EXEC_CONNECTION?"),
        ("SEGMENTS_REFRESH_ON_SAVES", "Did you mean SEGMENTS_REFRESH_ON_SAVE?"),
        ("SEGMENT_SCHEMA", "Did you mean SEGMENTS_SCHEMA?"),
        ("SEGMENTS_COLOUR", "The settings are: "),
    ],
)
def test_setting__that_there_is_not(name, hint, settings):
    setattr(settings, name, "x")
    (message,) = checks.check_project()
    assert (message.id, message.msg) == ("segments.E012", f"There is no setting {name}.")
    assert message.hint.startswith(hint)


def test_project__without_time_zones(settings):
    settings.USE_TZ = False
    (message,) = checks.check_project()
    assert message.id == "segments.E013"
    assert "USE_TZ = True" in message.hint


def test_setting__of_another_package_is_not_ours(settings):
    settings.SEGMENT_WRITE_KEY = "x"
    assert checks.check_project() == []


def test_settings__are_those_of_the_docs():
    page = (ROOT / "docs/settings.md").read_text()
    documented = re.findall(r"^\| `(SEGMENTS_\w+)` \|", page, re.MULTILINE)
    assert sorted(documented) == sorted(conf.readers())


def test_user_model__without_the_mixin_is_a_warning(monkeypatch):
    from django.contrib.auth.models import User

    monkeypatch.setattr(checks, "get_user_model", lambda: User)
    found = faults(checks.check_project())
    assert "is_member" in found["segments.W001"].msg
    assert found["segments.W001"].is_serious() is False


@pytest.mark.slow
def test_migrations__are_complete_here_and_with_the_mixin(db):
    # In a process of its own, as other tests define models that need none.
    run_module(
        "django", "makemigrations", "--check", "--dry-run", DJANGO_SETTINGS_MODULE="tests.settings"
    )
