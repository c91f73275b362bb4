"""Schema changes: migrations of tables that segments read."""

import os
import re
import signal
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from psycopg import sql

from segments import conf, sync
from segments.exceptions import SegmentExecutionError, SegmentLockedError
from segments.models import Segment, Status
from segments.sync.migrate import _may_change_schema
from tests.processes import run_suite
from tests.sync import evolving
from tests.sync.evolving import CALL
from tests.waiting import LOCKS, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]


def attached():
    return [entry for entry in sync.check() if entry] == []


HARMLESS = {
    "alter type": "migrations.AlterField('plan', 'score', models.BigIntegerField()),",
    "widen": "migrations.AlterField('plan', 'level', models.CharField(max_length=200)),",
    "add": "migrations.AddField('plan', 'note', models.TextField(default='')),",
    "index": "migrations.AddIndex('plan', models.Index(fields=['level'], name='by_level')),",
    "remove another model": "migrations.DeleteModel('Visit'),",
    "null": "migrations.AlterField('plan', 'score', models.IntegerField(null=True)),",
    "sql": "migrations.RunSQL('ALTER TABLE stock_plan ALTER level TYPE text'),",
}


@pytest.mark.parametrize("operation", HARMLESS.values(), ids=HARMLESS)
def test_change__that_the_definition_survives(operation, witness, evolve):
    out = evolve(operation)
    witness()
    assert attached()
    assert "Warning" not in out
    assert Segment.objects.get(slug="gold").refresh().status == "refreshed"


GONE = {
    "remove column": (
        "migrations.RemoveField('plan', 'level'),",
        'column "level" does not exist', "column stock_plan.level is gone",
    ),
    "remove model": (
        "migrations.DeleteModel('Plan'),",
        'relation "stock_plan" does not exist', "table stock_plan is gone",
    ),
    "rename column": (
        "migrations.RenameField('plan', 'level', 'tier'),",
        'column "level" does not exist', "column stock_plan.level is now tier",
    ),
    "rename table": (
        "migrations.RenameModel('Plan', 'Tariff'),",
        'relation "stock_plan" does not exist', "table stock_plan is now stock_tariff",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "says", "explains"), GONE.values(), ids=GONE)
def test_change__that_breaks_the_definition_keeps_the_members(
    operation, says, explains, witness, evolve, users, query
):
    out = evolve(operation)
    witness()
    assert f'Warning: segment "gold": {says}' in out
    assert explains in out
    assert 'segment "other"' not in out
    gold = Segment.objects.get(slug="gold")
    assert gold.status == Status.FAILED
    assert says in gold.last_error
    assert query("SELECT status FROM segments.catalog WHERE slug = 'gold'") == [("failed",)]
    assert users[0].is_member(gold)
    (entry,) = sync.check()
    assert explains in entry.what
    assert says in str(entry.error)
    with pytest.raises(
        SegmentExecutionError, match='(?s)^segment "gold" is detached.*sync_segments'
    ):
        users[0].is_member_live(gold)
    gold.definition = "SELECT id FROM accounts_segmentableuser WHERE username < 'u3'"
    gold.save()
    witness(3)
    assert attached()


@pytest.mark.roles
def test_manager_method__follows_a_renamed_column(plans, make, evolve, users, monkeypatch, query):
    from django.contrib.contenttypes.models import ContentType

    from tests.stock.models import Plan

    segment = make(manager_method="all", model=ContentType.objects.get_for_model(Plan))
    # The code that is deployed with the migration uses the new name.
    monkeypatch.setattr(Plan._meta, "db_table", "stock_renamed")
    out = evolve("migrations.AlterModelTable('Plan', 'stock_renamed'),")
    assert "Warning" not in out
    assert attached()
    query("DELETE FROM stock_renamed WHERE score > 6")
    assert segment.refresh().members_count == 7


def test_rename__outside_of_migrations_shows_in_the_live_view(plans, make, query):
    segment = make("gold", definition="SELECT user_id FROM stock_plan WHERE level = 'gold'")
    query("ALTER TABLE stock_plan RENAME TO stock_renamed")
    try:
        (entry,) = sync.check()
        assert 'relation "stock_plan" does not exist' in str(entry.error)
        assert "FROM stock_renamed" in "".join(entry.what)
        assert segment.members_live.count() == 5
    finally:
        query("ALTER TABLE stock_renamed RENAME TO stock_plan")


def during(monkeypatch, function):
    """Let a migration call a function in a thread, which has its own connections."""
    seen = []

    def call():
        def work():
            try:
                seen.append(function())
            finally:
                connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=30)

    monkeypatch.setattr(evolving, "during", call)
    return seen


