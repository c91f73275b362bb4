"""sync_segments: what it prints, and what it exits with."""

import pytest

from segments.models import Segment
from tests.commands.running import attempt, run
from tests.conftest import USERS, forget

pytestmark = pytest.mark.django_db

IN_STEP = "Views and segments are in step.\n"


@pytest.mark.roles
def test_sync__repairs_and_says_what(users, make, owner):
    make()
    assert run("sync_segments") == IN_STEP
    owner("DROP INDEX segments.vip_user_id_idx")
    assert run("sync_segments") == "repaired vip: the unique index is missing\n"


def test_check__changes_nothing_and_exits_with_1(users, make, owner):
    make()
    assert run("sync_segments", "--check") == IN_STEP
    owner("DROP INDEX segments.vip_user_id_idx")
    for _ in range(2):
        done = attempt("sync_segments", "--check")
        assert "sync_segments" in str(done.error)
        assert done.out == "vip: the unique index is missing\n"
        assert done.error.returncode == 1


def test_sync__names_what_it_cannot_repair(users, make, owner):
    make()
    make("other")
    Segment.objects.filter(slug="vip").update(definition="SELECT id FROM nowhere")
    owner("DROP INDEX segments.other_user_id_idx")
    done = attempt("sync_segments")
    assert str(done.error) == "Could not repair: vip"
    assert 'relation "nowhere" does not exist' in done.err
    assert done.out == "repaired other: the unique index is missing\n"


@pytest.mark.roles
def test_sync__prunes_when_asked(users, make, relation):
    make(definition=f"SELECT id FROM {USERS}")
    forget(Segment.objects.all())
    assert run("sync_segments") == IN_STEP
    assert run("sync_segments", "--prune") == "repaired vip: no segment has this view\n"
    assert relation("segments.vip") is None
