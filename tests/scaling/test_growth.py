"""How views grow, and what keeps them small."""

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from segments import sync
from segments.models import Segment
from tests.scaling.docs import block
from tests.scaling.growth import load, measure, run, sizes
from tests.waiting import until

TABLE = get_user_model()._meta.db_table
OPTIONS = block("sql", "ALTER MATERIALIZED VIEW")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("people")]


@pytest.fixture(scope="module")
def many(people):
    """Eight thousand more users."""
    load(4_000)


@pytest.fixture
def active():
    segment = Segment.objects.create(
        name="Active", slug="active", definition=f"SELECT id FROM {TABLE} WHERE is_active"
    )
    run(OPTIONS)
    run("ANALYZE segments_membership")
    yield segment
    segment.delete()
    run("ALTER TABLE segments_membership RESET (autovacuum_vacuum_scale_factor)")


def options():
    return run("SELECT reloptions FROM pg_class WHERE oid = 'segments.active'::regclass")[0]


def test_options__stay(active):
    given = options()
    assert "autovacuum_vacuum_scale_factor=0.02" in given
    assert "vacuum_truncate=off" in given
    active.refresh()
    active.refresh(concurrently=False)
    active.definition = f"SELECT id FROM {TABLE} WHERE username < 'u5'"
    active.name = "Others"
    active.save()
    call_command("detach_segments", verbosity=0)
    assert [entry.slug for entry in sync.sync()] == ["active"]
    active.slug = "others"
    active.save()
    active.slug = "active"
    active.save()
    assert options() == given


def test_autovacuum__comes_to_a_view(active):
    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        cursor.execute("SELECT pg_reload_conf()")
    run("ALTER MATERIALIZED VIEW segments.active SET (autovacuum_vacuum_threshold = 5)")
    run(f"UPDATE {TABLE} SET is_active = username < 'u11'")
    assert active.refresh().removed > 5
    until(
        lambda: (
            run(
                "SELECT autovacuum_count FROM pg_stat_all_tables "
                "WHERE relid = 'segments.active'::regclass"
            )
            > (0,)
        )
    )


def test_view__grows_without_vacuum_and_little_with_it(many):
    before, after = measure(vacuum=False)
    assert after.view > 2 * before.view
    assert after.membership > 2 * before.membership
    _, vacuumed = measure(vacuum=True)
    assert vacuumed.view < 1.5 * before.view
    assert vacuumed.view_and_index < after.view_and_index
    assert vacuumed.membership < after.membership


def test_rewriting_refresh__makes_a_view_small_again(many, active):
    # Autovacuum would add a map of its free space, of three pages.
    run("ALTER MATERIALIZED VIEW segments.active SET (autovacuum_enabled = off)")
    before = sizes("active")
    run(f"UPDATE {TABLE} SET is_active = NOT is_active")
    active.refresh()
    run(f"UPDATE {TABLE} SET is_active = NOT is_active")
    active.refresh()
    assert sizes("active").view_and_index > before.view_and_index
    active.refresh(concurrently=False)
    assert sizes("active")[:2] == before[:2]