@pytest.mark.roles(
    "one_role", "exec_role", reason="with an alias, a row is saved before its views, which fail"
)
def test_during__members_stay_readable_and_refreshes_stand_aside(
    witness, evolve, users, monkeypatch
):
    def look():
        gold = Segment.objects.get(slug="gold")
        answers = [users[0].is_member(gold), users[9].is_member("gold"), len(gold)]
        answers.append(gold.refresh().status)
        with pytest.raises(SegmentExecutionError, match='"gold" is detached'):
            users[0].is_member_live(gold)
        with pytest.raises(SegmentLockedError, match="a migration is running"):
            Segment.objects.create(name="x", slug="x", static_ids=[])
        gold.definition += " AND score < 3"
        with pytest.raises(SegmentLockedError, match="a migration is running"):
            gold.save()
        gold.refresh_from_db()
        gold.priority = 5
        gold.save()
        answers.append(gold.refreshes.count())
        out = StringIO()
        call_command("refresh_segments", stdout=out)
        answers.append(out.getvalue().splitlines()[0])
        return answers

    seen = during(monkeypatch, look)
    evolve(CALL, HARMLESS["alter type"], atomic=False)
    assert seen == [
        [True, False, 5, "detached", 1,
         "gold: skipped, it is detached from its tables by a schema change"]
    ]  # fmt: skip
    witness()
    assert attached()
    assert Segment.objects.get(slug="gold").refresh().status == "refreshed"


@pytest.mark.roles
def test_during__a_manual_refresh_fails_and_keeps_the_rows(witness, evolve, monkeypatch, session):
    other = session(conf.exec_connection())

    def look():
        with pytest.raises(Exception, match='segment "gold" is detached') as caught:
            other.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY segments.gold")
        return caught.value.diag.message_hint

    seen = during(monkeypatch, look)
    evolve(CALL, HARMLESS["widen"], atomic=False)
    assert "sync_segments" in seen[0]
    witness()


@pytest.mark.slow
def test_running_refresh__is_waited_for(witness, evolve, make):
    make("slow", definition="SELECT user_id FROM stock_plan WHERE score >= 0")
    Segment.objects.filter(slug="slow").update(
        definition="SELECT user_id FROM stock_plan CROSS JOIN pg_sleep(1.5)"
    )
    process = evolving.start(evolve, "call_command('refresh_segments', 'slow')")
    with connection.cursor() as cursor:
        while process.poll() is None:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'segments: slow' AND query LIKE 'REFRESH%' "
                "AND datname = current_database()"
            )
            if cursor.fetchone()[0]:
                break
    out = evolve(HARMLESS["alter type"])
    assert "slow: 10 members" in process.communicate()[0]
    assert re.search(r"Waiting for the refresh of slow \(process \d+, since \d{4}-", out)
    assert "Cancelled" not in out
    assert "Warning" not in out
    witness()
    assert attached()


def test_lock_of_a_segment__that_is_not_released_stops(witness, evolve, session, settings):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.2
    other = session()
    key = Segment.objects.get(slug="gold").pk
    with other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"segments:{key}"])
        with pytest.raises(CommandError, match="^No migration was run: a transaction .process"):
            evolve(HARMLESS["add"])
    witness()
    assert attached()
    assert "Warning" not in evolve()
    witness()
    assert attached()


ROWS = [
    "SELECT 1", "select a from b;", " INSERT INTO a VALUES (1)", "WITH a AS (SELECT 1) TABLE a",
    "UPDATE a SET b = 1", "DELETE FROM a", 'SAVEPOINT "a"', "ROLLBACK TO SAVEPOINT a",
    sql.SQL("SELECT {}").format(sql.Literal("ALTER TABLE a")),
]  # fmt: skip

DDL = [
    "ALTER TABLE a DROP b", " drop TABLE a", "-- a\nDROP TABLE a", "DO $$BEGIN END$$", "CALL a()",
    "SELECT 1; DROP TABLE a", "UPDATE a SET b = 1; ALTER TABLE a DROP b", "SELECTION", "EXECUTE a",
    "SET search_path = a", b"SELECT 1", sql.SQL("DROP TABLE {}").format(sql.Identifier("a")),
]  # fmt: skip


@pytest.mark.parametrize("statement", ROWS + DDL, ids=str)
def test_guard__asks_before_all_but_rows(statement):
    assert _may_change_schema(statement) == (statement in DDL)


@pytest.mark.roles
def test_failing_migration__leaves_no_wrapper(witness, evolve):
    with pytest.raises(Exception, match="division by zero"):
        evolve("migrations.RunSQL('SELECT 1 / 0'),")
    assert not any(each.execute_wrappers for each in connections.all())
    list(sync.sync())


