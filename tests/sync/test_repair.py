"""Sync finds, reports and repairs every difference between views and rows."""

import pytest
from django.core.management import call_command
from django.db import transaction

from segments import sync
from segments.exceptions import SegmentExecutionError
from segments.models import Segment, Status
from tests.conftest import USERS, forget

pytestmark = pytest.mark.django_db


def found():
    return {entry.slug: "; ".join(entry.what) or str(entry.error) for entry in sync.check()}


def mend(**options):
    return {entry.slug: entry for entry in sync.sync(**options)}


@pytest.mark.slow
@pytest.mark.roles
def test_nothing__differs_after_all_that_saving_does(users, make, settings, role):
    settings.SEGMENTS_READER_ROLES = [role("reader")]
    make()
    make("listed", static_ids=users[:2])
    make("both", definition=f"SELECT id FROM {USERS}", static_ids=users[:2])
    make("method", manager_method="all")
    sync.sync()
    list(sync.sync())
    assert found() == {}
    assert mend() == {}


REDEFINED = "UPDATE segments_segment SET definition = definition || ' LIMIT 3' WHERE slug = 'vip'"

DAMAGES = {
    "REFRESH MATERIALIZED VIEW segments.vip WITH NO DATA": (
        "the materialized view is not populated"
    ),
    "DROP MATERIALIZED VIEW segments.vip": "the materialized view is missing",
    "DROP INDEX segments.vip_user_id_idx": "the unique index is missing",
    "COMMENT ON MATERIALIZED VIEW segments.vip IS NULL": "the comment is missing",
    f"CREATE OR REPLACE VIEW segments_live.vip AS SELECT id AS user_id FROM {USERS} LIMIT 1; "
    "COMMENT ON VIEW segments_live.vip IS NULL": "the live view has another definition",
    REDEFINED: "the live view has another definition",
    "DROP MATERIALIZED VIEW segments.vip; DROP VIEW segments_live.vip": (
        "the live view is missing; the materialized view is missing"
    ),
}


@pytest.mark.roles
@pytest.mark.parametrize(("damage", "what"), DAMAGES.items())
def test_damage__is_found_and_repaired(damage, what, users, make, owner, query):
    make("other")
    segment = make()
    for statement in damage.split("; "):
        (query if statement.startswith("UPDATE") else owner)(statement)
    assert found() == {"vip": what}
    assert mend()["vip"].error is None
    assert found() == {}
    segment.refresh_from_db()
    redefined = what == DAMAGES[REDEFINED]
    assert segment.status == (Status.OUTDATED if redefined else Status.REFRESHED)
    assert segment.refresh().members_count in (3, 10)
    assert set(segment.member_ids()) <= {user.pk for user in users}


@pytest.mark.slow
@pytest.mark.roles
@pytest.mark.usefixtures("creates_schemas")
def test_dropped_schemas__are_put_back_with_all_segments(users, make, owner):
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    make("0".join("ab"), definition="SELECT user_id FROM segments.b")
    owner("DROP SCHEMA segments, segments_live CASCADE")
    assert set(found()) == {"", "a", "b", "a0b"}
    mended = mend()
    assert {slug: entry.error for slug, entry in mended.items()} == dict.fromkeys(mended)
    assert found() == {}
    assert [len(segment) for segment in Segment.objects.all()] == [10, 10, 10]
    assert users[0].segment_ids == sorted(Segment.objects.values_list("pk", flat=True))


@pytest.mark.roles
def test_base_views__are_put_back(users, make, owner):
    make()
    owner("DROP VIEW segments.catalog")
    owner("DROP FUNCTION segments.is_member(text, anyelement)")
    assert found() == {"": "segments.catalog is missing; segments.is_member() is missing"}
    mend()
    assert found() == {}
    assert users[0].is_member("vip")


@pytest.mark.roles("one_role", reason="moves a table to a schema that others may not create")
def test_moved_users__are_found_again_by_a_sync(users, make, query):
    segment = make()
    query(f"CREATE SCHEMA elsewhere; ALTER TABLE {USERS} SET SCHEMA elsewhere")
    query("SET LOCAL search_path TO public, elsewhere")
    missing = f'"public.{USERS}" does not exist'
    with pytest.raises(SegmentExecutionError, match=missing), transaction.atomic():
        segment.has_member(users[0])
    what = found()
    assert what.pop("") == "what all segments share is of another version or other settings"
    assert what.keys() == {"vip"}  # Until the sync, definitions find names where they did before.
    mend()
    assert found() == {}
    assert segment.refresh(force=True).members_count == len(users)
    assert segment.has_member(users[0])
    assert users[0].is_member("vip")


