"""What the changes look like in files, and that a failure to write is an error."""

import csv
import json
import os
import threading
from datetime import UTC, datetime
from io import StringIO

import pytest

from segments.changes.feed import Change
from segments.changes.output import FORMATS, as_csv, as_json, opened
from segments.exceptions import SegmentChangesError

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)

LEFT = Change("12", "vip", 'Ann, "x"\n', "left", AT, 3, cursor="abc")

MEMBER = Change("11-7", "vip", 7, "entered", AT, snapshot=True)


def test_json__has_the_fields_of_a_change():
    line = as_json(LEFT)
    assert (line.count("\n"), line[-1]) == (1, "\n")
    assert json.loads(line) == {
        "id": "12", "segment": "vip", "user": 'Ann, "x"\n', "change": "left",
        "at": "2026-01-02T03:04:05.000006+00:00", "refresh": 3, "snapshot": False,
    }  # fmt: skip
    assert json.loads(as_json(MEMBER))["refresh"] is None


def test_csv__has_a_header_and_can_be_read_back():
    header, line = FORMATS["csv"]
    rows = csv.DictReader(StringIO(header + line(LEFT) + as_csv(MEMBER), newline=""))
    first, second = rows
    assert first["user"] == LEFT.user
    assert (second["user"], second["refresh"], second["snapshot"]) == ("7", "", "True")


def test_file__appears_when_it_is_whole(tmp_path):
    path = tmp_path / "out"
    with opened("vip", path, None) as file:
        file.write("x\n")
        file.flush()
        assert not path.exists()
    assert path.read_text() == "x\n"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_file__is_not_there_after_an_error(tmp_path):
    with pytest.raises(KeyError), opened("vip", tmp_path / "out", None) as file:
        file.write("x\n")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_file__that_exists_is_left_alone(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(SegmentChangesError, match="out exists"), opened("vip", path, None):
        pass
    assert path.read_text() == "old"


def test_file__that_appears_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(SegmentChangesError, match="File exists"), opened("vip", path, None):
        path.write_text("new")
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_file__in_no_folder_is_an_error(tmp_path):
    with (
        pytest.raises(SegmentChangesError, match="No such file or directory\nHint: Nothing is"),
        opened("vip", tmp_path / "none" / "out", None),
    ):
        pass


def test_pipe__is_written_to_as_it_is(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    reader.start()
    with opened("vip", path, None) as file:
        file.write("x\n")
    reader.join()
    assert got == ["x\n"]


def test_pipe__whose_reader_has_gone_is_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "w") as stdout,
        pytest.raises(SegmentChangesError, match="not delivered to stdout: Broken pipe"),
        opened("vip", None, stdout) as file,
    ):
        file.write("x\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Only Linux has such a device.")
def test_disk__that_is_full_is_an_error():
    with (
        open("/dev/full", "w") as stdout,
        pytest.raises(SegmentChangesError, match="No space left on device"),
        opened("vip", None, stdout) as file,
    ):
        file.write("x\n")
