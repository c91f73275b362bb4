"""Every command without its database: what is wrong, what to do, and no traceback."""

import json

import psycopg
import pytest

from tests.databases import PASSWORD
from tests.processes import run_module
from tests.servers import Server

COMMANDS = {
    "refresh_segments": [],
    "refresh_segments --jobs": ["--jobs", "2"],
    "list_segments": [],
    "sync_segments": [],
    "sync_segments --check": ["--check"],
    "detach_segments": [],
    "drop_segments": ["--yes"],
    "forget_user": ["1"],
    "find_segments": ["shop_order"],
    "grant_segments": ["--role", "x", "--app-role", "y"],
}

RUN_ALL = """
import contextlib, io, json, os, sys
import django
from django.conf import settings
from django.core.management import ManagementUtility
settings.DATABASES["default"].update(json.loads(os.environ["ENTRY"]))
settings.DATABASES["exec"] = settings.DATABASES["default"]
django.setup()
results = {}
for name, arguments in json.loads(os.environ["COMMANDS"]).items():
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            ManagementUtility(["manage.py", name.split()[0], *arguments]).execute()
        except SystemExit as ending:
            code = ending.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    results[name] = [code, out.getvalue(), err.getvalue()]
json.dump(results, sys.stdout)
"""


def run_all(tmp_path, **entry):
    """Run all commands in one process, on another database; return (code, out, err) of each."""
    (tmp_path / "run_all.py").write_text(RUN_ALL)
    done = run_module(
        "run_all",
        PYTHONPATH=str(tmp_path),
        DJANGO_SETTINGS_MODULE="tests.settings",
        ENTRY=json.dumps(entry),
        COMMANDS=json.dumps(COMMANDS),
    )
    return json.loads(done.stdout)


def check(results, says, hint):
    for name, (code, out, err) in results.items():
        assert (name, code, out) == (name, 1, "")
        first, second = err.splitlines()
        assert says in first, name
        assert first.startswith("CommandError: connection failed: "), name
        assert second == f"Hint: {hint}", name


@pytest.mark.slow
def test_commands__without_a_server(tmp_path):
    results = run_all(tmp_path, HOST="127.0.0.1", PORT="1", NAME="x", USER="x", OPTIONS={})
    hint = "Check that PostgreSQL is running, and HOST and PORT in DATABASES."
    check(results, 'server at "127.0.0.1", port 1 failed: Connection refused', hint)


@pytest.fixture(scope="module")
def guarded():
    """A server that asks the role `guarded` for a password."""
    with Server() as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
            rules = server.home / "data" / "pg_hba.conf"
            rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
            connection.execute("SELECT pg_reload_conf()")
        yield {"HOST": str(server.home), "PORT": str(server.port), "OPTIONS": {}}


@pytest.mark.slow
@pytest.mark.parametrize("password", ["wrong", ""])
def test_commands__with_a_wrong_password(password, guarded, tmp_path):
    login = guarded | {"USER": "guarded", "PASSWORD": password, "NAME": "postgres"}
    results = run_all(tmp_path, **login)
    hint = "Check USER and PASSWORD in DATABASES, and which logins the server accepts."
    check(results, "password", hint)


@pytest.mark.slow
def test_commands__with_a_wrong_role(guarded, tmp_path):
    results = run_all(tmp_path, **guarded, USER="nobody_else", NAME="postgres")
    hint = "Check USER and PASSWORD in DATABASES, and which logins the server accepts."
    check(results, 'role "nobody_else" does not exist', hint)


@pytest.mark.slow
def test_commands__with_a_wrong_name(guarded, tmp_path):
    login = guarded | {"USER": "guarded", "PASSWORD": PASSWORD, "NAME": "nowhere"}
    hint = "Check NAME in DATABASES, or create this database."
    check(run_all(tmp_path, **login), 'database "nowhere" does not exist', hint)


@pytest.mark.slow
def test_commands__on_sqlite(tmp_path):
    results = run_all(tmp_path, ENGINE="django.db.backends.sqlite3", NAME=":memory:", OPTIONS={})
    for name, (code, _, err) in results.items():
        assert code == 1, name
        assert 'segments needs PostgreSQL, and "default" is SQLite.' in err, name
        assert "HINT: Change DATABASES" in err, name
        assert "Traceback" not in err, name