@pytest.mark.roles
def test_hardened_default_privileges__let_readers_check(users, make, query, owner, role):
    make()
    reader = role("reader")
    owner("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    owner("DROP FUNCTION segments.is_member(text, anyelement), segments.is_user(bigint)")
    mend()
    owner(f'GRANT USAGE ON SCHEMA segments TO "{reader}"')
    owner(f'GRANT SELECT ON segments.vip TO "{reader}"')
    with transaction.atomic():
        query(f'SET LOCAL ROLE "{reader}"')
        assert query("SELECT segments.is_member('vip', %s)", users[0].pk) == [(True,)]
    owner("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC")


@pytest.mark.roles
def test_missing_grant__is_put_back(users, make, settings, role):
    make()
    reader = role("reader")
    settings.SEGMENTS_READER_ROLES = [reader]
    assert found() == {
        "": "; ".join(
            f"role {reader} may not read segments.{view}"
            for view in ("membership", "catalog", "changes", "history")
        ),
        "vip": f"role {reader} may not read it",
    }
    mend()
    assert found() == {}


@pytest.mark.roles
@pytest.mark.parametrize("view", ["segments.membership", "segments.catalog"])
def test_missing_grant__on_a_view_over_all_is_put_back(view, users, make, settings, role, owner):
    reader = role("reader")
    settings.SEGMENTS_READER_ROLES = [reader]
    mend()
    make()
    assert found() == {}
    owner(f"REVOKE SELECT ON {view} FROM {reader}")
    assert found() == {"": f"role {reader} may not read {view}"}
    assert mend()[""].what == [f"role {reader} may not read {view}"]
    assert found() == {}


@pytest.mark.slow
@pytest.mark.roles
def test_broken_definition__is_reported_and_stops_no_other(users, make, owner):
    make("good")
    make("bad")
    owner("DROP MATERIALIZED VIEW segments.good")
    Segment.objects.filter(slug="bad").update(definition="SELECT id FROM nowhere")
    (entry,) = [entry for entry in sync.check() if entry.slug == "bad"]
    assert 'relation "nowhere" does not exist' in str(entry.error)
    mended = mend()
    assert 'relation "nowhere" does not exist' in str(mended["bad"].error)
    assert mended["good"].error is None
    assert len(Segment.objects.get(slug="bad")) == 10


@pytest.mark.roles
@pytest.mark.usefixtures("creates_schemas")
def test_broken_population__is_reported_even_if_others_succeed(orders, make, owner):
    make("bad", definition="SELECT user_id FROM shop_order")
    make("good")
    Segment.objects.filter(slug="bad").update(
        definition="SELECT user_id FROM shop_order WHERE 1 / (amount - amount) = 1"
    )
    owner("DROP SCHEMA segments, segments_live CASCADE")
    mended = mend()
    assert "division by zero" in str(mended["bad"].error)
    bad = Segment.objects.get(slug="bad")
    assert (bad.status, bad.refreshed_at) == (Status.FAILED, None)
    assert mended["good"].error is None


@pytest.mark.slow
@pytest.mark.roles
def test_orphan__is_reported_and_dropped_with_prune_only(users, make, owner, relation):
    make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    owner("CREATE VIEW segments.bi AS SELECT count(*) AS n FROM segments.vip")
    forget(Segment.objects.filter(slug="vip"))
    assert found() == {"vip": "no segment has this view"}
    assert mend() == {}
    assert "depends on" in str(mend(prune=True)["vip"].error)
    owner("DROP VIEW segments.bi")
    Segment.objects.get(slug="reader").delete()
    assert mend(prune=True)["vip"].error is None
    assert relation("segments.vip") is None
    assert relation("segments_live.vip") is None
    assert found() == {}


def test_views_of_others__are_no_orphans(users, make, owner, relation):
    make()
    owner("CREATE VIEW segments_live.theirs AS SELECT 1 AS user_id")
    owner("CREATE MATERIALIZED VIEW segments.theirs AS SELECT 1 AS user_id")
    mend(prune=True)
    assert found() == {}
    assert relation("segments.theirs") is not None


@pytest.mark.roles(
    "one_role", "exec_role", reason="with an alias, the view of an orphan keeps its name"
)
def test_orphan__is_taken_over_by_a_new_segment_of_its_name(users, make):
    make()
    forget(Segment.objects.filter(slug="vip"))
    segment = make(definition=f"SELECT id FROM {USERS} WHERE username = 'u1'")
    assert list(segment.member_ids()) == [users[1].pk]
    assert found() == {}


def test_moving_parameters__are_no_difference(users, make):
    from django.contrib.contenttypes.models import ContentType

    from tests.shop.models import Order

    make(manager_method="since_a_while", model=ContentType.objects.get_for_model(Order))
    assert found() == {}


@pytest.mark.slow
@pytest.mark.roles
def test_migrate__syncs_at_its_end_and_does_not_fail(users, make, owner, capsys):
    make()
    make("bad")
    Segment.objects.filter(slug="bad").update(definition="SELECT id FROM nowhere")
    owner("DROP MATERIALIZED VIEW segments.vip")
    call_command("migrate", verbosity=1)
    out = capsys.readouterr().out
    assert 'relation "nowhere" does not exist' in out
    assert len(Segment.objects.get(slug="vip")) == 10


def test_views_django_pgviews_knows__are_none_of_ours(users, make, relation):
    make()
    before = relation("segments.vip"), relation("segments.catalog")
    call_command("sync_pgviews", verbosity=0)
    call_command("clear_pgviews", verbosity=0)
    assert (relation("segments.vip"), relation("segments.catalog")) == before


def test_prune__spares_a_segment_that_comes_to_have_the_name(users, make, query):
    make("a")
    make("b")
    forget(Segment.objects.all())
    pruning = sync.sync(prune=True)
    first = next(pruning)
    other = {"a": "b", "b": "a"}[first.slug]
    segment = make(other)
    assert "it belongs to a segment again" in str(next(pruning).error)
    assert len(segment) == 10
    assert found() == {}


def test_prune__drops_those_that_read_others_first(users, make, relation):
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    make("c", definition="SELECT user_id FROM segments.b")
    forget(Segment.objects.all())
    assert {slug: entry.error for slug, entry in mend(prune=True).items()} == {
        "a": None, "b": None, "c": None,
    }  # fmt: skip
    assert relation("segments.a") is None


def test_emptied_list__beside_a_definition_is_no_difference(users, make):
    segment = make(
        definition=f"SELECT id FROM {USERS} WHERE username < 'u3'", static_ids=users[8:9]
    )
    users[8].delete()
    assert found() == {}
    assert segment.refresh().members_count == 3
    assert found() == {}


@pytest.fixture
def recreated(users, make, owner, settings, role):
    """A segment whose views were recreated, as Citus does: empty, without index or comment."""
    settings.SEGMENTS_READER_ROLES = [role("reader")]
    segment = make()
    mend()
    ((live,),) = owner("SELECT pg_get_viewdef('segments_live.vip'::regclass)")
    owner("DROP MATERIALIZED VIEW segments.vip")
    owner(f"CREATE OR REPLACE VIEW segments_live.vip AS SELECT id AS user_id FROM {USERS} LIMIT 0")
    owner(
        "CREATE MATERIALIZED VIEW segments.vip AS "
        "SELECT user_id FROM segments_live.vip ORDER BY user_id"
    )
    owner(f"CREATE OR REPLACE VIEW segments_live.vip AS {live}")
    owner("COMMENT ON VIEW segments_live.vip IS NULL")
    return segment


def is_whole(query, relation, settings):
    reader = settings.SEGMENTS_READER_ROLES[0]
    return (
        query("SELECT count(*) FROM segments.vip") == [(10,)]
        and query("SELECT indisunique FROM pg_index WHERE indrelid = 'segments.vip'::regclass")
        == [(True,)]
        and "Members of segment" in relation("segments.vip")[2]
        and reader in relation("segments.vip")[3]
        and found() == {}
    )


@pytest.mark.roles
def test_refresh__restores_a_damaged_view_and_reports_it(recreated, query, relation, settings):
    result = recreated.refresh()
    assert (result.status, result.members_count) == ("refreshed", 10)
    assert result.notes == (
        "its unique index was missing",
        "its comment was missing",
        f"role {settings.SEGMENTS_READER_ROLES[0]} could not read it",
    )
    assert is_whole(query, relation, settings)
    assert recreated.refresh().notes == ()


@pytest.mark.roles
def test_sync__restores_a_damaged_view_and_reports_it(recreated, query, relation, settings):
    assert mend()["vip"].what == [
        "the unique index is missing",
        "the comment is missing",
        f"role {settings.SEGMENTS_READER_ROLES[0]} may not read it",
        "the live view has another definition",
    ]
    assert is_whole(query, relation, settings)


def test_restored_index_and_comment__do_not_vouch_for_members(recreated, query, owner):
    owner("CREATE UNIQUE INDEX ON segments.vip (user_id)")
    owner("COMMENT ON MATERIALIZED VIEW segments.vip IS 'mine [django-segments]'")
    recreated.refresh()
    assert query("SELECT count(*) FROM segments.vip") == [(10,)]
