"""detach_segments: what it prints, and what it exits with."""

import pytest

from segments.models import Segment
from tests.commands.running import attempt, run
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

READS_USERS = f"""
SELECT count(*) FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
WHERE r.ev_class = to_regclass(%s) AND d.refobjid = to_regclass('{USERS}')
"""


def test_detach__frees_the_tables_of_those_that_are_named(users, make, query):
    make("other")
    make("vip")
    assert query(READS_USERS, "segments_live.vip") != [(0,)]
    assert run("detach_segments", "vip") == "vip: detached\n"
    assert query(READS_USERS, "segments_live.vip") == [(0,)]
    assert query(READS_USERS, "segments_live.other") != [(0,)]
    assert run("detach_segments") == "other: detached\n"
    assert query(READS_USERS, "segments_live.other") == [(0,)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_detach__goes_on_without_a_segment_that_is_held(users, make, session, settings, query):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.1
    make("other")
    key = make("vip").pk
    holder = session()
    with holder.transaction():
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        holder.execute(lock, [f"segments:{key}"])
        done = attempt("detach_segments")
    assert done.out == "other: detached\n"
    assert 'segment "vip"' in done.err
    assert str(done.error) == "Could not detach: vip"
    assert query(READS_USERS, "segments_live.vip") != [(0,)]
    assert Segment.objects.count() == 2


def test_detach__takes_a_slug_with_underscores_or_hyphens(users, make, query):
    make("win-back")
    assert run("detach_segments", "win_back") == "win-back: detached\n"
    assert query(READS_USERS, "segments_live.win_back") == [(0,)]


def test_detach__of_an_unknown_slug_is_reported(users, make):
    done = attempt("detach_segments", "vip")
    assert 'There is no segment with the slug "vip".' in done.err
    make()
    done = attempt("detach_segments", "vpi", "vip")
    assert 'There is no segment with the slug "vpi". Did you mean "vip"?' in done.err
    assert (done.out, str(done.error)) == ("vip: detached\n", "Could not detach: vpi")
