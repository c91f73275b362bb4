"""compare_segments: counts, intersections and Jaccard indices."""

import csv
import json
from io import StringIO

import pytest

from segments.models import Segment
from tests.commands.running import attempt, run
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(staff, users, make):
    """Segments of the users with even names, of the last four, and of nobody."""
    make("is-even", definition=EVEN)
    make("late", definition=f"SELECT id FROM {USERS} WHERE username > 'u5'")
    make("none", static_ids=[])


def test_compare__prints_aligned_tables(three):
    assert run("compare_segments", "is_even", "late", "none").splitlines() == [
        "SEGMENT  MEMBERS",
        "is-even        5",
        "late           4",
        "none           0",
        "",
        "FIRST    SECOND  BOTH  ONLY FIRST  ONLY SECOND  JACCARD",
        "is-even  late       2           3            2    0.286",
        "is-even  none       0           5            0    0.000",
        "late     none       0           4            0    0.000",
    ]


def test_compare__of_nobody_has_no_index(three, make):
    make("nobody", static_ids=[])
    out = run("compare_segments", "none", "nobody")
    assert out.splitlines()[-1].split() == ["none", "nobody", "0", "0", "0", "-"]
    (line,) = csv.DictReader(StringIO(run("compare_segments", "none", "nobody", "--format=csv")))
    assert line["jaccard"] == ""


def test_compare__prints_json(three):
    found = json.loads(run("compare_segments", "late", "is-even", "--format", "json"))
    assert found == {
        "counts": {"late": 4, "is-even": 5},
        "pairs": [
            {
                "first": "late",
                "second": "is-even",
                "both": 2,
                "only_first": 2,
                "only_second": 3,
                "jaccard": 2 / 7,
            }
        ],
    }


def test_compare__prints_csv(three):
    out = run("compare_segments", "is-even", "late", "none", "--format=csv")
    assert "\r" not in out
    lines = list(csv.DictReader(StringIO(out)))
    assert [(line["first"], line["second"], line["both"]) for line in lines] == [
        ("is-even", "late", "2"),
        ("is-even", "none", "0"),
        ("late", "none", "0"),
    ]
    assert float(lines[0]["jaccard"]) == 2 / 7


@pytest.mark.parametrize(
    ("slugs", "message"),
    [
        (["late"], "a comparison takes 2 segments or more, not 1"),
        (["late", "late"], 'segment "late": a comparison takes each segment once'),
        (["late", "lato"], 'There is no segment with the slug "lato". Did you mean "late"?'),
        (["late", "new"], 'segment "new": it was never populated'),
    ],
)
def test_compare__says_what_is_wrong(slugs, message, three):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=EVEN)])
    done = attempt("compare_segments", *slugs)
    assert message in str(done.error)
    assert (done.out, done.error.returncode) == ("", 1)


def test_compare__takes_known_formats_only(three):
    done = attempt("compare_segments", "late", "none", "--format=yaml")
    assert "invalid choice" in str(done.error)
