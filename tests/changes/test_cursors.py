"""A cursor is a place in one segment's changes, and nothing else passes for one."""

from datetime import UTC, datetime

import pytest

from segments.changes.cursors import Place, parse
from segments.exceptions import SegmentChangesError

PLACE = Place(7, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), 2**63 - 1)


def test_cursor__means_the_same_place():
    assert parse(PLACE.cursor(), "vip", 7) == PLACE


def test_cursor__is_one_word():
    assert PLACE.cursor().replace("-", "").replace("_", "").isalnum()


def test_cursor__of_another_segment_is_an_error():
    with pytest.raises(SegmentChangesError, match='"gold": this is a cursor of another segment'):
        parse(PLACE.cursor(), "gold", 8)


@pytest.mark.parametrize(
    "broken",
    [
        "", "x", "=", "Ω", None, 42, b"abc", "NDI",
        PLACE.cursor()[:-1], PLACE.cursor() + "A", f" {PLACE.cursor()}", PLACE.cursor() + "\n",
        PLACE.cursor()[:5] + "!" + PLACE.cursor()[5:],
        PLACE.cursor().swapcase(), PLACE.cursor()[::-1], PLACE.cursor() * 40,
    ],
)  # fmt: skip
def test_cursor__that_is_none_is_an_error(broken):
    with pytest.raises(SegmentChangesError, match="is no cursor of changes"):
        parse(broken, "vip", 7)


def test_cursor__with_any_other_character_is_an_error():
    cursor = PLACE.cursor()
    for n, character in enumerate(cursor):
        other = "A" if character != "A" else "B"
        with pytest.raises(SegmentChangesError):
            parse(cursor[:n] + other + cursor[n + 1 :], "vip", 7)
