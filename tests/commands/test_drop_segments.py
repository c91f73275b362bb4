"""drop_segments: what it asks and prints, and what it exits with."""

import os
import pty
import sys

import pytest

from segments.models import Segment
from tests.commands.running import attempt, run
from tests.conftest import forget

pytestmark = pytest.mark.django_db

DROPPED = "Everything is dropped. Next: manage.py migrate segments zero --skip-checks"
SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^segments'"


@pytest.fixture
def answer(monkeypatch):
    """Put a terminal in place of stdin, on which somebody has typed a line."""
    files = []

    def typed(line):
        master, slave = pty.openpty()
        os.write(master, f"{line}\n".encode())
        files.extend([os.fdopen(master, "w"), os.fdopen(slave)])
        monkeypatch.setattr(sys, "stdin", files[-1])

    yield typed
    for file in files:
        file.close()


def test_drop__names_each_step_and_what_to_do_next(users, make, query):
    make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    lines = run("drop_segments", "--yes").splitlines()
    assert lines[:2] == ["dropped segment reader", "dropped segment vip"]
    assert lines[-2:] == ["dropped the schema segments", DROPPED]
    assert query(SCHEMAS) == [(0,)]


def test_drop__names_views_that_no_segment_has(users, make, relation):
    make()
    forget(Segment.objects.all())
    lines = run("drop_segments", "--yes").splitlines()
    assert lines[0] == "dropped the views vip, which no segment has"
    assert relation("segments.vip") is None


def test_drop__drops_nothing_if_nobody_can_be_asked(users, make, monkeypatch):
    make()
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        done = attempt("drop_segments")
    assert str(done.error) == "Not a terminal: pass --yes to drop without asking."
    assert "deletes all segments" in done.out
    assert Segment.objects.count() == 1


@pytest.mark.parametrize(("typed", "remaining"), [("yes", 0), ("y", 1), ("", 1)])
def test_drop__asks_on_a_terminal(typed, remaining, users, make, answer, capsys):
    make()
    answer(typed)
    done = attempt("drop_segments")
    assert Segment.objects.count() == remaining
    assert str(done.error) == ("None" if typed == "yes" else "Nothing was dropped.")


def test_drop__names_what_others_need(users, make, query):
    make()
    make("free")
    query("CREATE VIEW public.report AS SELECT user_id FROM segments.vip")
    done = attempt("drop_segments", "--yes")
    assert "dropped segment free" in done.lines
    assert str(done.error) == (
        "1 dropped, and these are still there: segment vip. When nothing needs them any "
        "more, run this again."
    )
    assert "report" in done.err
    assert list(Segment.objects.values_list("slug", flat=True)) == ["vip"]
