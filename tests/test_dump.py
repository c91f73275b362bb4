"""pg_dump and pg_restore: what they restore of segments, and what repairs the rest."""

import subprocess
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from tests.databases import address, database, login, login_role, manage, program, run
from tests.fill import MEMBERS

pytestmark = pytest.mark.slow

SURFACE = """
    SELECT n.nspname, c.relname, c.relkind::text, c.relowner::regrole::text, c.relacl::text,
        c.relispopulated, obj_description(c.oid, 'pg_class'), col_description(c.oid, 1),
        pg_get_indexdef(i.indexrelid)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE n.nspname IN ('segments', 'segments_live')
    ORDER BY 1, 2
"""
IN_STEP = "Views and segments are in step.\n"
ENTERED = "SELECT user_id, slug, entered_at FROM segments.membership ORDER BY 1, 2"


@pytest.fixture(scope="module")
def source():
    """A database with segments of each kind, its owner, and a role that may read them."""
    with login_role("dump_owner") as owner, login_role("dump_reader") as reader:
        with database("dump_source", owner) as name:
            where = login(address(name), owner)
            manage(where, module="tests.fill", readers=(reader,))
            run(where, "CREATE VIEW report AS SELECT count(*) AS n FROM segments.vip")
            yield SimpleNamespace(where=where, owner=owner, reader=reader)


@pytest.fixture(scope="module")
def dump(source, tmp_path_factory):
    """A dump of that database."""
    return dumped(source.where, tmp_path_factory.mktemp("dump") / "shop.dump")


@pytest.fixture
def other():
    """Another role that owns a database."""
    with login_role("dump_other") as name:
        yield name


