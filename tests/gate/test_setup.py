"""docs/security.md: its commands run as the roles that it names, on a server of their own.

Some give a role settings, and the next refresh of each segment on the same server is then not
skipped.
"""

import re

import psycopg
import pytest

from tests.databases import PASSWORD, login, run
from tests.own_server import DATABASE, create_database
from tests.processes import ROOT, run_module
from tests.servers import Server

pytestmark = pytest.mark.slow

EXEC_ROLE = ("SEGMENTS_EXEC_ROLE", "segments_exec")
PAGE = (ROOT / "docs" / "security.md").read_text()
PROJECT = """
from tests.accounts.models import SegmentableUser
from tests.shop.models import Order
from django.utils import timezone
for n in range(10):
    user = SegmentableUser.objects.create(username=f"u{n}", password="hash")
    Order.objects.create(user=user, amount=50 * n, placed_at=timezone.now())
"""
USE = """
from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from tests.accounts.models import SegmentableUser
make = Segment.objects.create
definition = "SELECT user_id FROM shop_order WHERE amount > 300"
rich = make(name="Rich", slug="rich", definition=definition)
user = SegmentableUser.objects.get(username="u9")
assert len(rich) == 3 and user.is_member(rich) and user.is_member_live(rich)
assert rich.members_live.count() == 3 and user.is_member("rich")
try:
    secret = "SELECT id FROM accounts_segmentableuser ORDER BY password"
    make(name="x", slug="x", definition=secret)
except SegmentExecutionError as error:
    assert error.sqlstate == "42501"
else:
    raise AssertionError
assert rich.refresh(force=True).members_count == 3
rich.slug = "richer"
rich.save()
"""


