"""load_segment: what it prints, and what it exits with."""

import io
import sys

import pytest
from django.core.management import CommandError, call_command

from segments.models import Segment, StaticMember
from tests.commands.running import attempt, run

pytestmark = pytest.mark.django_db

COUNTS = "{} read, {} added, {} removed, {} already there, {} not there"


@pytest.fixture
def pilot(users, make):
    return make("pilot", static_ids=users[:3])


@pytest.fixture
def file(tmp_path):
    """Write text or bytes to a file, and return its path."""

    def write(content):
        path = tmp_path / "ids.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def text(users):
    return "".join(f"{user.pk}\n" for user in users)


def names(segment):
    return sorted(segment.members.values_list("username", flat=True))


def test_load__replaces_by_default(pilot, users, file):
    out = run("load_segment", "pilot", file(text(users[2:5])))
    assert out == (
        f"pilot: {COUNTS.format('3 lines', 2, 2, 1, 0)}, 0 duplicates, 0 malformed, 0 unknown\n"
    )
    assert names(pilot) == ["u2", "u3", "u4"]


def test_load__reads_stdin(pilot, users, monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(text(users[5:6]).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert COUNTS.format("1 line", 1, 0, 0, 0) in run(
        "load_segment", "pilot", "-", "--mode", "add"
    )
    assert names(pilot) == ["u0", "u1", "u2", "u5"]


def test_load__removes_by_another_field(pilot, file):
    path = file("name;username\nx;u0\nx;u9\n")
    out = run("load_segment", "pilot", path, "--mode=remove", "--by=username")
    assert COUNTS.format("2 lines", 0, 1, 0, 1) in out
    assert names(pilot) == ["u1", "u2"]


def test_load__fails_with_the_bad_lines(pilot, users, file):
    path = file(f"ada\n{users[5].pk}\n0\n")
    done = attempt("load_segment", "pilot", path)
    assert str(done.error).splitlines()[1:3] == [
        '  line 1: "ada" is not a whole number of at most 64 bits',
        "  line 3: no user has the id 0",
    ]
    assert "--skip-bad" in str(done.error)
    assert (done.out, done.error.returncode) == ("", 1)
    assert names(pilot) == ["u0", "u1", "u2"]


def test_load__skips_bad_lines_and_names_them(pilot, users, file):
    done = attempt("load_segment", "pilot", file(f"ada\n{users[5].pk}\n0\n"), "--skip-bad")
    assert done.error is None
    assert done.lines[1:] == [
        '  line 1: "ada" is not a whole number of at most 64 bits',
        "  line 3: no user has the id 0",
    ]
    assert names(pilot) == ["u5"]


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        ("1\n".encode("utf-16"), [], "it is in UTF-16"),
        ("José\n".encode("latin-1"), ["--by=username"], "It looks like Latin-1"),
        ("id,id\n1,1\n", [], 'the header names "id" twice'),
        ("1\n", ["--by=email"], 'the field "email" of accounts.SegmentableUser is not unique'),
        ("1\n", ["--by=shoe"], 'has no field "shoe"'),
    ],
)
def test_load__says_why_it_cannot_read(pilot, file, content, options, why):
    done = attempt("load_segment", "pilot", file(content), *options)
    assert why in str(done.error)
    assert "Hint: " in str(done.error)
    assert StaticMember.objects.count() == 3


def test_load__names_a_missing_file_and_segment(pilot, tmp_path):
    assert "No such file" in str(attempt("load_segment", "pilot", str(tmp_path / "x")).error)
    error = attempt("load_segment", "pilto", "-").error
    assert str(error) == (
        'There is no segment with the slug "pilto". Did you mean "pilot"? '
        "--create NAME makes a new one."
    )


def test_create__saves_a_segment_with_its_list(pilot, users, file):
    out = run("load_segment", "beta", file(text(users[2:5])), "--create", "Beta testers")
    assert out.startswith(f"beta: {COUNTS.format('3 lines', 3, 0, 0, 0)}")
    beta = Segment.objects.get(slug="beta")
    assert (beta.name, names(beta)) == ("Beta testers", ["u2", "u3", "u4"])


def test_create__saves_nothing_if_the_list_is_bad(file):
    for content, why in (("0\n", "no line of the list names a user"), ("", "has no line")):
        done = attempt("load_segment", "beta", file(content), "--create=Beta")
        assert why in str(done.error)
    assert not Segment.objects.exists()


def test_create__needs_a_slug_that_is_free(pilot, users, file):
    done = attempt("load_segment", "pilot", file(text(users[5:6])), "--create=Pilot")
    assert str(done.error).startswith(
        'There is a segment with the slug "pilot". Leave out --create'
    )
    assert names(pilot) == ["u0", "u1", "u2"]


def test_load__refuses_another_mode(pilot):
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("load_segment", "pilot", "-", "--mode=append")


def test_load__explains_sql(make, users, file):
    make()
    done = attempt("load_segment", "vip", file(text(users[:1])), "--mode=remove")
    assert "its members are those that SQL selects" in str(done.error)


@pytest.mark.parametrize("content", ["", "\n \n", "id,name\n", ";;\n"])
def test_load__refuses_an_empty_file(pilot, file, content):
    done = attempt("load_segment", "pilot", file(content), "--skip-bad")
    assert "has no line, and nothing was loaded" in str(done.error)
    assert "--allow-empty" in str(done.error)
    assert names(pilot) == ["u0", "u1", "u2"]
    assert COUNTS.format("0 lines", 0, 0, 0, 0) in run(
        "load_segment", "pilot", file(content), "--mode=add"
    )
    assert COUNTS.format("0 lines", 0, 3, 0, 0) in run(
        "load_segment", "pilot", file(content), "--allow-empty"
    )
    assert names(pilot) == []


def test_load__refuses_a_file_without_a_good_line(pilot, file):
    path = file("ada\n0\n")
    for options in ([], ["--allow-empty"]):
        done = attempt("load_segment", "pilot", path, "--skip-bad", *options)
        assert "no line of the list names a user" in str(done.error)
        assert "Hint: Correct these lines" in str(done.error)
    assert names(pilot) == ["u0", "u1", "u2"]


@pytest.mark.slow
def test_load__skips_a_million_unknown_lines(pilot, users, file):
    path = file(text(users[:1]) + "".join(f"{n}\n" for n in range(-1_000_000, 0)))
    done = attempt("load_segment", "pilot", path, "--skip-bad")
    assert done.error is None
    assert done.lines[0].endswith("0 malformed, 1,000,000 unknown")
    assert done.lines[-1] == "  and 999,950 more that are unknown"
    assert (len(done.lines), names(pilot)) == (52, ["u0"])