@pytest.mark.roles
def test_failing_migration__is_repaired_by_the_next_refresh(witness, evolve, users):
    with pytest.raises(Exception, match="division by zero"):
        evolve("migrations.RunSQL('SELECT 1 / 0'),")
    gold = Segment.objects.get(slug="gold")
    assert users[0].is_member(gold)
    with pytest.raises(SegmentExecutionError, match="is detached"):
        users[0].is_member_live(gold)
    assert gold.refresh().status == "refreshed"
    assert users[0].is_member_live(gold)
    assert [entry.slug for entry in sync.check()] == ["other"]
    list(sync.sync())
    assert attached()
    witness()


@pytest.mark.slow
@pytest.mark.parametrize("healer", ["refresh", "sync", "migrate"])
def test_killed_migration__is_repaired_without_a_person(healer, witness, evolve, users, query):
    evolve.write(
        "migrations.RunPython(",
        "    lambda *_: (print('HERE', flush=True), __import__('time').sleep(60))",
        "),",
        atomic=False,
    )
    process = evolving.start(evolve, "call_command('migrate', 'stock')")
    try:
        while "HERE" not in (line := process.stdout.readline()):
            assert line, "the migration ended before it was killed"
        gold = Segment.objects.get(slug="gold")
        assert gold.refresh().status == "detached"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    until(lambda: query(LOCKS) == [(0,)])  # The server notices it after a moment.
    witness()
    if healer == "refresh":
        assert [gold.refresh().status for gold in Segment.objects.all()] == ["refreshed"] * 2
    elif healer == "sync":
        call_command("sync_segments", stdout=StringIO())
    else:
        evolve(HARMLESS["alter type"])
    assert attached()
    assert users[0].is_member_live(gold)
    witness()


def test_options__that_migrate_nothing_detach_nothing(witness, evolve, relation):
    evolve.write(HARMLESS["alter type"])
    live = relation("segments_live.gold")
    call_command("migrate", "stock", plan=True, stdout=StringIO())
    with pytest.raises(SystemExit):
        call_command("migrate", "stock", check_unapplied=True, stdout=StringIO())
    call_command("migrate", "accounts", verbosity=0)
    assert relation("segments_live.gold") == live
    assert attached()
    evolve(HARMLESS["alter type"], fake=True)
    assert attached()
    witness()


def test_database__of_another_alias_is_left_alone(witness, evolve, tmp_path):
    from segments.sync.migrate import after_migrate, before_migrate

    connections.settings["lite"] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "lite"), "OPTIONS": {},
    }  # fmt: skip
    try:
        before_migrate(using="lite", plan=[(None, False)])
        after_migrate(using="lite", plan=[(None, False)])
        assert attached()
    finally:
        connections["lite"].close()
        del connections.settings["lite"]


@pytest.mark.roles
def test_flush__drops_the_views_along(plans, make, relation):
    make("gold", definition="SELECT user_id FROM stock_plan")
    make("other", definition="SELECT user_id FROM segments.gold")
    call_command("flush", interactive=False, verbosity=0)
    assert relation("segments.gold") is None
    assert relation("segments.other") is None
    assert attached()


@pytest.mark.roles
def test_commands__for_changes_by_hand(witness, query, users):
    out = StringIO()
    call_command("detach_segments", stdout=out)
    assert out.getvalue() == "gold: detached\nother: detached\n"
    gold = Segment.objects.get(slug="gold")
    assert gold.refresh().status == "detached"
    query("ALTER TABLE stock_plan ALTER level TYPE text")
    witness()
    call_command("sync_segments", stdout=StringIO())
    assert attached()
    assert gold.refresh().status == "refreshed"
    out = StringIO()
    call_command("detach_segments", "gold", stdout=out)
    assert out.getvalue() == "gold: detached\n"
    assert [entry.slug for entry in sync.check()] == ["gold"]
    list(sync.sync())


@pytest.mark.roles(
    "one_role", "exec_role", reason="there a failure after the commit is stored on the row"
)
def test_save__of_a_detached_segment_is_refused(witness):
    call_command("detach_segments", stdout=StringIO())
    gold = Segment.objects.get(slug="gold")
    definition = gold.definition
    gold.definition += " AND score < 9"
    with pytest.raises(SegmentLockedError, match="(?s)detached.*sync_segments"):
        gold.save()
    assert Segment.objects.get(slug="gold").definition == definition
    call_command("sync_segments", stdout=StringIO())
    witness()
    assert attached()


@pytest.mark.roles
def test_find_segments__names_what_reads_a_table_or_a_column(witness, query):
    def run(what):
        out = StringIO()
        call_command("find_segments", what, stdout=out)
        return out.getvalue().splitlines()

    bi = [line for line in run("stock_plan") if line.startswith("view")]
    assert len(bi) == 1
    assert bi[0].startswith("view bi of bi_")
    for what in ("stock_plan", "stock_plan.level", "public.stock_plan", "public.stock_plan.score"):
        assert run(what) == ["segment gold", "segment other", *bi]
    assert run("stock_plan.id") == ["No segment reads stock_plan.id."]
    assert run("stock_visit") == ["No segment reads stock_visit."]
    with pytest.raises(CommandError, match="no table or column nowhere.at.all"):
        run("nowhere.at.all")


