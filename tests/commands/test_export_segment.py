"""export_segment: what it writes, and where to."""

import os
import stat
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from segments.lists.export import replaced
from tests.commands.running import attempt, run

pytestmark = pytest.mark.django_db


@pytest.fixture
def pilot(users, make):
    return make("pilot", static_ids=users[:2])


def test_export__writes_to_stdout(pilot, users):
    assert run("export_segment", "pilot") == f"id\n{users[0].pk}\n{users[1].pk}\n"


def test_export__writes_fields(pilot, users):
    out = run("export_segment", "pilot", "--fields", "username, pk", "--format=csv")
    assert out.splitlines() == ["username,id", f"u0,{users[0].pk}", f"u1,{users[1].pk}"]


def test_export__writes_to_a_file(pilot, tmp_path):
    path = tmp_path / "pilot.csv"
    out = run("export_segment", "pilot", "--fields=username", "--output", str(path))
    assert out == f"pilot: 2 members written to {path}\n"
    assert path.read_text() == "username\nu0\nu1\n"
    assert os.listdir(tmp_path) == ["pilot.csv"]


def test_export__writes_to_a_device(pilot):
    assert "2 members" in run("export_segment", "pilot", "--output", os.devnull)
    assert not os.path.isfile(os.devnull)


def test_export__is_utf_8_whatever_the_terminal_has(pilot, users, tmp_path):
    users[0].first_name = "José"
    users[0].save()
    path = tmp_path / "stdout"
    with path.open("w", encoding="latin-1") as stdout:
        stdout.write("# ")
        call_command("export_segment", "pilot", "--fields=first_name", stdout=stdout)
        stdout.write("#")
    assert path.read_bytes() == '# first_name\nJosé\n""\n#'.encode()


def test_export__says_that_stdout_cannot_be_written(pilot):
    with Path("/dev/full").open("w") as stdout:
        with pytest.raises(CommandError, match="stdout cannot be written: No space left"):
            call_command("export_segment", "pilot", stdout=stdout)


def test_export__leaves_other_files_alone(pilot, tmp_path):
    """Such as one that ends in .part; a link stays a link, and the permissions stay."""
    path, other, link = tmp_path / "pilot.csv", tmp_path / "pilot.csv.part", tmp_path / "link.csv"
    other.write_text("other")
    path.write_text("former")
    path.chmod(0o600)
    link.symlink_to(path)
    run("export_segment", "pilot", "--fields=username", "--output", str(link))
    assert path.read_text() == "username\nu0\nu1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert other.read_text() == "other"
    assert len(os.listdir(tmp_path)) == 3


def test_export__that_runs_twice_at_once_is_whole(pilot, tmp_path):
    path = tmp_path / "pilot.csv"
    with replaced(path) as first, replaced(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["pilot.csv"]


def test_export__keeps_the_former_file_after_an_error(pilot, tmp_path):
    path = tmp_path / "pilot.csv"
    path.write_text("former")
    done = attempt("export_segment", "pilot", "--fields=password", "--output", str(path))
    assert 'the field "password" is never exported' in str(done.error)
    assert (path.read_text(), os.listdir(tmp_path)) == ("former", ["pilot.csv"])


def test_export__names_what_cannot_be_written(pilot, tmp_path):
    path = tmp_path / "nowhere" / "pilot.csv"
    done = attempt("export_segment", "pilot", "--output", str(path))
    assert str(done.error) == f"{path} cannot be written: No such file or directory"


def test_export__says_which_fields_there_are(pilot):
    done = attempt("export_segment", "pilot", "--fields=id,shoe")
    assert 'has no column "shoe"' in str(done.error)
    assert "username" in str(done.error)
    assert done.out == ""


def test_export__names_the_nearest_segment(pilot):
    error = attempt("export_segment", "pilto").error
    assert str(error) == 'There is no segment with the slug "pilto". Did you mean "pilot"?'
