"""drop_segments removes everything of this package, and nothing else."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import models

from segments import sync
from segments.models import Membership, Segment, SegmentRefresh, StaticMember
from tests.conftest import USERS, forget
from tests.databases import address, database, manage, run
from tests.shop.models import Offer

CATALOG = """
    SELECT 'relation', n.nspname, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_t'
    UNION ALL
    SELECT 'function', n.nspname, p.oid::regprocedure::text
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    UNION ALL
    SELECT 'type', n.nspname, t.typname
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname !~ '^pg_t'
    UNION ALL SELECT 'schema', nspname, '' FROM pg_namespace WHERE nspname !~ '^pg_t'
    ORDER BY 1, 2, 3
"""
LAST = "Everything is dropped. Next: manage.py migrate segments zero --skip-checks\n"


@pytest.fixture
def drop(db):
    """Run the command; return its output, including errors."""

    def call(*args):
        out = StringIO()
        try:
            call_command("drop_segments", *(args or ["--yes"]), stdout=out, stderr=out)
        except CommandError as error:
            out.write(f"{error}\n")
            call.failed = True
        else:
            call.failed = False
        return out.getvalue()

    return call


@pytest.fixture
def schemas(query):
    """Return which of the two schemas exist."""

    def look():
        found = query(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^segments' ORDER BY 1"
        )
        return [name for (name,) in found]

    return look


@pytest.fixture
def shop():
    """A database with segments of each kind, and its catalog before them."""
    with database("uninstall") as name:
        where = address(name)
        for app in ("accounts", "admin", "sessions", "stock"):
            manage(where, "migrate", "--verbosity=0", app)
        before = run(where, CATALOG)
        manage(where, module="tests.fill")
        yield where, before


@pytest.mark.slow
def test_drop__and_migrating_to_zero_restore_the_catalog(shop):
    where, before = shop
    assert run(where, CATALOG) != before
    run(where, "DELETE FROM segments_segmentrefresh")
    run(where, "DELETE FROM segments_segment WHERE slug = 'win-back'")  # An orphan that reads.
    done = manage(where, "drop_segments", "--yes")
    assert done.stdout.endswith(LAST)
    assert run(where, "SELECT count(*) FROM segments_membership") == [(0,)]
    manage(where, "migrate", "segments", "zero")
    assert run(where, CATALOG) == before


@pytest.mark.slow
def test_migrating_to_zero__after_a_migrate_that_restored_views(shop):
    where, before = shop
    manage(where, "drop_segments", "--yes")
    manage(where, "migrate")
    assert run(where, "SELECT count(*) FROM segments.catalog") == [(0,)]
    manage(where, "migrate", "segments", "zero")
    assert run(where, CATALOG) == before


@pytest.mark.slow
def test_drop__works_after_migrating_to_zero(shop):
    where, before = shop
    told = manage(where, "migrate", "segments", "zero").stdout
    assert "the views of 5 segments remain" in told
    assert "manage.py drop_segments" in told
    manage(where, "drop_segments", "--yes")
    assert run(where, CATALOG) == before
    assert manage(where, "drop_segments", "--yes").stdout == "There is nothing to drop.\n"


@pytest.mark.django_db
class TestDrop:
    def test_rows__go_as_well(self, drop, users, make, schemas):
        segment = make(static_ids=users[:3])
        Offer.objects.create(priority=1, discount=1, segment=segment)
        assert drop().splitlines() == [
            "dropped segment vip",
            "dropped the views and functions that all segments share",
            "dropped the schema segments_live",
            "dropped the schema segments",
            LAST.rstrip(),
        ]
        for model in (Segment, StaticMember, Membership, SegmentRefresh, Offer):
            assert not model.objects.exists()
        assert schemas() == []

    def test_readers__come_first_also_where_no_segment_has_them(self, drop, users, make, schemas):
        make("z-base")
        make("orphan", definition="SELECT user_id FROM segments.z_base")
        make("a-top", definition="SELECT user_id FROM segments.orphan")
        make("last", definition="SELECT user_id FROM segments.a_top")
        forget(Segment.objects.filter(slug__in=["orphan", "last"]))
        told = drop().splitlines()
        assert told[:4] == [
            "dropped the views last, which no segment has",
            "dropped segment a-top",
            "dropped the views orphan, which no segment has",
            "dropped segment z-base",
        ]
        assert schemas() == []

    def test_detached_segments__go_as_well(self, drop, users, make, schemas):
        make()
        list(sync.detach())
        drop()
        assert schemas() == []

    def test_drop__spares_the_views_of_others(self, drop, users, make, query, names):
        make()
        make("gold")
        query("CREATE VIEW report AS SELECT count(*) FROM segments.vip")
        query("CREATE TABLE noted (id int, row_of segments.gold)")
        before = names()
        output = drop()
        assert drop.failed
        for line in (
            "view report depends on materialized view segments.vip",
            "column row_of of table noted depends on type segments.gold",
        ):
            assert f"{line}\n" in output
        assert names() == before
        assert Segment.objects.count() == 2

    def test_shared_views__that_others_need_keep_their_functions(
        self, drop, users, make, query, relation
    ):
        make()
        query("CREATE VIEW report AS SELECT count(*) FROM segments.catalog")
        query(
            "CREATE FUNCTION ask() RETURNS boolean "
            "BEGIN ATOMIC SELECT segments.is_member('vip', 1::bigint); END"
        )
        output = drop()
        assert drop.failed
        assert "view report depends on view segments.catalog\n" in output
        assert relation("segments.catalog") is not None
        query("DROP VIEW report")
        assert "function ask() depends on function segments.is_member" in drop()
        assert drop.failed

    @pytest.mark.parametrize("on_delete", [models.PROTECT, models.RESTRICT])
    def test_protected_rows__are_reported(
        self, on_delete, drop, users, make, monkeypatch, relation
    ):
        field = Offer._meta.get_field("segment")
        monkeypatch.setattr(field.remote_field, "on_delete", on_delete)
        Offer.objects.create(priority=1, discount=1, segment=make())
        assert "foreign keys: 'Offer.segment'" in drop()
        assert drop.failed
        assert relation("segments.vip") is not None
        assert Segment.objects.count() == 1

    def test_schemas__in_which_others_have_something_stay(self, drop, users, make, query, schemas):
        make()
        query("CREATE TABLE segments.notes (note text)")
        output = drop()
        assert not drop.failed
        assert "kept schema segments, which still holds:\n  table segments.notes" in output
        assert schemas() == ["segments"]
        assert not Segment.objects.exists()

    def test_foreign_view__under_the_name_of_a_segment_stays(self, drop, users, query, relation):
        list(sync.sync())
        query("CREATE MATERIALIZED VIEW segments.vip AS SELECT 1")
        Segment.objects.bulk_create([Segment(slug="vip", definition="SELECT 1 AS id")])
        assert (
            "kept schema segments, which still holds:\n  materialized view segments.vip" in drop()
        )
        assert relation("segments.vip") is not None

    def test_failure__keeps_what_it_needs_and_names_what_remains(
        self, drop, users, make, monkeypatch, schemas
    ):
        make()
        make("reader", definition="SELECT user_id FROM segments.vip")
        make("other")

        def refuse(sender, instance, **kwargs):
            if instance.slug == "reader":
                raise models.ProtectedError("kept by a receiver", {instance})

        models.signals.pre_delete.connect(refuse, sender=Segment)
        try:
            told = drop()
        finally:
            models.signals.pre_delete.disconnect(refuse, sender=Segment)
        assert drop.failed
        assert "kept by a receiver" in told
        assert "1 dropped, and these are still there: segment reader, segment vip." in told
        assert {segment.slug for segment in Segment.objects.all()} == {"vip", "reader"}
        assert users[0].is_member("reader")
        drop()
        assert schemas() == []

    def test_without_yes__it_needs_a_terminal(self, drop, users, make, monkeypatch):
        make()
        monkeypatch.setattr("sys.stdin", StringIO("yes\n"))
        output = drop("--verbosity=1")
        assert drop.failed
        assert "This deletes all segments with their lists, members and history" in output
        assert "pass --yes" in output
        assert Segment.objects.exists()

    @pytest.mark.parametrize(("answer", "left"), [("yes", 0), ("y", 1), ("", 1)])
    def test_without_yes__a_terminal_is_asked(self, answer, left, drop, users, make, monkeypatch):
        make()
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda prompt: answer)
        drop("--verbosity=1")
        assert drop.failed is bool(left)
        assert Segment.objects.count() == left


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("clean_views", "exec_alias")
def test_drop__where_views_are_owned_on_another_alias(drop, users, make, schemas):
    make()
    make(
        "reader",
        definition=f"SELECT id FROM {USERS} WHERE id IN (SELECT user_id FROM segments.vip)",
    )
    assert drop().endswith(LAST)
    assert schemas() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_drop__of_a_view_that_is_in_use_is_reported(drop, users, make, session, settings, schemas):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.1
    make()
    make("gold")
    reader = session()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM segments.vip")
    told = drop()
    assert "these are still there: segment vip." in told
    assert [segment.slug for segment in Segment.objects.all()] == ["vip"]
    reader.execute("ROLLBACK")
    drop()
    assert schemas() == []
