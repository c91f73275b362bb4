"""A database with segments from before there were changes: what a migration makes of it."""

import pytest

from tests.databases import address, database, manage, run

pytestmark = pytest.mark.slow

SHOWN = """
SELECT relname::text FROM pg_class
WHERE relkind = 'v' AND relnamespace = 'segments'::regnamespace ORDER BY 1
"""


@pytest.fixture
def former():
    """A database with the tables and views of the version before."""
    with database("upgrade") as name:
        where = address(name)
        manage(where, module="tests.fill")
        run(where, "DROP VIEW segments.changes, segments.history")
        # It fails to attach the segments then, since the code is newer than the tables.
        manage(where, "migrate", "segments", "0006", check=False)
        tables = "SELECT count(*) FROM pg_class WHERE relname = 'segments_change'"
        assert run(where, tables) == [(0,)]
        yield where


def views(where):
    return [name for (name,) in run(where, SHOWN)]


def test_upgrade__creates_the_views_and_tracks_from_now_on(former):
    told = manage(former, "migrate")
    assert "Hint" not in told.stdout + told.stderr
    assert views(former) == ["catalog", "changes", "history", "membership"]
    assert manage(former, "sync_segments", "--check").returncode == 0
    run(former, "DELETE FROM shop_order WHERE user_id = 10")
    manage(former, "refresh_segments", "vip", "--force")
    found = run(former, "SELECT slug, user_id, change FROM segments.changes")
    assert found == [("vip", 10, "left")]
    sizes = "SELECT h.size, h.left FROM segments.history h WHERE slug = 'vip' ORDER BY started_at"
    assert run(former, sizes)[-1] == (5, 1)


def test_upgrade__of_a_segment_with_a_reserved_name_keeps_it(former):
    for schema, kind in (("segments", "MATERIALIZED VIEW"), ("segments_live", "VIEW")):
        run(former, f"ALTER {kind} {schema}.inner_circle RENAME TO changes")
    run(former, "UPDATE segments_segment SET slug = 'changes' WHERE slug = 'inner-circle'")
    told = manage(former, "migrate")
    told = " ".join((told.stdout + told.stderr).split())
    assert 'segment "changes": the view segments.changes over all segments needs this' in told
    assert "Rename the segment with segment.rename()" in told
    assert views(former) == ["catalog", "history", "membership"]
    assert "changes: 1 members" in manage(former, "refresh_segments", "changes", "--force").stdout
    read = "UPDATE segments_segment SET definition = 'TABLE segments.changes' WHERE slug = 'vip'"
    run(former, read)
    assert "vip: 1 members" in manage(former, "refresh_segments", "vip", "--force").stdout
    run(former, read.replace("TABLE segments.changes", "SELECT 5"))
    manage(former, "refresh_segments", "vip", "--force")
    checked = manage(former, "sync_segments", "--check", check=False)
    assert checked.returncode == 1
    assert "over all segments needs this name" in checked.stdout + checked.stderr
    rename = "from segments.models import Segment; Segment.objects.get(slug='changes').rename('p')"
    manage(former, "shell", "-c", rename)
    manage(former, "sync_segments")
    assert views(former) == ["catalog", "changes", "history", "membership"]
    assert manage(former, "sync_segments", "--check").returncode == 0