@pytest.fixture
def restore(source):
    """Restore a dump into a new database, which is dropped at the end."""
    with ExitStack() as stack:

        def run_it(file, *options, owner=source.owner, name="dump_target", code=0):
            empty = address(stack.enter_context(database(name, owner)))
            login_as = empty if f"--role={owner}" in options else login(empty, owner)
            done = subprocess.run(
                [program("pg_restore"), *options, "--dbname", login_as, file],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            return SimpleNamespace(where=login(empty, owner), errors=done.stderr)

        yield run_it


def dumped(where, file):
    """Dump a database into a file, and return its path."""
    subprocess.run(
        [program("pg_dump"), "--format=custom", "--file", file, "--dbname", where], check=True
    )
    return file


def members(where):
    return {
        name: [key for (key,) in run(where, f"SELECT user_id FROM segments.{name} ORDER BY 1")]
        for name in MEMBERS
    }


@pytest.mark.parametrize("options", [(), ("--single-transaction",), ("--jobs=2",)])
def test_restore__brings_everything_back(options, source, dump, restore):
    target = restore(dump, *options).where
    assert members(target) == MEMBERS
    assert run(target, SURFACE) == run(source.where, SURFACE)
    assert run(target, ENTERED) == run(source.where, ENTERED)
    assert run(target, "SELECT n FROM report") == [(6,)]
    assert run(target, "SELECT segments.is_member('win-back', 3::bigint)") == [(True,)]
    assert members(login(target, source.reader)) == MEMBERS
    checked = manage(target, "sync_segments", "--check", readers=[source.reader])
    assert checked.stdout == IN_STEP


def test_restore__under_another_owner_needs_grants_put_back(source, dump, other, restore):
    options = ("--no-owner", "--no-privileges", f"--role={other}")
    target = restore(dump, *options, owner=other).where
    assert members(target) == MEMBERS
    assert {owner for _, _, _, owner, *_ in run(target, SURFACE)} == {other}
    readers = [source.reader]
    found = manage(target, "sync_segments", "--check", readers=readers, check=False)
    assert found.returncode == 1
    assert {
        f"{name.replace('_', '-')}: role {source.reader} may not read it" for name in MEMBERS
    } < set(found.stdout.splitlines())
    assert f"role {source.reader} may not read segments.catalog" in found.stdout
    manage(target, "sync_segments", readers=readers)
    assert manage(target, "sync_segments", "--check", readers=readers).stdout == IN_STEP
    reader = login(target, source.reader)
    assert members(reader) == MEMBERS
    assert run(reader, "SELECT count(*) FROM segments.membership") == [(19,)]
    assert run(reader, "SELECT count(*) FROM segments.catalog") == [(5,)]


def test_restore__recomputes_members_and_a_refresh_their_index(source, dump, restore, tmp_path):
    first = restore(dump, name="dump_first").where
    run(first, "UPDATE shop_order SET amount = 1000 WHERE user_id = 2")
    assert members(first) == MEMBERS
    target = restore(dumped(first, tmp_path / "later.dump")).where
    assert members(target) == MEMBERS | {
        "vip": [2, *MEMBERS["vip"]], "large": [2, *MEMBERS["large"]],
    }  # fmt: skip
    assert run(target, ENTERED) == run(source.where, ENTERED)
    checked = manage(target, "sync_segments", "--check", readers=[source.reader])
    assert checked.stdout == IN_STEP
    manage(target, "refresh_segments")
    entered = [(2, "large"), (2, "vip")]
    assert [row[:2] for row in run(target, ENTERED) if row[0] == 2] == entered
    assert [row for row in run(target, ENTERED) if row[0] != 2] == run(source.where, ENTERED)


@pytest.fixture
def detached_dump(dump, restore, tmp_path):
    """Dump a database whose segments are detached from their tables."""

    def make(*slugs):
        where = restore(dump, name="dump_first").where
        manage(where, "detach_segments", *slugs)
        assert members(where) == MEMBERS
        return dumped(where, tmp_path / "detached.dump")

    return make


@pytest.mark.parametrize(
    ("slugs", "empty"), [((), set(MEMBERS)), (("vip",), {"vip", "inner_circle", "win_back"})]
)
def test_restore__of_detached_segments_is_repaired_by_sync(
    slugs, empty, source, detached_dump, restore
):
    target = restore(detached_dump(*slugs), code=1)
    assert target.errors.count("is detached from its tables\n") == len(slugs or MEMBERS)
    unpopulated = "SELECT matviewname::text FROM pg_matviews WHERE NOT ispopulated"
    assert {name for (name,) in run(target.where, unpopulated)} == empty
    readers = [source.reader]
    found = manage(target.where, "sync_segments", "--check", readers=readers, check=False)
    told = dict(line.split(": ", 1) for line in found.stdout.splitlines())
    assert set(told) == {name.replace("_", "-") for name in empty}
    assert all("the materialized view is not populated" in what for what in told.values())
    manage(target.where, "sync_segments", readers=readers)
    assert members(target.where) == MEMBERS
    assert run(target.where, ENTERED) == run(source.where, ENTERED)
    assert run(target.where, SURFACE) == run(source.where, SURFACE)
    checked = manage(target.where, "sync_segments", "--check", readers=readers)
    assert checked.stdout == IN_STEP


def test_restore__of_detached_segments_is_all_or_nothing(detached_dump, restore):
    target = restore(detached_dump(), "--single-transaction", code=1)
    assert run(target.where, SURFACE) == []
    assert run(target.where, "SELECT to_regclass('segments_segment')") == [(None,)]


def test_restore__without_comments_has_them_put_back(source, dump, restore):
    target = restore(dump, "--no-comments").where
    assert members(target) == MEMBERS
    manage(target, "sync_segments", readers=[source.reader])
    assert members(target) == MEMBERS
    assert run(target, "SELECT n FROM report") == [(6,)]
    assert run(target, ENTERED) == run(source.where, ENTERED)
    assert run(target, SURFACE) == run(source.where, SURFACE)
    checked = manage(target, "sync_segments", "--check", readers=[source.reader])
    assert checked.stdout == IN_STEP


def test_restore__without_the_schemas_has_them_recreated(source, dump, restore):
    schemas = ("--exclude-schema=segments", "--exclude-schema=segments_live")
    target = restore(dump, *schemas, code=1)
    assert 'relation "segments.vip" does not exist' in target.errors
    assert run(target.where, "SELECT to_regclass('report')") == [(None,)]
    manage(target.where, "sync_segments", readers=[source.reader])
    assert members(target.where) == MEMBERS
    assert run(target.where, ENTERED) == run(source.where, ENTERED)
    checked = manage(target.where, "sync_segments", "--check", readers=[source.reader])
    assert checked.stdout == IN_STEP
