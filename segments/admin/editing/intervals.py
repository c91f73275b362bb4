"""Lengths of time as people write them, and as they read them."""

import re
from datetime import timedelta

from django.utils.dateparse import parse_duration

UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
"""The units, by their first letter."""

WEEKS = re.compile(r"P(\d+(?:[.,]\d+)?)W")
"""How ISO 8601 writes weeks, which Django does not read."""

NUMBER = re.compile(r"[-+]?[\d.,]+")

WORDS = {"hourly": "1 hour", "daily": "1 day", "weekly": "1 week"}

UNIT = r"weeks?|wks?|w|days?|d|hours?|hrs?|hr?|minutes?|mins?|m|seconds?|secs?|s"

PART = re.compile(rf"(?P<number>\d+(?:\.\d+)?|an?)?\s*(?P<unit>{UNIT})(?![a-z])\s*(?:,|and\b)?\s*")
"""A number and its unit, as in `1 hour`, `30min` and `an hour`. The number may be missing once."""


def parse_interval(text: str) -> timedelta | None:
    """Return the time that a text names, or None if it names none.

    Reads `every hour`, `1 hour 30 min`, `1h30m`, `daily`, and what Django reads, which includes
    ISO 8601 (`PT1H`, here with weeks) and `1 06:00:00`, but no number without a unit: few people
    mean seconds by that, as Django does.
    """
    plain = " ".join(text.split())
    if not plain or NUMBER.fullmatch(plain):
        return None
    try:
        found = _from_iso(plain.upper()) if plain[0] in "pP" else parse_duration(plain)
    except OverflowError:
        return None
    return found if found is not None else _from_words(plain.lower())


def in_words(value: timedelta) -> str:
    """Return a time as people read it: `1 hour 30 minutes`, which `parse_interval` reads too.

    It is not translated, because forms that nobody has changed send it back.
    """
    if value < timedelta() or value.microseconds:
        return str(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    counts = {"day": value.days, "hour": hours, "minute": minutes, "second": seconds}
    parts = [f"{n} {unit}{'s' if n > 1 else ''}" for unit, n in counts.items() if n]
    return " ".join(parts) or "0 seconds"


def _from_iso(text: str) -> timedelta | None:
    """Read a text that begins with P. Django takes one without any number for no time at all."""
    weeks = WEEKS.match(text)
    rest = text[weeks.end() :] if weeks else text[1:]
    whole = timedelta(weeks=float(weeks[1].replace(",", "."))) if weeks else timedelta()
    if not rest or rest.endswith("T"):
        return whole if weeks and not rest else None
    found = parse_duration(f"P{rest}")
    return None if found is None else whole + found


def _from_words(text: str) -> timedelta | None:
    text = text.removeprefix("every ").strip()
    text = WORDS.get(text, text)
    total, index = timedelta(), 0
    while index < len(text):
        part = PART.match(text, index)
        if part is None or (part["number"] is None and index > 0):
            return None
        number = part["number"]
        try:
            total += UNITS[part["unit"][0]] * (1 if number in (None, "a", "an") else float(number))
        except OverflowError:
            return None
        index = part.end()
    return total if text else None
