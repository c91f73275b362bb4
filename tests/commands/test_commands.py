"""The commands: what they print, on a terminal and elsewhere, and what they exit with."""

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from segments.models import Segment
from tests.conftest import USERS, forget

pytestmark = pytest.mark.django_db


class Terminal(StringIO):
    def isatty(self):
        return True


def run(*args, **options):
    out, err = StringIO(), StringIO()
    try:
        call_command(*args, stdout=out, stderr=err, **options)
    finally:
        run.err = err.getvalue()
    return out.getvalue()


@pytest.fixture
def failing(orders, make, query):
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    make("failing", definition="SELECT user_id FROM shop_order WHERE 1 / amount <= 1")
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")


@pytest.mark.roles
def test_refresh__all_active_ones_in_order(users, make):
    make("z-early")
    make("a-late", definition="SELECT user_id FROM segments.z_early")
    make("off", is_active=False)
    users[0].delete()
    lines = run("refresh_segments").splitlines()
    assert [re.sub(r"\d\.\d\d s", "T", line) for line in lines] == [
        "z-early: 9 members, +0 -1, T",
        "a-late: 9 members, +0 -1, T",
    ]


def test_refresh__named_ones_even_if_inactive(users, make):
    make("off", is_active=False)
    make("other")
    assert run("refresh_segments", "off").startswith("off: 10 members")


@pytest.mark.roles
def test_refresh__goes_on_after_a_failure_and_names_it(failing, make):
    make("good")
    make("last")
    with pytest.raises(CommandError, match="1 of 3 segments failed.*: failing$") as caught:
        run("refresh_segments")
    assert caught.value.returncode == 1
    assert 'segment "failing": division by zero' in run.err
    assert Segment.objects.filter(status="refreshed").count() == 2


def test_refresh__of_an_unknown_slug_refreshes_none(users, make):
    make()
    with pytest.raises(CommandError, match="no segment with the slug gone, lost"):
        run("refresh_segments", "vip", "lost", "gone")
    assert Segment.objects.get().refreshes.count() == 1


def test_refresh__without_segments_says_so(db):
    assert run("refresh_segments") == "There are no active segments.\n"


def test_refresh__due_ones_alone(users, make, settings):
    make()
    assert run("refresh_segments", "--due") == "No segment is due.\n"
    settings.SEGMENTS_REFRESH_EVERY = 0
    assert run("refresh_segments", "--due").startswith("vip: 10 members")


def test_refresh__not_concurrently_rewrites(users, make, query):
    make()
    before = query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")
    run("refresh_segments", "--no-concurrently")
    assert before != query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")


def test_refresh__shows_a_bar_on_a_terminal(users, make):
    make()
    make("other")
    terminal = Terminal()
    call_command("refresh_segments", stdout=terminal)
    assert "Refreshing" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert "vip: 10 members" in terminal.getvalue()
    assert "\x1b" not in run("refresh_segments")


@pytest.mark.roles
def test_sync__mends_and_says_what(users, make, owner):
    make()
    assert run("sync_segments") == "Views and segments are in step.\n"
    owner("DROP INDEX segments.vip_user_id_idx")
    assert run("sync_segments") == "mended vip: the unique index is missing\n"


def test_sync__check_changes_nothing_and_exits_with_1(users, make, owner):
    make()
    assert run("sync_segments", "--check") == "Views and segments are in step.\n"
    owner("DROP INDEX segments.vip_user_id_idx")
    for _ in range(2):
        out = StringIO()
        with pytest.raises(CommandError, match="sync_segments") as caught:
            call_command("sync_segments", "--check", stdout=out)
        assert out.getvalue() == "vip: the unique index is missing\n"
        assert caught.value.returncode == 1


def test_sync__names_what_it_cannot_mend(users, make, query):
    make()
    Segment.objects.update(definition="SELECT id FROM nowhere")
    with pytest.raises(CommandError, match="could not be brought in step: vip"):
        run("sync_segments")
    assert 'relation "nowhere" does not exist' in run.err


@pytest.mark.roles
def test_sync__prunes_when_asked(users, make, relation):
    make(definition=f"SELECT id FROM {USERS}")
    forget(Segment.objects.all())
    assert run("sync_segments") == "Views and segments are in step.\n"
    assert run("sync_segments", "--prune") == "mended vip: no segment has this view\n"
    assert relation("segments.vip") is None
