"""Charts as inline SVG. Their colours come from the style sheet, so that no style is inline."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

SPARK_WIDTH, SPARK_HEIGHT = 72, 18

WIDTH, HEIGHT = 760, 250
"""The size of a chart in its own units; the browser scales it."""

LEFT, RIGHT, TOP = 70, 748, 14
"""The edges of what is drawn; beside them is room for labels."""

LINE_BOTTOM, BARS_TOP, BARS_BOTTOM = 150, 168, 226
"""Where the line of members ends, and where the bars of entered and left users are."""

MINUTES = re.compile(r"(?<!\\)([:.]?)i(?![:.]s)")
"""The minutes in a format of dates, and what stands before them."""

FLATTEST = 10
"""An axis begins at 0 if the course then takes at least one of so many parts of the height."""


@dataclass(frozen=True)
class Point:
    """A refresh in a chart: when it began, the members after it, and how many came and went.

    Attributes:
        redefined: Whether it is the first one after a change of the definition.
    """

    at: datetime
    members: int
    entered: int = 0
    left: int = 0
    redefined: bool = False

    @property
    def words(self) -> dict[str, str]:
        """All that it says, for people: the time, and numbers."""
        return {
            "at": moment(self.at),
            "entered": number(self.entered),
            "left": number(self.left),
            "members": members(self.members),
        }


@dataclass(frozen=True)
class Window:
    """A time that a chart shows from its left to its right edge, whatever is known of it.

    Attributes:
        before: How many members there were when it begins; None if that is not known.
    """

    start: datetime
    end: datetime
    before: int | None = None


def number(value: float | None) -> str:
    """Return a number with separators of thousands, and a dash for None."""
    return "-" if value is None else formats.number_format(value, force_grouping=True)


def moment(at: datetime, name: str = "DATETIME_FORMAT") -> str:
    """Return a time as the language writes it, and with seconds, which tell refreshes apart."""
    form = formats.get_format(name).replace("P", "g:i a")
    form = MINUTES.sub(lambda found: f"{found[0]}{found[1] or ':'}s", form)
    return formats.date_format(timezone.localtime(at), form)


def members(count: int) -> str:
    """Return a number of members in words, with separators of thousands."""
    return ngettext("%s member", "%s members", count) % number(count)


def sparkline(counts: Sequence[int]) -> SafeString:
    """Return a small line of numbers, the oldest first; nothing for fewer than two."""
    if len(counts) < 2:
        return SafeString("")
    step = (SPARK_WIDTH - 4) / (len(counts) - 1)
    heights = _scaled(counts, SPARK_HEIGHT - 3, 3)
    points = " ".join(f"{2 + step * n:.1f},{y:.1f}" for n, y in enumerate(heights))
    words = ngettext(
        "Last %(number)d refresh: from %(first)s to %(last)s",
        "Last %(number)d refreshes: from %(first)s to %(last)s",
        len(counts),
    ) % {"number": len(counts), "first": number(counts[0]), "last": members(counts[-1])}
    return format_html(
        '<svg class="segments-spark" role="img" aria-label="{0}" width="{1}" height="{2}" '
        'viewBox="0 0 {1} {2}"><title>{0}</title><polyline points="{3}"/></svg>',
        words,
        SPARK_WIDTH,
        SPARK_HEIGHT,
        points,
    )


def merged(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many points, and the first one as it is.

    Each stands for as many that follow each other: it has the time and the members of the last of
    them, and all who entered and left.
    """
    size = math.ceil((len(points) - 1) / (most - 1)) if len(points) > most else 1
    groups = [points[start : start + size] for start in range(1, len(points), size)]
    return [
        *points[:1],
        *(
            Point(
                group[-1].at,
                group[-1].members,
                sum(point.entered for point in group),
                sum(point.left for point in group),
                any(point.redefined for point in group),
            )
            for group in groups
        ),
    ]


def size_chart(points: Sequence[Point], window: Window | None = None) -> SafeString:
    """Return a chart of a segment's size over time, with who entered above who left.

    The axis of sizes begins at 0, so that heights compare as the numbers do. Only if all changes
    then took less than a tenth of the height, it begins at the smallest number, which stands
    beside it. The bars leave out a first refresh, at which all members enter at once: it would
    make the others too small to see.

    Args:
        points: The refreshes, the oldest first.
        window: The time that it shows; by default it is from the first refresh to the last one,
            and nothing is drawn for fewer than two. The line begins where the size is known.
    """
    if window and window.before is not None:
        points = [Point(window.start, window.before), *points]
    if len(points) < (1 if window else 2):
        return SafeString("")
    first, last = points[0], points[-1]
    window = window or Window(first.at, last.at)
    counts = [point.members for point in points]
    words = _("Size over time: from %(first)s to %(last)s, between %(low)s and %(high)s")
    label = words % {
        "first": number(first.members),
        "last": members(last.members),
        "low": number(min(counts)),
        "high": number(max(counts)),
    }
    return format_html(
        '<svg class="segments-chart" role="img" aria-label="{}" viewBox="0 0 {} {}">{}{}{}</svg>',
        label,
        WIDTH,
        HEIGHT,
        _frame(points, window),
        _line(points, window) + _marks(points, window),
        _bars(points, window),
    )


