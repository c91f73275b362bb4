"""list_segments: the table, the JSON, and the check of ages."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from segments.models import Segment
from tests.commands.running import Terminal, attempt, run
from tests.conftest import EVEN
from tests.waiting import until

pytestmark = pytest.mark.django_db

LONG = "a" * 63


@pytest.fixture
def aged(query):
    """Let the last refresh of a segment lie back."""

    def change(slug, **age):
        query(
            "UPDATE segments_segment SET refreshed_at = now() - %s, attempted_at = now() - %s "
            "WHERE slug = %s",
            timedelta(**age), timedelta(**age), slug,
        )  # fmt: skip

    return change


@pytest.fixture
def zoo(staff, make, failing, aged):
    """Segments of all kinds, in all states."""
    make("spenders", definition=EVEN, refresh_every=timedelta(hours=12))
    make("by-manager", manager_method="all")
    make("pilot", static_ids=[], is_active=False, refresh_every=timedelta(hours=1))
    make("overdue", static_ids=[], refresh_every=timedelta(minutes=1))
    assert attempt("refresh_segments", "failing").error
    aged("spenders", hours=2, minutes=5, seconds=9)
    aged("by-manager", days=3)
    aged("failing", days=10, hours=4, minutes=30)
    aged("overdue", seconds=200)
    Segment.objects.filter(slug="pilot").update(
        status="unpopulated", members_count=None, refreshed_at=None
    )


@pytest.fixture
def columns(monkeypatch):
    """Set the width of the terminal."""
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


def table(*args, **options):
    return run("list_segments", *args, **options).splitlines()


def test_table__elsewhere_is_plain_and_aligned(zoo):
    lines = table()
    assert re.sub(r"in \d+h\d*m?", "in 9h59m", "\n".join(lines)) == "\n".join(
        [
            "SLUG        KIND     MEMBERS  AGE    STATUS       NEXT      LAST ERROR",
            "by-manager  manager       10  3d     refreshed    -",
            "failing     sql           10  10d4h  failed       -         division by zero",
            "overdue     static         0  3m20s  refreshed    due",
            "pilot       static         -  -      unpopulated  inactive",
            "spenders    sql            5  2h5m   refreshed    in 9h59m",
        ]
    )


def test_table__has_thousands_separators(make, users):
    make()
    Segment.objects.update(members_count=1234567)
    assert "1,234,567" in table()[1]


def test_table__without_errors_has_no_such_column(users, make):
    make()
    assert table()[0].split() == ["SLUG", "KIND", "MEMBERS", "AGE", "STATUS", "NEXT"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120])
def test_table__fits_a_terminal(width, zoo, make, columns):
    make("a-segment-with-quite-a-long-slug")
    Segment.objects.filter(slug="failing").update(last_error="x" * 500)
    columns(width)
    lines = table(stdout=Terminal())
    assert max(map(len, lines)) <= width
    (error,) = [line for line in lines if "xxx" in line]
    assert error.endswith("xxx...")
    assert error.startswith("failing " if width == 120 else "  xxx")
    assert "a-segment-with-quite-a-long-slug" in lines[1]


def test_table__has_a_short_error_beside_its_row(zoo, columns):
    columns(80)
    (error,) = [line for line in table(stdout=Terminal()) if "division" in line]
    assert error.startswith("failing ")
    assert error.endswith("  division by zero")


def test_table__cuts_slugs_where_a_terminal_has_no_room(make, users, columns):
    make(LONG)
    columns(80)
    lines = table(stdout=Terminal())
    assert max(map(len, lines)) <= 80
    assert re.match(r"a{20,}\.\.\.  sql ", lines[1])
    assert LONG in table()[1]


def test_table__has_one_line_of_an_error_without_control_codes(users, make):
    make()
    Segment.objects.update(
        last_error='segment "vip": bad \x1b[31mvalue\nDETAIL: more\nHint: ask', status="failed"
    )
    line = table()[1]
    assert line.endswith("  bad  [31mvalue")
    Segment.objects.update(last_error="y" * 200)
    assert table()[1].endswith(f"  {'y' * 77}...")


def test_table__has_colours_on_a_terminal_only(zoo, columns):
    columns(120)
    terminal = run("list_segments", stdout=Terminal(), force_color=True)
    red = [line for line in terminal.splitlines() if line.startswith("\x1b[31;1m")]
    assert len(red) == 1
    assert "failing" in red[0]
    assert "\x1b" not in run("list_segments", force_color=True)
    assert "\x1b" not in run("list_segments", stdout=Terminal(), no_color=True)


def test_list__is_limited_to_slugs(zoo):
    assert [line.split()[0] for line in table("spenders", "pilot")[1:]] == ["pilot", "spenders"]
    done = attempt("list_segments", "spenders", "unheard", "gone")
    assert str(done.error).splitlines() == [
        'There is no segment with the slug "gone".',
        'There is no segment with the slug "unheard".',
    ]
    assert done.out == ""


def test_list__takes_a_slug_with_underscores_or_hyphens(users, make):
    make("win-back")
    make("big_spenders")
    rows = table("win_back", "big-spenders")[1:]
    assert [line.split()[0] for line in rows] == ["big_spenders", "win-back"]


def test_list__without_segments_says_so(db):
    assert run("list_segments") == "There are no segments.\n"
    assert run("list_segments", "--json") == ""
    assert run("list_segments", "--max-age", "1") == "There are no segments.\n"


def test_json__has_full_values_one_object_a_line(zoo):
    error = 'segment "failing": ' + "x" * 500 + "\nHint: ask"
    Segment.objects.filter(slug="failing").update(last_error=error)
    rows = {row["slug"]: row for row in map(json.loads, table("--json"))}
    assert list(rows) == ["by-manager", "failing", "overdue", "pilot", "spenders"]
    assert rows["failing"]["last_error"] == error
    assert rows["failing"]["failures"] == 1
    assert rows["pilot"] == {
        "slug": "pilot",
        "name": "Pilot",
        "kind": "static",
        "is_active": False,
        "members_count": None,
        "refreshed_at": None,
        "age": None,
        "status": "unpopulated",
        "failures": 0,
        "last_error": None,
        "refresh_every": 3600.0,
        "due": None,
        "due_in": None,
        "overrun": None,
        "overrun_pid": None,
    }
    spenders = rows["spenders"]
    segment = Segment.objects.get(slug="spenders")
    refreshed_at = datetime.fromisoformat(spenders["refreshed_at"])
    assert (refreshed_at, refreshed_at.tzinfo) == (segment.refreshed_at, UTC)
    assert 7509 <= spenders["age"] < 7600
    due = datetime.fromisoformat(spenders["due"])
    assert abs((due - timezone.now()).total_seconds() - spenders["due_in"]) < 60
    assert rows["overdue"]["due_in"] < 0


def test_json__agrees_with_the_catalog(zoo, query):
    catalog = query(
        "SELECT slug, kind, members_count, refreshed_at, status, last_error, failures, due "
        "FROM segments.catalog ORDER BY slug"
    )
    parsed = [json.loads(line) for line in table("--json")]

    def moment(text):
        return text and datetime.fromisoformat(text)

    assert catalog == [
        (
            row["slug"], row["kind"], row["members_count"], moment(row["refreshed_at"]),
            row["status"], row["last_error"] or "", row["failures"], moment(row["due"]),
        )
        for row in parsed
    ]  # fmt: skip


def test_max_age__names_active_segments_that_are_older(zoo):
    done = attempt("list_segments", "--max-age", "24")
    assert done.error.returncode == 1
    assert str(done.error) == "Older than 24 h: by-manager (3d), failing (10d4h)"
    assert done.lines == table()
    done = attempt("list_segments", "--max-age", "1.5", "--json", "spenders", "overdue")
    assert str(done.error) == "Older than 1.5 h: spenders (2h5m)"
    assert len(done.lines) == 2
    assert attempt("list_segments", max_age=300).error is None


def test_max_age__counts_segments_that_were_never_populated(zoo):
    assert attempt("list_segments", "pilot", "--max-age", "1").error is None
    Segment.objects.filter(slug="pilot").update(is_active=True)
    done = attempt("list_segments", "pilot", "--max-age", "1")
    assert str(done.error) == "Older than 1 h: pilot (never populated)"


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_max_age__takes_hours_only(number, db):
    done = attempt("list_segments", f"--max-age={number}")
    assert "a number of hours above 0" in str(done.error)


def test_list__costs_three_queries_however_many_segments(make, django_assert_num_queries):
    for n in range(3):
        make(f"s{n}", static_ids=[], refresh_every=timedelta(hours=1))
    with django_assert_num_queries(3):
        assert len(table("--json")) == 3


@pytest.mark.usefixtures("clean_views")
class TestOverruns:
    """Statements that no timeout has stopped, in other sessions."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.fixture
    def running(self, session, query):
        """Let another session work on a segment for a second longer than a limit."""
        with ThreadPoolExecutor(1) as pool:
            other = session()
            pid = other.info.backend_pid

            def start(slug, limit):
                other.execute(
                    "SELECT set_config('application_name', %s, false)", [f"segments: {slug}"]
                )
                pool.submit(other.execute, "SELECT pg_sleep(100)")
                until(
                    lambda: query(
                        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep' "
                        "AND query_start < clock_timestamp() - %s - interval '1 second'",
                        pid,
                        limit,
                    )
                )
                return pid

            yield start
            query("SELECT pg_cancel_backend(%s)", pid)

    def test_overrun__of_a_segments_timeout_is_shown(self, users, make, running):
        make(timeout=timedelta(milliseconds=50))
        make("other")
        pid = running("vip", timedelta(milliseconds=50))
        lines = table()
        assert re.search(rf"runs past its timeout, for \d+s so far, as pid {pid}$", lines[2])
        assert "timeout" not in lines[1]
        (other, vip) = map(json.loads, table("--json"))
        assert (vip["overrun_pid"], other["overrun_pid"]) == (pid, None)
        assert vip["overrun"] > 1

    def test_overrun__of_the_setting_is_shown(self, users, make, running, settings):
        settings.SEGMENTS_STATEMENT_TIMEOUT = 0.05
        make(LONG, static_ids=[])
        pid = running(LONG, timedelta(milliseconds=50))
        assert f"as pid {pid}" in table()[1]

    def test_overrun__needs_a_timeout_that_is_over(self, users, make, running, settings):
        make("long", timeout=timedelta(hours=1))
        running("long", timedelta())
        assert "timeout" not in table()[1]
        Segment.objects.update(timeout=timedelta())  # No limit.
        assert "timeout" not in table()[1]