def blocks(heading, language):
    """Return the code blocks under a heading, up to the next heading."""
    title = re.escape(heading)
    text = re.search(rf"^#+ {title}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    fenced = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    return [code for written, code in fenced if written == language]


class Project:
    """A database, and commands to run there."""

    def __init__(self, where):
        self.where, self.settings = where, {}

    def manage(self, *args, check=True):
        """Run a command of the project; it logs in as the application's role."""
        done = run_module(
            "django", *args, check=check,
            DATABASE_URL=self.where,
            DJANGO_SETTINGS_MODULE="tests.gate.project",
            **self.settings,
        )  # fmt: skip
        return done.stdout + done.stderr

    def follow(self, heading, *options):
        """Run the commands in a block of the page, line by line."""
        grants = ""
        for line in "".join(blocks(heading, "")).splitlines():
            command = line.partition("#")[0].strip()
            if command.startswith("psql"):
                self.superuser(*filter(str.strip, grants.split(";\n")))
                self.settings.update(options)
                continue
            words = re.findall(r'"[^"]*"|\S+', command.partition(">")[0])
            done = self.manage(*(word.strip('"') for word in words[2:]))
            if "grant_segments" in command:
                grants = done

    def superuser(self, *statements):
        """Run statements as the server's superuser."""
        return run(self.where, *statements)

    def app(self, *statements, role="shop_app"):
        """Run statements as another role."""
        return run(login(self.where, role), *statements)


@pytest.fixture
def project():
    with Server() as server:
        created = Project(create_database(server))
        for role in ("shop_app", "bi"):
            created.superuser(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        created.superuser(f"ALTER DATABASE {DATABASE} OWNER TO shop_app")
        yield created


def owners(project):
    return project.superuser(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class "
        "WHERE relnamespace::regnamespace::text LIKE 'segments%' UNION SELECT "
        "proowner::regrole::text FROM pg_proc "
        "WHERE pronamespace::regnamespace::text LIKE 'segments%'"
    )


def test_role__of_its_own_in_a_new_project(project):
    project.follow("In a new project", EXEC_ROLE)
    assert "no issues" in project.manage("check", "--database", "default")
    project.manage("shell", "-c", PROJECT)
    project.manage("shell", "-c", USE)
    assert "in step" in project.manage("sync_segments", "--check")
    project.manage("migrate", "-v", "0")
    assert owners(project) == [("segments_exec",)]
    assert project.app("SELECT count(*) FROM segments.richer", role="bi") == [(3,)]
    ((*rights, members),) = project.superuser(blocks_of_limits()["SELECT r.rolsuper"])
    assert (rights, members) == ([False] * 4, [])


def test_role__of_its_own_where_there_are_segments(project):
    project.manage("migrate", "-v", "0")
    project.manage("shell", "-c", PROJECT)
    project.manage(
        "shell", "-c",
        "from segments.models import Segment; make = Segment.objects.create\n"
        "make(name='All', slug='all', definition='select * from accounts_segmentableuser')\n"
        "make(name='Old', slug='old', definition='SELECT user_id FROM shop_order')",
    )  # fmt: skip
    project.follow("In a new project", EXEC_ROLE)
    told = project.manage("refresh_segments", "--force", check=False)
    assert "1 of 2 segments failed; their members are kept: all" in told
    assert project.app("SELECT count(*) FROM segments.all") == [(10,)]
    project.manage("shell", "-c", USE)
    assert owners(project) == [("segments_exec",)]


def test_role__of_its_own_is_taken_back(project):
    project.follow("In a new project", EXEC_ROLE)
    project.manage("shell", "-c", PROJECT)
    project.manage("shell", "-c", USE)
    project.follow("Where there are segments already")
    project.follow("How do I take rights back?", ("SEGMENTS_EXEC_ROLE", ""))
    assert owners(project) == [("shop_app",)]
    assert "no issues" in project.manage("check", "--database", "default")
    assert "in step" in project.manage("sync_segments", "--check")
    (drop,) = [code for code in blocks("How do I take rights back?", "sql") if "DROP" in code]
    project.superuser(drop)
    assert project.superuser("SELECT FROM pg_roles WHERE rolname = 'segments_exec'") == []


def test_login__of_its_own(project):
    (create,) = blocks("A login of its own", "sql")
    project.superuser(create)
    project.manage("migrate", "-v", "0")
    project.manage("shell", "-c", PROJECT)
    project.settings["SEGMENTS_EXEC_CONNECTION"] = "exec"
    project.follow("A login of its own")
    project.manage("shell", "-c", USE)
    assert owners(project) == [("segments_exec",)]
    assert f"'{PASSWORD}'" in create


def blocks_of_limits():
    found = blocks("What Postgres cannot stop, and the remedy", "sql")
    return {
        re.match(r"(?:ALTER ROLE|REVOKE EXECUTE|SELECT \S+)", each)[0].rstrip(","): each
        for each in found
    }


def test_remedies__close_what_is_open(project):
    project.follow("In a new project", EXEC_ROLE)
    project.manage("shell", "-c", PROJECT)
    remedies = blocks_of_limits()
    project.superuser(
        "CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = '' "
        "AS 'SELECT min(password) FROM public.accounts_segmentableuser'"
    )
    assert [
        function for function, _ in project.superuser(remedies["SELECT p.oid::regprocedure"])
    ] == ["peek()"]
    call = """
from segments.models import Segment
definition = "SELECT user_id FROM shop_order WHERE public.peek() <> ''"
Segment.objects.create(name="x", slug="x", definition=definition).delete()
"""
    project.manage("shell", "-c", call)
    project.superuser("REVOKE EXECUTE ON FUNCTION peek() FROM PUBLIC")
    assert "permission denied for function peek" in project.manage(
        "shell", "-c", call, check=False
    )
    assert project.superuser(remedies["SELECT p.oid::regprocedure"]) == []
    project.manage("shell", "-c", USE)
    project.superuser(*filter(str.strip, remedies["ALTER ROLE"].split(";\n")))
    assert project.app("SHOW temp_file_limit") == [("5GB",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        project.app("SET temp_file_limit = -1")


def test_listening__by_a_function_ends_with_the_read(project):
    project.follow("In a new project", EXEC_ROLE)
    project.manage("shell", "-c", PROJECT)
    project.superuser(
        "CREATE FUNCTION listening() RETURNS boolean LANGUAGE plpgsql AS "
        "'BEGIN LISTEN segments; RETURN true; END'"
    )
    told = project.manage(
        "shell", "-c",
        "from django.db import connection; from django.test import override_settings\n"
        "from segments.exceptions import SegmentExecutionError\n"
        "from segments.models import Segment\n"
        "from tests.accounts.models import SegmentableUser\n"
        "rich = Segment.objects.create(name='R', slug='r', definition='SELECT 1 AS id')\n"
        "rich.definition = 'SELECT user_id FROM shop_order WHERE public.listening()'\n"
        "with override_settings(SEGMENTS_REFRESH_ON_SAVE=False): rich.save()\n"
        "print('live', rich.has_member_live(SegmentableUser.objects.first()))\n"
        "try: rich.refresh()\n"
        "except SegmentExecutionError as error: print(error.sqlstate)\n"
        "cursor = connection.cursor(); cursor.execute('SELECT pg_listening_channels()')\n"
        "print('heard', cursor.fetchall())\n",
    )  # fmt: skip
    assert "live True\n42501\nheard []" in told


def test_page__names_tests_that_are_there():
    named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", PAGE)
    threats = PAGE.partition("## What is stopped, and by what\n")[2].partition("\n## ")[0]
    rows = [row for row in threats.splitlines() if row.endswith("` |")]
    assert all("`test_" in row.rpartition(" | ")[2] for row in rows)
    assert len(named) >= len(rows) > 9
    for module, test in named:
        files = (ROOT / "tests").rglob(f"{module}.py")
        assert any(f"\ndef {test}(" in path.read_text() for path in files), test
