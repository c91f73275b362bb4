"""segment_changes: what it prints, and that the consumer moves on only if that has arrived."""

import json
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from segments.models import ChangeConsumer, Segment
from tests.commands.running import attempt, run
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db

FOLLOW = ("segment_changes", "vip", "--consumer", "crm")


@pytest.fixture
def segment(staff, make):
    return make(definition=EVEN)


@pytest.fixture
def change(segment, staff):
    """Let u8 leave and u9 enter."""

    def refresh():
        staff(0, 2, 4, 6, 9)
        segment.refresh(force=True)

    return refresh


def test_changes__begin_with_the_members(segment, users, change):
    rows = [json.loads(line) for line in run(*FOLLOW).splitlines()]
    assert [row["user"] for row in rows] == [user.pk for user in users[::2]]
    assert {(row["change"], row["snapshot"]) for row in rows} == {("entered", True)}
    change()
    rows = [json.loads(line) for line in run(*FOLLOW).splitlines()]
    assert sorted((row["user"], row["change"]) for row in rows) == [
        (users[8].pk, "left"), (users[9].pk, "entered"),
    ]  # fmt: skip
    assert run(*FOLLOW) == ""


def test_changes__as_csv_have_a_header(segment, users):
    lines = run(*FOLLOW, "--format", "csv").splitlines()
    assert lines[0] == "id,segment,user,change,at,refresh,snapshot"
    assert lines[1].startswith(f"0-{users[0].pk},vip,{users[0].pk},entered,20")
    assert lines[1].endswith(",,True")
    assert len(lines) == 6
    assert run(*FOLLOW, "--format", "csv").splitlines() == lines[:1]


def test_changes__can_start_again(segment):
    first = run(*FOLLOW)
    assert run(*FOLLOW, "--restart") == first


def test_changes__go_to_a_file(segment, tmp_path):
    assert run(*FOLLOW, "--output", str(tmp_path / "a")) == ""
    assert len((tmp_path / "a").read_text().splitlines()) == 5
    run(*FOLLOW, "--output", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == ""


def test_changes__take_a_slug_in_either_spelling(staff, make):
    make("win-back", definition=EVEN)
    assert len(run("segment_changes", "win_back", "--consumer", "crm").splitlines()) == 5


def test_changes__of_no_segment_name_the_nearest(segment):
    done = attempt("segment_changes", "vap", "--consumer", "crm")
    assert 'There is no segment with the slug "vap". Did you mean "vip"?' in str(done.error)


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_changes__of_a_name_that_cannot_be_are_an_error(segment, name):
    done = attempt("segment_changes", "vip", "--consumer", name)
    assert "the name of a consumer has 1 to 100 characters" in str(done.error)


@pytest.mark.slow
def test_changes__need_tracking(segment):
    Segment.objects.update(track_changes=False, tracked_since=None)
    assert "its changes are not tracked" in str(attempt(*FOLLOW).error)


def failing(where):
    """Return a stream that cannot be written to."""
    if where == "full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("Only Linux has such a device.")
        return open("/dev/full", "w")
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.mark.parametrize("where", ["full disk", "broken pipe"])
def test_changes__that_cannot_be_written_come_again(segment, users, change, where):
    before = run(*FOLLOW)
    assert before
    change()
    cursor = ChangeConsumer.objects.get().cursor
    with failing(where) as stream:
        done = attempt_on(stream)
    assert "its changes were not delivered to stdout" in done
    assert "the next run delivers the same changes again" in done
    assert ChangeConsumer.objects.get().cursor == cursor
    rows = [json.loads(line)["change"] for line in run(*FOLLOW).splitlines()]
    assert sorted(rows) == ["entered", "left"]


def attempt_on(stream):
    """Return the error of a run that writes to this stream."""
    with pytest.raises(CommandError) as raised:
        call_command(*FOLLOW, stdout=stream)
    return str(raised.value)


def test_changes__to_a_full_device_come_again(segment, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("Only Linux has such a device.")
    done = attempt(*FOLLOW, "--output", "/dev/full")
    assert "not delivered to /dev/full: No space left on device" in str(done.error)
    assert not ChangeConsumer.objects.exists()


def test_changes__to_a_file_that_exists_come_again(segment, tmp_path):
    path = tmp_path / "out"
    path.write_text("unread")
    done = attempt(*FOLLOW, "--output", str(path))
    assert "Move it away when it has been read" in str(done.error)
    assert path.read_text() == "unread"
    assert not ChangeConsumer.objects.exists()
