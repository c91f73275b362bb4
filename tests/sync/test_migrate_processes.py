"""Migrations while another process refreshes, migrates or reads: no view is ever lost."""

import os
import re
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import close_old_connections, connection, connections

from segments.models import Segment
from segments.sync.detach import attached
from tests.conftest import USERS
from tests.databases import address, database, login, login_role, manage, run
from tests.processes import ROOT
from tests.sync import evolving
from tests.sync.evolving import CALL
from tests.waiting import BLOCKED, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]

REMOVE = "migrations.RemoveField('plan', 'level'),"

REFRESHES = """
SELECT pid FROM pg_stat_activity
WHERE query LIKE 'REFRESH%' AND state = 'active' AND datname = current_database()
"""

TERMINATE = REFRESHES.replace("pid", "pg_terminate_backend(pid)")

SLOW = """
SELECT user_id FROM stock_plan
CROSS JOIN LATERAL pg_sleep(CASE WHEN level = 'slow' THEN 120 ELSE 0 END)
"""
"""A definition that takes two minutes as soon as there is a row of the level `slow`."""


@pytest.fixture
def long(witness, make, relation, query):
    """A segment that takes long to refresh from now on; returns what witnesses that it stays."""
    make("long", definition=SLOW)
    query("UPDATE stock_plan SET level = 'slow' WHERE score = 9")
    names = ("segments.long", "segments_live.long")
    oids = [relation(name)[0] for name in names]

    def stayed():
        witness()
        assert [relation(name)[0] for name in names] == oids
        assert query("SELECT count(*) FROM segments.long") == [(10,)]

    return stayed


@pytest.fixture
def start(evolve):
    """Run Python code in other processes, which end with the test at the latest."""
    started = []

    def run(code):
        started.append(evolving.start(evolve, code))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def refreshing(long, start, session):
    """Refresh the segment in another process, and wait until its statement runs."""
    watcher = session()

    def run():
        process = start("call_command('refresh_segments', 'long', force=True)")
        until(lambda: watcher.execute(REFRESHES).fetchall() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        return process

    yield run
    watcher.execute(TERMINATE)


def read_until(process, words):
    """Read what a process prints, until it prints these words."""
    printed = ""
    while words not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line


LIVE = {"gold", "long", "other"}
"""The segments, all of which are attached when nothing has changed."""


def refresh():
    assert Segment.objects.get(slug="gold").refresh(force=True).status == "refreshed"


def save():
    gold = Segment.objects.get(slug="gold")
    gold.definition += " AND score < 99"
    gold.save()
    assert gold.members_live.count() == 5


def create():
    fields = {"name": "New", "slug": "new", "definition": "SELECT user_id FROM stock_plan"}
    Segment.objects.create(**fields, description="reads the level").refresh(force=True)
    refresh()


def synchronize():
    call_command("sync_segments", verbosity=0)


CASES = {
    "remove field": (REMOVE, None),
    "remove model": ("migrations.DeleteModel('Plan'),", None),
    "rename, then remove": (
        "migrations.RenameField('plan', 'level', 'tier'), migrations.RemoveField('plan', 'tier'),",
        None,
    ),
    "refresh": (CALL + REMOVE, refresh),
    "save": (CALL + REMOVE, save),
    "create": (CALL + REMOVE, create),
    "sync": (CALL + REMOVE, synchronize),
    "between": ("migrations.AddField('plan', 'note', models.TextField(default='')),"
                + CALL + REMOVE, refresh),
    "state": (
        f"migrations.SeparateDatabaseAndState(database_operations=[{CALL}{REMOVE}],"
        f"state_operations=[{REMOVE}]),",
        refresh,
    ),
    "cascade": (
        CALL + "migrations.RunSQL('ALTER TABLE stock_plan DROP COLUMN level CASCADE'),", refresh,
    ),
    "cascade, second": (
        CALL + "migrations.RunSQL('UPDATE stock_plan SET score = score;"
        "SET CONSTRAINTS ALL IMMEDIATE; DROP TABLE stock_plan CASCADE'),",
        refresh,
    ),
    "cascade, in a block": (
        CALL + "migrations.RunSQL('-- Level is gone.\\nDO $$BEGIN "
        "ALTER TABLE stock_plan DROP COLUMN level CASCADE; END$$'),",
        refresh,
    ),
}  # fmt: skip


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "steps"])
@pytest.mark.parametrize(("operations", "function"), CASES.values(), ids=CASES)
def test_nothing_is_lost__while_another_process_refreshes(
    operations, function, atomic, long, refreshing, evolve, settings, monkeypatch
):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    if function:
        monkeypatch.setattr(evolving, "during", function)
    process = refreshing()
    out = evolve(operations, atomic=atomic)
    long()
    assert "Waiting for the refresh of long (process " in out
    assert "Cancelled the refresh of long (process " in out
    assert ", since 2" in out
    assert "canceling statement due to user request" in process.communicate()[0]
    assert not connection.execute_wrappers