@pytest.mark.roles
def test_segment__may_be_saved_and_refreshed_in_a_migration(plans, evolve, monkeypatch):
    def work():
        segment = Segment.objects.create(
            name="New", slug="new", definition="SELECT user_id FROM stock_plan"
        )
        assert segment.refresh(force=True).status == "refreshed"

    monkeypatch.setattr(evolving, "during", work)
    evolve(CALL, atomic=False)
    assert len(Segment.objects.get()) == 10
    assert attached()


def refresh_gold():
    assert Segment.objects.get(slug="gold").refresh(force=True).status == "refreshed"


def save_gold():
    gold = Segment.objects.get(slug="gold")
    gold.definition += " AND score < 99"
    gold.save()


@pytest.mark.roles
@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "steps"])
@pytest.mark.parametrize("function", [refresh_gold, save_gold])
def test_segment__that_a_migration_attaches_is_kept(
    function, atomic, witness, evolve, monkeypatch
):
    monkeypatch.setattr(evolving, "during", function)
    out = evolve(CALL, "migrations.RemoveField('plan', 'level'),", atomic=atomic)
    assert 'Warning: segment "gold": column "level" does not exist' in out
    witness()


@pytest.mark.roles
@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_exec_connection__is_that_which_detaches_and_attaches(exec_alias, witness, evolve):
    out = evolve(HARMLESS["alter type"])
    assert "Warning" not in out
    witness()
    assert attached()


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_exec_connection__without_its_role_is_reported(exec_alias, evolve, monkeypatch):
    connections["exec"].close()
    monkeypatch.setitem(connections["exec"].settings_dict, "USER", "no such role")
    out = evolve(HARMLESS["alter type"])
    assert out.count("Warning: connection") == 2
    assert 'role "no such role" does not exist' in out
    monkeypatch.undo()


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_exec_connection__without_its_role_stops(exec_alias, witness, evolve, monkeypatch):
    """Otherwise a migration could drop the views that are attached."""
    connections["exec"].close()
    monkeypatch.setitem(connections["exec"].settings_dict, "USER", "no such role")
    with pytest.raises(CommandError, match='^No migration was run: .*role "no such role"'):
        evolve("migrations.RemoveField('plan', 'level'),")
    monkeypatch.undo()
    connections["exec"].close()
    witness()
    assert attached()


def test_serialisation__by_a_test_runner_restores_segments(users, make):
    make("listed", static_ids=users[:2])
    data = connection.creation.serialize_db_to_string()
    call_command(
        "flush", interactive=False, verbosity=0, inhibit_post_migrate=True, reset_sequences=False
    )
    connection.creation.deserialize_db_from_string(data)
    list(sync.sync())
    segment = Segment.objects.get()
    assert set(segment.member_ids()) == {user.pk for user in users[:2]}
    assert segment.refresh().status == "refreshed"
    assert attached()


@pytest.mark.slow
def test_database__that_a_test_runner_keeps_works_again(tmp_path):
    name = f"test_kept_{os.getpid()}"
    try:
        for _ in range(2):
            run_suite(
                "tests/isolated/user_models/test_main_job.py",
                "--reuse-db",
                "-k",
                "test_sql or test_static_ids",
                SEGMENTS_TEST_USER="user_models.BigUser",
                SEGMENTS_TEST_NAME=name,
            )
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")


@pytest.mark.roles
def test_detaching__is_committed_before_it_is_printed(witness, session):
    other = session(conf.exec_connection())
    detaching = sync.detach()
    assert next(detaching).slug == "gold"
    with pytest.raises(Exception, match='segment "gold" is detached'):
        other.execute("SELECT * FROM segments_live.gold")
    detaching.close()
    list(sync.sync())
    assert attached()


@pytest.mark.roles("one_role", "exec_role", reason="the other login does not own the tables")
@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_migrate__of_another_alias_of_the_database_does_the_same(witness, evolve, monkeypatch):
    """Such as an alias that goes past a connection pool; refreshes are skipped meanwhile."""
    results = []

    def refresh():
        results.append(Segment.objects.get(slug="gold").refresh().status)

    monkeypatch.setattr(evolving, "during", refresh)
    evolve(
        "migrations.AlterField('plan', 'level', models.CharField(max_length=200)),",
        CALL,
        database="exec",
    )
    assert results == ["detached"]
    assert sync.check() == []
    assert Segment.objects.get(slug="gold").refresh(force=True).status == "refreshed"
    connections["exec"].close()
