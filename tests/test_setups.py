"""The main job under restricted roles, each set-up in processes and a database of its own."""

from contextlib import contextmanager

import pytest

from demo.postgres import database_url
from tests.databases import address, database, login, role, run
from tests.processes import run_module, run_suite

pytestmark = pytest.mark.slow

SUITES = [
    "tests/setups/suite.py",
    "tests/test_exec_connection.py",
    "tests/test_admin.py",
    "tests/test_migrating.py",
    "tests/test_models.py",
    "tests/test_refresh.py",
    "tests/test_runs.py",
    "tests/test_sync.py",
    "tests/commands",
    "tests/sql/test_definition.py",
    "tests/sql/test_static_ids.py",
    "tests/sql/test_views.py",
]


@contextmanager
def granted_to(app):
    """Drop in the end the roles that tests have made for the application."""
    yield
    made = f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{app}'::regrole"
    for (each,) in run(database_url(), made):
        run(database_url(), f"DROP ROLE {each}")


@pytest.mark.parametrize("setup", ["one_role", "exec_role", "exec_alias"])
def test_main_job__under_the_roles_of(setup):
    with (
        role("setup_app") as app,
        granted_to(app),
        role("setup_owner", create=False) as owner,
        database("setup", app if setup == "one_role" else "") as name,
    ):
        where = address(name)
        run(where, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        if setup != "one_role":
            run(where, f"GRANT CREATE ON SCHEMA public TO {app}")
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.setups.settings",
            "SEGMENTS_SETUP": setup,
            "SEGMENTS_TEST_NAME": name,
            "SEGMENTS_DATABASE": name,
        }
        run_module("tests.setups.prepare", **environment)
        if setup != "one_role":  # So that tests may read the tables that they make.
            run(
                login(where, app),
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {owner}",
            )
        run_suite("--reuse-db", "-p", "tests.setups.plugin", *SUITES, **environment)