def test_killed_refresh__whose_statement_goes_on(long, refreshing, evolve, settings, query):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    process = refreshing()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert query(REFRESHES)
    out = evolve(REMOVE)
    long()
    assert "Cancelled the refresh of long" in out


def test_killed_refresh__while_migrate_waits(long, refreshing, evolve, start, query):
    process = refreshing()
    evolve.write(REMOVE)
    migrate = start("call_command('migrate', 'stock')")
    read_until(migrate, "Waiting for the refresh of long")
    process.send_signal(signal.SIGKILL)
    query(TERMINATE)
    assert "Cancelled" not in migrate.communicate()[0]
    assert migrate.returncode == 0
    long()


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "steps"])
def test_fake__while_another_process_refreshes(long, refreshing, evolve, settings, query, atomic):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    refreshing()
    assert "FAKED" in evolve(REMOVE, atomic=atomic, fake=True)
    long()
    assert set(attached(connection)) == LIVE
    assert query("SELECT count(level) FROM stock_plan") == [(10,)]


def test_squashed__while_another_process_refreshes(
    long, refreshing, evolve, settings, monkeypatch
):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    monkeypatch.setattr(evolving, "during", refresh)
    note = "migrations.AddField('plan', 'note', models.TextField(default='')),"
    evolve.write(note, CALL, name="0002_note")
    evolve.write(REMOVE, name="0003_level", after="0002_note")
    evolve.write(note, CALL, REMOVE, name="0002_both", replaces=["0002_note", "0003_level"])
    refreshing()
    assert "Applying stock.0002_both... OK" in evolve()
    long()


def test_backwards__while_another_process_refreshes(
    long, refreshing, evolve, settings, monkeypatch, query
):
    monkeypatch.setattr(evolving, "during", refresh)
    evolve(
        "migrations.AddField('plan', 'note', models.TextField(default='')),",
        "migrations.RunPython(migrations.RunPython.noop, call),",
    )
    gold = Segment.objects.get(slug="gold")
    gold.definition += " AND note = ''"
    gold.save()
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    refreshing()
    evolve(migration_name="0001_initial")
    long()
    columns = "SELECT 1 FROM information_schema.columns WHERE table_name = 'stock_plan'"
    assert len(query(columns)) == 4


CLOSERS = {
    "close": lambda: connection.close(),
    "close all": connections.close_all,
    "close old": close_old_connections,
    "unlock": lambda: connection.cursor().execute("SELECT pg_advisory_unlock_all()"),
}


@pytest.mark.parametrize("closer", CLOSERS.values(), ids=CLOSERS)
def test_closed_connection__and_a_refresh_attaches(closer, long, start, evolve, monkeypatch):
    outputs = []

    def lose():
        closer()
        process = start("call_command('refresh_segments', 'gold', force=True)")
        outputs.append(process.communicate()[0])

    monkeypatch.setattr(evolving, "during", lose)
    out = evolve(CALL, REMOVE, atomic=False)
    assert "gold: 5 members, +0 -0" in outputs[0]
    assert "Waiting" not in out
    long()


@pytest.mark.parametrize("closer", CLOSERS.values(), ids=CLOSERS)
def test_closed_connection__and_a_refresh_runs_long(
    closer, long, refreshing, evolve, monkeypatch, settings
):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3

    def lose():
        closer()
        refreshing()

    monkeypatch.setattr(evolving, "during", lose)
    out = evolve(CALL, REMOVE, atomic=False)
    assert "Cancelled the refresh of long (process " in out
    long()


def test_closed_connection__is_noticed_by_the_next_statement(long, start, evolve, monkeypatch):
    outputs = []

    def lose():
        connection.close()
        assert Segment.objects.count() == 3
        assert attached(connection) == []
        process = start("call_command('refresh_segments', 'gold', force=True)")
        outputs.append(process.communicate()[0])

    monkeypatch.setattr(evolving, "during", lose)
    evolve(CALL, REMOVE, atomic=False)
    assert "gold: skipped, it is detached" in outputs[0]
    long()


