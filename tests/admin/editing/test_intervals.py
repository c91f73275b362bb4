"""Lengths of time in words."""

from datetime import timedelta

import pytest

from segments.admin.editing.intervals import in_words, parse_interval

HOUR = timedelta(hours=1)

READ = {
    "every hour": HOUR,
    "Every 2 hours": 2 * HOUR,
    "1 hour": HOUR,
    "an hour and 5 minutes": HOUR + timedelta(minutes=5),
    "1h30m": 1.5 * HOUR,
    "1.5 hours": 1.5 * HOUR,
    "30 min": HOUR / 2,
    "PT1H": HOUR,
    "pt30m": HOUR / 2,
    "P1D": 24 * HOUR,
    "P1W": 168 * HOUR,
    "p2w": 336 * HOUR,
    "P1W2DT3H": 219 * HOUR,
    "P0,5W": 84 * HOUR,
    "1 06:00:00": 30 * HOUR,
    "01:00:00": HOUR,
    "  daily ": 24 * HOUR,
    "every week": 168 * HOUR,
    "2 weeks, 3 days": timedelta(days=17),
}


@pytest.mark.parametrize(("text", "expected"), READ.items())
def test_parse__reads_what_people_write(text, expected):
    assert parse_interval(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "90",
        "-1",
        "1.5",
        "soon",
        "a month",
        "hour day",
        "1 houry",
        "1 hour ago",
        "99999999999 weeks",
        "P",
        "p",
        "PT",
        "P1DT",
        "P1WT",
        "P1M",
        "PW",
        "P99999999999W",
    ],
)
def test_parse__refuses_anything_else(text):
    assert parse_interval(text) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (HOUR, "1 hour"),
        (30 * HOUR, "1 day 6 hours"),
        (timedelta(minutes=90, seconds=1), "1 hour 30 minutes 1 second"),
        (timedelta(), "0 seconds"),
        (timedelta(milliseconds=1500), "0:00:01.500000"),
        (-HOUR, "-1 day, 23:00:00"),
    ],
)
def test_words__are_read_back(value, words):
    assert in_words(value) == words
    assert parse_interval(words) == value