def _frame(points: Sequence[Point], window: Window) -> SafeString:
    """Return the axes and their labels."""
    counts = [point.members for point in points]
    low, high = _axis(counts)
    texts: list[tuple[float, float, str, str]] = [
        (LEFT - 6, TOP + 4, "end", number(high)),
        (LEFT - 6, LINE_BOTTOM + 4, "end", number(low)),
    ]
    if len(set(counts)) == 1:
        texts = [(LEFT - 6, (TOP + LINE_BOTTOM) / 2 + 4, "end", number(high))]
    rules: list[float] = [TOP, LINE_BOTTOM]
    if peak := _peak(points):
        middle = (BARS_TOP + BARS_BOTTOM) / 2
        texts += [
            (LEFT - 6, BARS_TOP + 9, "end", f"+{number(peak)}"),
            (LEFT - 6, BARS_BOTTOM, "end", f"\N{MINUS SIGN}{number(peak)}"),
        ]
        rules.append(middle)
    texts += [
        (LEFT, HEIGHT - 4, "start", _moment(window.start)),
        (RIGHT, HEIGHT - 4, "end", _moment(window.end)),
    ]
    lines = format_html_join(
        "", '<line class="rule" x1="{}" x2="{}" y1="{}" y2="{}"/>',
        ((LEFT, RIGHT, y, y) for y in rules),
    )  # fmt: skip
    return lines + format_html_join("", '<text x="{}" y="{}" text-anchor="{}">{}</text>', texts)


def _line(points: Sequence[Point], window: Window) -> SafeString:
    """Return the members as steps: they stay what they are until the next refresh.

    It begins with a dot if it does not begin at the left edge.
    """
    xs = _places(points, window)
    counts = [point.members for point in points]
    ys = _scaled(counts, LINE_BOTTOM, TOP, _axis(counts)[0])
    path = f"M{xs[0]:.1f},{ys[0]:.1f}" + "".join(
        f"H{x:.1f}V{y:.1f}" for x, y in zip(xs[1:], ys[1:], strict=True)
    )
    if points[-1].at < window.end:
        path += f"H{RIGHT}"
    dot = [(f"{xs[0]:.1f}", f"{ys[0]:.1f}")] if points[0].at > window.start else []
    return format_html('<path class="size" d="{}"/>', path) + format_html_join(
        "", '<circle class="first" cx="{}" cy="{}" r="4"/>', dot
    )


def _marks(points: Sequence[Point], window: Window) -> SafeString:
    """Return a mark at each refresh that is the first after a change of the definition."""
    title = _("%(at)s: the first refresh after a change of the definition, %(members)s")
    return format_html_join(
        "",
        '<g class="redefined"><title>{2}</title><line x1="{0}" x2="{0}" y1="{3}" y2="{1}"/>'
        '<path d="M{0},{4}l5,6l-5,6l-5,-6z"/></g>',
        (
            (f"{x:.1f}", BARS_BOTTOM, title % point.words, TOP, TOP - 8)
            for x, point in zip(_places(points, window), points, strict=True)
            if point.redefined
        ),
    )


def _bars(points: Sequence[Point], window: Window) -> SafeString:
    """Return a bar up for who entered and one down for who left, at each refresh."""
    peak = _peak(points)
    if not peak:
        return SafeString("")
    middle, room = (BARS_TOP + BARS_BOTTOM) / 2, (BARS_BOTTOM - BARS_TOP) / 2
    width = max(1.5, min(10, (RIGHT - LEFT) / len(points) * 0.6))
    bars = []
    drawn = _changes(points)
    for x, point in zip(_places(points, window)[-len(drawn) :], drawn, strict=True):
        left = min(max(x - width / 2, LEFT), RIGHT - width)
        up, down = (max(1, room * n / peak) if n else 0 for n in (point.entered, point.left))
        title = _("%(at)s: %(entered)s entered, %(left)s left, %(members)s") % point.words
        bars += [
            (kind, f"{left:.1f}", f"{y:.1f}", f"{width:.1f}", f"{height:.1f}", title)
            for kind, y, height in (("entered", middle - up, up), ("left", middle, down))
            if height
        ]
    return format_html_join(
        "",
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        bars,
    )


def _peak(points: Sequence[Point]) -> int:
    """Return the largest change that bars show."""
    return max((max(point.entered, point.left) for point in _changes(points)), default=0)


def _changes(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points without a first refresh, at which all members enter at once."""
    first = points[0]
    return points[1:] if first.entered == first.members else points


def _axis(counts: Sequence[int]) -> tuple[int, int]:
    """Return where the axis of sizes begins and ends."""
    low, high = min(counts), max(counts)
    return (low if (high - low) * FLATTEST < high else 0), high


def _places(points: Sequence[Point], window: Window) -> list[float]:
    """Return where the refreshes are from left to right, by time."""
    span = (window.end - window.start).total_seconds() or 1
    parts = ((point.at - window.start).total_seconds() / span for point in points)
    return [LEFT + (RIGHT - LEFT) * min(part, 1) for part in parts]


def _scaled(
    values: Sequence[int], bottom: float, top: float, start: int | None = None
) -> list[float]:
    """Return heights between bottom and top; equal values are in the middle.

    Args:
        start: The value at the bottom; the smallest one by default.
    """
    low, high = min(values), max(values)
    if low == high:
        return [(bottom + top) / 2] * len(values)
    low = low if start is None else start
    return [bottom - (bottom - top) * (value - low) / (high - low) for value in values]


def _moment(at: datetime) -> str:
    return formats.date_format(timezone.localtime(at), "SHORT_DATETIME_FORMAT")
