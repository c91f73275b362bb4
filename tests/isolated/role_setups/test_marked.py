"""The tests with the marker `roles`, under the restricted roles of three set-ups.

A set-up is another project: its settings name other logins, and its migrations run as one of them
before the tests. Each set-up therefore has a database, and a process for pytest, to itself.
"""

from contextlib import contextmanager

import pytest

from demo.postgres import database_url
from tests.databases import address, database, login, login_role, run
from tests.processes import run_module, run_suite

pytestmark = pytest.mark.slow


@contextmanager
def granted_to(app):
    """Drop the roles that tests have created for the application."""
    yield
    granted = f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{app}'::regrole"
    for (name,) in run(database_url(), granted):
        run(database_url(), f"DROP ROLE {name}")


@pytest.mark.parametrize("setup", ["one_role", "exec_role", "exec_alias"])
def test_roles__of_a_setup(setup):
    with (
        login_role("setup_app") as app,
        granted_to(app),
        login_role("setup_owner", create=False) as owner,
        database("setup", app if setup == "one_role" else "") as name,
    ):
        where = address(name)
        run(where, f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
        if setup != "one_role":
            run(where, f"GRANT CREATE ON SCHEMA public TO {app}")
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.isolated.role_setups.settings",
            "SEGMENTS_SETUP": setup,
            "SEGMENTS_TEST_NAME": name,
            "SEGMENTS_DATABASE": name,
        }
        run_module("tests.isolated.role_setups.prepare", **environment)
        if setup != "one_role":  # Lets the owner read the tables that tests create.
            run(
                login(where, app),
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {owner}",
            )
        plugin = "tests.isolated.role_setups.plugin"
        run_suite("--reuse-db", "-p", plugin, "-m", "roles", **environment)