def test_closed_connection__that_a_pool_keeps(long, start, evolve, monkeypatch):
    """Its session goes on, and still has the lock."""
    outputs, pool = [], []

    def give_back():
        pool.append(connection.connection)
        connection.connection = None
        process = start("call_command('refresh_segments', 'gold', force=True)")
        outputs.append(process.communicate()[0])

    monkeypatch.setattr(evolving, "during", give_back)
    out = evolve(CALL, REMOVE, CALL, atomic=False)
    assert "Waiting" not in out
    assert [each.closed for each in pool] == [False, False]
    assert all("gold: skipped, it is detached" in output for output in outputs)
    assert set(attached(connection)) == {"other"}
    long()
    for each in pool:
        each.close()


HOLD = 'migrations.RunSQL("SELECT pg_advisory_lock(7)"),'

WAITS = f"{BLOCKED} AND mode = %s"


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "steps"])
def test_two_migrations__where_the_second_waits_in_vain(
    atomic, long, start, evolve, session, settings, query
):
    evolve.write(HOLD, REMOVE, atomic=atomic)
    holder = session()
    holder.execute("SELECT pg_advisory_lock_shared(7)")
    first = start("call_command('migrate', 'stock')")
    until(lambda: query(WAITS, "ExclusiveLock") == [(1,)])
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    with pytest.raises(
        CommandError, match="(?s)^No migration was run: another migration .process"
    ):
        evolve()
    assert attached(connection) == []
    long()
    holder.execute("SELECT pg_advisory_unlock_all()")
    assert "OK" in first.communicate()[0]
    assert first.returncode == 0
    long()


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "steps"])
def test_two_migrations__where_the_second_comes_after(atomic, long, start, evolve, session, query):
    evolve.write(HOLD, REMOVE, atomic=atomic)
    holder = session()
    holder.execute("SELECT pg_advisory_lock_shared(7)")
    first = start("call_command('migrate', 'stock')")
    until(lambda: query(WAITS, "ExclusiveLock") == [(1,)])
    second = start("call_command('migrate', 'stock')")
    read_until(second, "Waiting for another migration (process ")
    holder.execute("SELECT pg_advisory_unlock_all()")
    assert first.communicate()[0]
    assert first.returncode == 0
    # What it wants to do has been done, as ever with Django.
    assert 'column "level" of relation "stock_plan" does not exist' in second.communicate()[0]
    long()


STOPPERS = {
    "a reader of the live view": "SELECT count(*) FROM segments_live.gold",
    "a refresh by hand that is not committed": "REFRESH MATERIALIZED VIEW segments.other",
    "a lock": "LOCK TABLE segments_live.long IN ACCESS SHARE MODE",
}


@pytest.mark.parametrize("statement", STOPPERS.values(), ids=STOPPERS)
def test_stopped__when_a_transaction_does_not_end(
    statement, long, evolve, session, settings, relation, query
):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    before = [relation(f"segments_live.{slug}") for slug in ("gold", "long")]
    other = session()
    with other.transaction():
        other.execute(statement)
        with pytest.raises(CommandError, match="^No migration was run: .*process") as caught:
            evolve(REMOVE)
        assert f"process {other.info.backend_pid}" in str(caught.value)
        assert ", since 2" in str(caught.value)
    long()
    assert [relation(f"segments_live.{slug}") for slug in ("gold", "long")] == before
    assert set(attached(connection)) == LIVE
    assert query("SELECT count(level) FROM stock_plan") == [(10,)]
    assert not connection.execute_wrappers
    assert Segment.objects.get(slug="gold").refresh(force=True).status == "refreshed"
    evolve()
    long()


def test_stopped__when_a_transaction_has_refreshed_and_goes_on(long, evolve, start, settings):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    process = start(
        "from django.db import transaction; from segments.models import Segment; import sys\n"
        "with transaction.atomic():\n"
        "    Segment.objects.get(slug='gold').refresh(force=True)\n"
        "    print('HERE', flush=True); sys.stdin.read()"
    )
    assert process.stdout.readline() == "HERE\n"
    with pytest.raises(CommandError, match="^No migration was run: a transaction .process"):
        evolve(REMOVE)
    assert set(attached(connection)) == LIVE
    process.communicate()
    assert process.returncode == 0
    evolve()
    long()


