"""The list of segments: how each is doing, as values and as a table."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models.functions import Now

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.refreshing.schedule import due_times
from segments.rows import FAILURES, segment_rows, with_slugs
from segments.sql import session

if TYPE_CHECKING:
    from segments.models import Segment

HEADINGS = ("SLUG", "KIND", "MEMBERS", "AGE", "STATUS", "NEXT")
ERROR_HEADING = "LAST ERROR"

GAP = "  "

MIN_SLUG = 16
"""How many characters of a slug a terminal shows at least."""

MIN_ERROR = 32
"""How many characters of an error must fit beside its row; otherwise it stands below."""

MAX_ERROR = 80
"""How many characters of an error are printed where there is no terminal."""

UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class ListedSegment:
    """A segment and how it is doing.

    Attributes:
        kind: What defines it: sql, static or manager.
        members_count, refreshed_at, age: Of the last good refresh; None before the first.
        last_error: Why the last refresh failed; None if it did not.
        due: When the next refresh is due; None without an interval, or if not active.
        due_in: The time until then; negative if the segment is overdue.
        overrun: How long a statement of its refresh has been running, if that is longer than its
            timeout; otherwise None.
        overrun_pid: The process id of the session that runs it.
    """

    slug: str
    name: str
    kind: str
    is_active: bool
    members_count: int | None
    refreshed_at: datetime | None
    age: timedelta | None
    status: str
    failures: int
    last_error: str | None
    refresh_every: timedelta | None
    due: datetime | None
    due_in: timedelta | None
    overrun: timedelta | None
    overrun_pid: int | None

    def is_older(self, limit: timedelta) -> bool:
        """Return whether the segment is active, but its members are older than that or missing."""
        return self.is_active and (self.age is None or self.age > limit)


def list_segments(slugs: Collection[str] = ()) -> list[ListedSegment]:
    """Return the segments by slug, all if none is named. Three queries; reads no view.

    Ages are measured by the clock of the database.
    """
    rows = segment_rows(conf.exec_connection()).order_by("slug").annotate(now=Now())
    if slugs:
        rows = with_slugs(rows, slugs)
    with translated(SegmentExecutionError):
        segments = list(rows)
    due_of = {row.pk: due for row, due in due_times(row for row in segments if row.is_active)}
    overruns = _overruns(segments)
    return [
        _describe(row, due_of.get(row.pk), overruns.get(session.application_name(row.slug)))
        for row in segments
    ]


def _overruns(segments: "list[Segment]") -> dict[str, tuple[int, timedelta]]:
    """Return the sessions that work on a segment for longer than its timeout, by their names."""
    limits = [
        (session.application_name(row.slug), limit)
        for row in segments
        if (limit := conf.statement_timeout() if row.timeout is None else row.timeout)
    ]
    with translated(SegmentExecutionError):
        rows = session.fetch_all(
            connections[conf.exec_connection()],
            "select_overruns",
            names=[name for name, _ in limits],
            timeouts=[limit for _, limit in limits],
        )
    return {name: (pid, duration) for name, pid, duration in rows}


def table(segments: list[ListedSegment], width: int | None = None) -> list[tuple[str, bool]]:
    """Return the lines of a table, and whether each is about a segment that has failed
    or that is refreshed for longer than its timeout.

    Args:
        width: That of the terminal; None if the table is printed elsewhere.
    """
    rows = [HEADINGS, *map(_cells, segments)]
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = MAX_ERROR
    if width is not None:
        others = sum(sizes[1:]) + len(GAP) * (len(sizes) - 1)
        sizes[0] = min(sizes[0], max(width - others, MIN_SLUG))
        room = width - sizes[0] - others - len(GAP)
    errors = [_short_error(segment) for segment in segments]
    longest = max(map(len, [ERROR_HEADING, *errors]))
    beside = room >= min(longest, MIN_ERROR)
    lines = [(_line(HEADINGS, sizes, ERROR_HEADING if beside and any(errors) else ""), False)]
    for segment, row, error in zip(segments, rows[1:], errors, strict=True):
        failed = segment.status in FAILURES or segment.overrun is not None
        lines.append((_line(row, sizes, _cut(error, room) if beside else ""), failed))
        if error and width is not None and not beside:
            lines.append((GAP + _cut(error, width - len(GAP)), failed))
    return lines


def brief(duration: timedelta) -> str:
    """Return a duration in its two largest units, such as 2d3h or 45s."""
    seconds, parts = max(0, int(duration.total_seconds())), []
    for size, unit in UNITS:
        number, seconds = divmod(seconds, size)
        parts.append((number, unit))
    first = next((n for n, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = parts[first : first + 2]
    return "".join(f"{number}{unit}" for number, unit in shown if number) or "0s"


def _describe(
    row: "Segment", due: datetime | None, overrun: tuple[int, timedelta] | None
) -> ListedSegment:
    pid, duration = overrun or (None, None)
    now: datetime = row.now  # type: ignore[attr-defined]  # Annotated by `list_segments`.
    return ListedSegment(
        slug=row.slug,
        name=row.name,
        kind=row.kind,
        is_active=row.is_active,
        members_count=row.members_count,
        refreshed_at=row.refreshed_at,
        age=max(now - row.refreshed_at, timedelta()) if row.refreshed_at else None,
        status=row.status,
        failures=row.failures,
        last_error=row.last_error or None,
        refresh_every=row.refresh_every,
        due=due,
        due_in=due - now if due else None,
        overrun=duration,
        overrun_pid=pid,
    )


def _cells(segment: ListedSegment) -> tuple[str, ...]:
    count = segment.members_count
    if not segment.is_active:
        next_refresh = "inactive"
    elif segment.due_in is None:
        next_refresh = "-"
    else:
        next_refresh = "due" if segment.due_in <= timedelta() else f"in {brief(segment.due_in)}"
    return (
        segment.slug,
        segment.kind,
        "-" if count is None else f"{count:,}",
        "-" if segment.age is None else brief(segment.age),
        segment.status,
        next_refresh,
    )


def _line(cells: tuple[str, ...], sizes: list[int], error: str) -> str:
    slug, kind, members, *others = cells
    aligned = [_cut(slug, sizes[0]).ljust(sizes[0]), kind.ljust(sizes[1]), members.rjust(sizes[2])]
    aligned += [cell.ljust(size) for cell, size in zip(others, sizes[3:], strict=True)]
    return GAP.join([*aligned, error]).rstrip()


def _short_error(segment: ListedSegment) -> str:
    """Return the first line of the error without its slug and what a terminal would interpret.

    A refresh that no timeout has stopped comes before an error.
    """
    if segment.overrun is not None:
        time = brief(segment.overrun)
        return f"runs past its timeout, for {time} so far, as pid {segment.overrun_pid}"
    text = (segment.last_error or "").removeprefix(f'segment "{segment.slug}": ')
    first = text.strip().partition("\n")[0]
    return "".join(character if character.isprintable() else " " for character in first)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 3]}..."
