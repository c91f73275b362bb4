"""docs/dba.md: its SQL and its commands run, its lists of objects and locks are right."""

import re
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from django.db import transaction

from segments import sync
from segments.models import Segment
from tests.conftest import USERS
from tests.databases import address, database, manage, program, run

PAGE = (Path(__file__).parent.parent / "docs" / "dba.md").read_text()
SESSIONS = re.findall(r"```psql\n(.*?)```", PAGE, re.DOTALL)


def section(title):
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def psql(where, commands):
    done = subprocess.run(
        [program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-P", "pager=off", "-d", where],
        input=commands, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop():
    """A database with segments of each kind."""
    with database("dba") as name:
        manage(address(name), module="tests.fill")
        yield address(name)


@pytest.fixture
def disposable():
    """Another such database, which a test may change."""
    with database("dba_disposable") as name:
        manage(address(name), module="tests.fill")
        yield address(name)


@pytest.mark.slow
def test_psql__looks_around(shop):
    told = psql(shop, SESSIONS[0])
    assert 'Members of segment "vip" at its last refresh. Big spenders' in told
    assert '"vip_user_id_idx" UNIQUE, btree (user_id)' in told
    assert re.search(r"win-back +\| sql +\| +2 \|", told)
    assert re.search(r"inner-circle +\| 20", told)


@pytest.mark.slow
def test_psql__shows_a_running_refresh_and_what_blocks_it(shop):
    with psycopg.connect(shop) as blocker:
        blocker.execute("LOCK TABLE shop_order")
        pid = blocker.info.backend_pid
        command = ("refresh_segments", "vip", "--force")
        thread = threading.Thread(target=manage, args=(shop, *command))
        thread.start()
        # Postgres reads the state of a session a moment before what it waits for.
        waiting = rf"segments: vip +\| active +\| Lock .*\{{{pid}\}}"
        while not re.search(waiting, psql(shop, SESSIONS[1])):
            assert thread.is_alive()
        blocker.rollback()
    thread.join()


@pytest.mark.slow
def test_objects__are_all_documented(shop):
    found = run(
        shop,
        "SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname ~ '^segments' OR c.relname ~ '^segments_' AND c.relkind = 'r'",
    )
    slugs = {name for (name,) in run(shop, "SELECT replace(slug, '-', '_') FROM segments_segment")}
    told = section("What is in the database?")
    for schema, name, kind in found:
        # An index keeps its name when the segment is renamed.
        known = kind == "i" or name in slugs
        general = "<slug>" + "_user_id_idx" * (kind == "i") if known else name
        full = general if schema == "public" else f"{schema}.{general}"
        assert f"`{full}`" in told
    functions = run(
        shop,
        "SELECT pronamespace::regnamespace || '.' || proname FROM pg_proc "
        "WHERE pronamespace::regnamespace::text ~ '^segments'",
    )
    for (name,) in functions:
        assert f"`{name}`" in told


@pytest.fixture
def locks(query):
    """Return the locks of this transaction on relations, by OID."""

    def look():
        held = query(
            "SELECT relation::bigint, array_agg(replace(mode, 'Lock', '')) FROM pg_locks "
            "WHERE pid = pg_backend_pid() AND relation IS NOT NULL GROUP BY 1"
        )
        return {oid: set(modes) for oid, modes in held}

    return look


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_locks__are_as_documented(make, users, locks, relation):
    segment = make()
    relevant = {name: relation(name)[0] for name in ("segments.vip", "segments_live.vip")}
    table = relation(USERS)[0]

    def strong(change):
        with transaction.atomic():
            change()
            held = locks()
            transaction.set_rollback(True)
        weak = {"AccessShare", "RowShare", "RowExclusive"}
        assert held.get(table, {"AccessShare"}) == {"AccessShare"}
        return {name: held.get(oid, set()) - weak for name, oid in relevant.items()}

    def change(**fields):
        fresh = Segment.objects.get()
        for name, value in fields.items():
            setattr(fresh, name, value)
        fresh.save()

    assert strong(lambda: segment.has_member(users[0].pk)) == {name: set() for name in relevant}
    held = strong(lambda: segment.refresh(force=True))
    assert held == {"segments.vip": {"Exclusive"}, "segments_live.vip": set()}
    held = strong(lambda: segment.refresh(concurrently=False))
    assert held["segments.vip"] >= {"AccessExclusive"}
    assert held["segments_live.vip"] == set()
    held = strong(lambda: change(definition=f"SELECT id FROM {USERS} LIMIT 1"))
    assert held["segments.vip"] == {"ShareUpdateExclusive", "Exclusive"}
    assert held["segments_live.vip"] >= {"AccessExclusive"}
    held = strong(Segment.objects.get().delete)
    assert all("AccessExclusive" in modes for modes in held.values())
    held = strong(lambda: list(sync.detach()))
    assert held["segments.vip"] == set()
    assert "AccessExclusive" in held["segments_live.vip"]


@pytest.mark.slow
def test_commands__of_data_protection_and_uninstalling_run(disposable):
    lines = re.findall(
        r"^python manage\.py (.*?)(?:  #.*)?$",
        section("Deleted users, and data protection") + section("Uninstall"),
        re.MULTILINE,
    )
    assert [line.strip() for line in lines] == [
        "forget_user 42",
        "drop_segments",
        "migrate segments zero --skip-checks",
    ]
    run(
        disposable, "INSERT INTO segments_staticmember SELECT id, 42 FROM segments_segment LIMIT 1"
    )
    manage(disposable, *lines[0].split())
    assert run(disposable, "SELECT count(*) FROM segments_staticmember WHERE user_id = 42") == [
        (0,)
    ]
    told = manage(disposable, *lines[1].split(), check=False)
    assert told.returncode == 1
    assert "This deletes all segments with their lists" in told.stdout
    manage(disposable, *lines[1].split(), "--yes")
    manage(disposable, *lines[2].split())
    assert run(disposable, "SELECT count(*) FROM pg_class WHERE relname ~ 'segments_'") == [(0,)]