def test_refresh_by_hand__is_cancelled(long, evolve, settings, query):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.3
    code = (
        "import psycopg, sys\n"
        "statement = 'REFRESH MATERIALIZED VIEW CONCURRENTLY segments.long'\n"
        "psycopg.connect(sys.argv[1]).execute(statement)"
    )
    where = address(connection.settings_dict["NAME"])
    process = subprocess.Popen(
        [sys.executable, "-c", code, where], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    until(lambda: query(REFRESHES))
    out = evolve(REMOVE)
    assert "canceling statement due to user request" in process.communicate()[1]
    assert "Cancelled the refresh of long" in out
    long()


def test_segment__that_another_process_creates_meanwhile(
    long, evolve, start, settings, query, relation
):
    """Its views are not there yet when migrate begins."""
    settings.SEGMENTS_LOCK_TIMEOUT = 30
    process = start(
        "from django.db import transaction; from segments.models import Segment; import sys\n"
        "with transaction.atomic():\n"
        "    Segment.objects.create(name='New', slug='new', "
        "definition='SELECT user_id FROM stock_plan WHERE level = \\'gold\\'')\n"
        "    print('HERE', flush=True); sys.stdin.read()"
    )
    assert process.stdout.readline() == "HERE\n"
    evolve.write(REMOVE)
    migrate = start("call_command('migrate', 'stock')")
    read_until(migrate, "Waiting for a transaction (process ")
    process.communicate()
    assert process.returncode == 0
    created = until(lambda: relation("segments.new"))
    assert 'Warning: segment "new": column "level" does not exist' in migrate.communicate()[0]
    assert migrate.returncode == 0
    assert relation("segments.new")[0] == created[0]
    assert query("SELECT count(*) FROM segments.new") == [(5,)]
    long()


def python(where, code):
    """Run Python code in another process, on another database."""
    setup = (
        "import django; django.setup(); from django.conf import settings;"
        "settings.SEGMENTS_LOCK_TIMEOUT = 0.3; from django.core.management import call_command;"
        "from segments.models import Segment;"
    )
    return subprocess.Popen(
        [sys.executable, "-c", setup + code],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "DATABASE_URL": where, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )  # fmt: skip


def test_stopped__when_the_refresh_may_not_be_cancelled():
    """A role without pg_signal_backend cannot cancel the refresh of a superuser."""
    look = (
        "SELECT c.oid, c.relacl::text, obj_description(c.oid) FROM pg_class AS c "
        "JOIN pg_attribute ON attrelid = 'stock_plan'::regclass AND attname = 'level' "
        "WHERE c.oid IN (to_regclass('segments.vip'), to_regclass('segments_live.vip')) ORDER BY 1"
    )
    with login_role("migrates") as role, database("refused", owner=role) as name:
        where = address(name)
        manage(login(where, role), "migrate")
        definition = (
            f"SELECT id FROM {USERS} CROSS JOIN LATERAL "
            "pg_sleep(CASE WHEN is_staff THEN 120 ELSE 0 END) "
            "WHERE id NOT IN (SELECT user_id FROM stock_plan)"
        )
        created = python(
            login(where, role),
            "from django.contrib.auth import get_user_model;"
            "get_user_model().objects.create(username='u0');"
            f"Segment.objects.create(name='VIP', slug='vip', definition={definition!r})",
        )
        assert (created.communicate()[0], created.returncode) == ("", 0)
        run(where, f"UPDATE {USERS} SET is_staff = true")
        before = run(where, look)
        refresh = python(where, "Segment.objects.get().refresh(force=True)")
        try:
            until(lambda: run(where, REFRESHES))
            migrate = python(login(where, role), "call_command('migrate', 'stock', 'zero')")
            printed = migrate.communicate()[0]
            assert "Waiting for the refresh of vip (process " in printed
            assert "CommandError: No migration was run: the refresh of vip (process " in printed
            assert re.search("cancel (query|superuser)", printed)
            assert migrate.returncode == 1
            assert run(where, look) == before
            assert len(before) == 2
            assert refresh.poll() is None
        finally:
            refresh.kill()
            refresh.communicate()
        run(where, TERMINATE)
        migrate = python(login(where, role), "call_command('migrate', 'stock', 'zero')")
        assert (
            'Warning: segment "vip": relation "stock_plan" does not exist'
            in migrate.communicate()[0]
        )
        assert migrate.returncode == 0
        assert run(where, "SELECT count(*) FROM segments.vip") == [(1,)]
