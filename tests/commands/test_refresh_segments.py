"""refresh_segments: what it prints, on a terminal and elsewhere, and what it exits with."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection

from segments.models import Segment
from tests.commands.running import Terminal, attempt, run
from tests.processes import ROOT

pytestmark = pytest.mark.django_db

WITHOUT_RICH = """
import sys
sys.modules["rich"] = None
import django
from django.core.management import call_command
django.setup()
call_command("refresh_segments", "--help")
"""


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.roles
def test_refresh__takes_all_active_ones_in_order(users, make):
    make("z-early")
    make("a-late", definition="SELECT user_id FROM segments.z_early")
    make("off", is_active=False)
    users[0].delete()
    lines = run("refresh_segments").splitlines()
    assert [re.sub(r"\d\.\d\d s", "T", line) for line in lines] == [
        "z-early: 9 members, +0 -1, T",
        "a-late: 9 members, +0 -1, T",
    ]


def test_refresh__takes_named_ones_even_if_inactive(users, make):
    make("off", is_active=False)
    make("other")
    assert run("refresh_segments", "off").startswith("off: 10 members")


@pytest.mark.roles
def test_refresh__goes_on_after_a_failure_and_names_it(failing, make):
    make("good")
    make("last")
    done = attempt("refresh_segments")
    assert str(done.error) == "1 of 3 segments failed; their members are kept: failing"
    assert done.error.returncode == 1
    assert 'segment "failing": division by zero' in done.err
    assert "failing: failed" in done.lines
    assert Segment.objects.filter(status="refreshed").count() == 2


def test_refresh__prints_notes_below_their_segment(failing, make):
    make("above", definition="SELECT user_id FROM segments.failing")
    done = attempt("refresh_segments", "--force")
    assert done.lines[0] == "failing: failed"
    assert done.lines[1].startswith("above: 10 members")
    assert done.lines[2] == "  it reads failing, which failed, so its last good members were used"


def test_refresh__of_an_unknown_slug_refreshes_none(users, make):
    make()
    done = attempt("refresh_segments", "vip", "lost", "gone")
    assert str(done.error).splitlines() == [
        'There is no segment with the slug "gone".',
        'There is no segment with the slug "lost".',
    ]
    assert Segment.objects.get().refreshes.count() == 1


def test_refresh__takes_a_slug_with_underscores_or_hyphens(users, make):
    make("win-back")
    make("big_spenders")
    assert len(run("refresh_segments", "win_back", "big-spenders").splitlines()) == 2
    done = attempt("refresh_segments", "win-bak")
    message = 'There is no segment with the slug "win-bak". Did you mean "win-back"?'
    assert str(done.error) == message


def test_refresh__without_segments_says_so(db):
    assert run("refresh_segments") == "There are no active segments.\n"


def test_refresh__takes_due_ones_only(users, make, settings):
    make()
    assert run("refresh_segments", "--due") == "No segment is due.\n"
    settings.SEGMENTS_REFRESH_EVERY = 0
    assert run("refresh_segments", "--due").startswith("vip: 10 members")


def test_refresh__not_concurrently_rewrites(users, make, query):
    make()
    before = query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")
    run("refresh_segments", "--no-concurrently")
    assert before != query("SELECT relfilenode FROM pg_class WHERE oid = 'segments.vip'::regclass")


def test_progress__is_one_line_on_a_terminals_stderr(users, make):
    make()
    make("other")
    done = attempt("refresh_segments", stderr=Terminal())
    assert done.error is None
    ready = re.findall(r"\r(Refreshing \d/\d \.\.\.)", done.err)
    assert ready == [f"Refreshing {n}/2 ..." for n in range(3)]
    assert "\n" not in done.err
    assert done.err.endswith(f"\r{' ' * len(ready[0])}\r")
    assert done.out.count("10 members") == 2
    assert "\x1b" not in done.out + done.err


def test_progress__gives_way_to_the_error_of_a_failure(failing):
    done = attempt("refresh_segments", stderr=Terminal())
    width = len("Refreshing 0/1 ...")
    assert f'Refreshing 0/1 ...\r{" " * width}\rsegment "failing": division' in done.err
    assert done.err.endswith(f"\r{' ' * width}\r")


def test_progress__is_not_shown_elsewhere_or_if_quiet(users, make):
    make()
    assert attempt("refresh_segments", stdout=Terminal()).err == ""
    assert attempt("refresh_segments", "--quiet", stderr=Terminal()).err == ""


@pytest.mark.parametrize("option", [["--quiet"], ["-v", "0"]])
def test_quiet__prints_failures_only(option, failing, make):
    make("above", definition="SELECT user_id FROM segments.failing")
    done = attempt("refresh_segments", "--force", *option)
    assert done.out == ""
    assert done.err.startswith('segment "failing": division by zero')
    assert str(done.error) == "1 of 2 segments failed; their members are kept: failing"
    done = attempt("refresh_segments", "above", *option)
    assert (done.out, done.err, done.error) == ("", "", None)


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_quiet__and_json_print_no_remarks(option, users, make):
    assert run("refresh_segments", option) == ""
    make()
    assert run("refresh_segments", "--due", option) == ""


def test_json__is_one_object_a_line(users, make):
    make()
    users[0].delete()
    (first,) = objects(run("refresh_segments", "--json"))
    assert 0 < first.pop("duration") < 60
    assert first == {
        "slug": "vip",
        "status": "refreshed",
        "members_count": 9,
        "added": 0,
        "removed": 1,
        "error": None,
        "notes": [],
    }


def test_json__has_failures_instead_of_stderr(failing, make):
    make("above", definition="SELECT user_id FROM segments.failing")
    done = attempt("refresh_segments", "--json", "--force")
    assert done.err == ""
    assert done.error.returncode == 1
    assert "failing" in str(done.error)
    failed, above = objects(done.out)
    assert (failed["slug"], failed["status"], failed["members_count"]) == ("failing", "failed", 10)
    assert (failed["added"], failed["removed"]) == (None, None)
    assert 'segment "failing": division by zero' in failed["error"]
    assert above["error"] is None
    assert above["notes"] == ["it reads failing, which failed, so its last good members were used"]


def test_json__if_quiet_has_failures_only(failing, make):
    make("good")
    done = attempt("refresh_segments", "--json", "--quiet")
    assert [result["slug"] for result in objects(done.out)] == ["failing"]
    assert done.err == ""


def test_watch__takes_no_slugs(db):
    done = attempt("refresh_segments", "vip", "--watch")
    assert str(done.error) == "--watch refreshes all active segments: name none."


@pytest.mark.slow
def test_command__does_without_rich():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RICH],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "--quiet" in done.stdout


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
class TestWatch:
    """The command in a process of its own, whose output a log shipper reads line by line."""

    @pytest.fixture
    def watch(self):
        """Start the command with options."""
        started = []

        def start(*options):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "django", "refresh_segments", "--watch", *options],
                    cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=os.environ | {
                        "DJANGO_SETTINGS_MODULE": "tests.settings",
                        "SEGMENTS_DATABASE": connection.settings_dict["NAME"],
                    },
                )
            )  # fmt: skip
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.communicate()

    @pytest.fixture
    def due(self, failing, make):
        """Two segments that are due at once, one of which fails."""
        make("vip")
        Segment.objects.update(refresh_every=timedelta(hours=1), attempted_at=None)

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out, err

    def test_watch__prints_each_result_at_once(self, due, watch):
        process = watch()
        assert process.stdout.readline().startswith("Watching; SIGTERM or Ctrl-C ends")
        lines = sorted(process.stdout.readline() for _ in range(2))
        assert lines[0] == "failing: failed\n"
        assert lines[1].startswith("vip: 10 members")
        out, err = self.end(process)
        assert out == ""
        assert err.startswith('segment "failing": division by zero')

    def test_watch__prints_json_only(self, due, watch):
        process = watch("--json")
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert {line["slug"]: bool(line["error"]) for line in lines} == {
            "failing": True, "vip": False,
        }  # fmt: skip
        assert self.end(process) == ("", "")

    def test_watch__if_quiet_prints_failures_only(self, due, watch):
        process = watch("--quiet")
        assert process.stderr.readline() == 'segment "failing": division by zero\n'
        out, _ = self.end(process)
        assert out == ""
