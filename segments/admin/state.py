"""How segments are doing, in one word each: fresh, due, refreshing, failing, detached ..."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.models import Segment, Status
from segments.pgviews import views
from segments.pgviews.shared import due_expression
from segments.refreshing.order import graph
from segments.sql import locks, names, owned
from segments.sql.session import fetch_all
from segments.sql.statements import compose


class Word(models.TextChoices):
    """How a segment is doing."""

    REFRESHING = "refreshing", _("refreshing")
    QUEUED = "queued", _("waiting for a worker")
    DETACHED = "detached", _("detached")
    FAILING = "failing", _("failing")
    REFUSED = "refused", _("refused")
    OUTDATED = "outdated", _("outdated definition")
    UNPOPULATED = "unpopulated", _("unpopulated")
    DUE = "due", _("due")
    FRESH = "fresh", _("fresh")
    REFRESHED = "refreshed", _("refreshed")


REASONS = {
    Word.REFRESHING: _("Somebody or a worker is refreshing or changing it right now."),
    Word.QUEUED: _("You have asked for a refresh, and no worker has begun yet."),
    Word.DETACHED: _(
        "Its tables are being changed. It keeps its members, and is refreshed again after that."
    ),
    Word.OUTDATED: _("The definition has changed since the members were computed."),
    Word.UNPOPULATED: _("It has never been refreshed."),
    Word.DUE: _("The time of “Refresh every” has passed since the last refresh."),
    Word.FRESH: _("It was refreshed in time, as “Refresh every” says."),
    Word.REFRESHED: _(
        "It was refreshed. It is not refreshed by itself: “Refresh every” is empty."
    ),
}
"""Why a segment has its word; the reason for a failure is its error."""

STORED = {
    Status.FAILED: Word.FAILING,
    Status.REFUSED: Word.REFUSED,
    Status.OUTDATED: Word.OUTDATED,
    Status.UNPOPULATED: Word.UNPOPULATED,
}
"""The words that follow from the stored status alone."""

BUSY = (Word.REFRESHING, Word.QUEUED)
"""The words of segments about which there will be news soon."""


@dataclass(frozen=True)
class Situation:
    """How a segment is doing at the moment, by the clock of the database.

    Attributes:
        word: Its state.
        reason: Why, in a sentence.
        age: The time since the last good refresh; None before the first.
        due: When the next refresh is due; None without an interval, or if it is not active.
        running_for: How long a session has been working on it; None if none does, or if only
            `pg_read_all_stats` may see that.
        counts: The members after the last 30 refreshes, the latest first.
        reads, readers: The view names of the segments that it reads, and that read it.
    """

    word: Word
    reason: str
    age: timedelta | None
    due: datetime | None
    running_for: timedelta | None
    counts: tuple[int, ...]
    reads: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether there will be news of it soon."""
        return self.word in BUSY

    @property
    def label(self) -> str:
        """Its state in words; while a session works on it, with the seconds that takes so far."""
        if self.word != Word.REFRESHING or self.running_for is None:
            return str(self.word.label)
        return f"{self.word.label} {int(self.running_for.total_seconds())} s"


def situations(
    segments: Iterable[Segment], asked: dict[str, datetime] | None = None
) -> dict[int, Situation]:
    """Return how each of the segments is doing, by key. Three queries, however many there are.

    Args:
        asked: When a refresh by a worker was asked for, and has not been seen yet, by the
            segment's key as text.
    """
    by_key = {segment.pk: segment for segment in segments}
    connection = connections[conf.exec_connection()]
    query = compose(
        "select_situations",
        segment=sql.Identifier(owned.SEGMENT),
        refresh=sql.Identifier(owned.REFRESH),
        due=due_expression(),
    )
    with translated(SegmentExecutionError):
        rows = fetch_all(connection, query, **_keys(by_key))
        detached = detached_views(connection)
    reads, readers = neighbours()
    return {
        row[0]: _situation(by_key[row[0]], row[1:], asked or {}, detached, reads, readers)
        for row in rows
    }


def neighbours() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return which segments each segment reads, and which read it, by view name."""
    reads = graph()
    readers: dict[str, set[str]] = {}
    for reader, names_read in reads.items():
        for name in names_read:
            readers.setdefault(name, set()).add(reader)
    return reads, readers


def working(keys: Collection[int]) -> list[int]:
    """Return which of the segments are being refreshed or changed."""
    with translated(SegmentExecutionError):
        rows = fetch_all(connections[conf.exec_connection()], "select_working", **_keys(keys))
    return [segment for (segment,) in rows]


def detached_views(connection: BaseDatabaseWrapper) -> set[str]:
    """Return the names of the views that are detached from their tables."""
    states = views.states(connection)
    return {name for name, state in states.items() if state.detached or state.detached_manually}


def _keys(keys: Collection[int]) -> dict[str, Any]:
    return {"segments": [*keys], "keys": [locks.lock_key(key) for key in keys]}


def _situation(
    segment: Segment,
    row: tuple[Any, ...],
    asked: dict[str, datetime],
    detached: set[str],
    reads: dict[str, set[str]],
    readers: dict[str, set[str]],
) -> Situation:
    now, due, running, running_for, counts = row
    name = names.view_name(segment.slug)
    word = _word(segment, running, name in detached, asked.get(str(segment.pk)))
    if word is None:
        word = Word.REFRESHED if due is None else Word.DUE if due <= now else Word.FRESH
    failed = word in (Word.FAILING, Word.REFUSED)
    return Situation(
        word=word,
        reason=segment.last_error.partition("\n")[0] if failed else str(REASONS[word]),
        age=max(now - segment.refreshed_at, timedelta()) if segment.refreshed_at else None,
        due=due,
        running_for=running_for if running else None,
        counts=tuple(counts),
        reads=tuple(sorted(reads.get(name, ()))),
        readers=tuple(sorted(readers.get(name, ()))),
    )


def _word(segment: Segment, running: bool, detached: bool, asked: datetime | None) -> Word | None:
    """Return the word of a segment that is neither fresh nor due; None for the others."""
    if running:
        return Word.REFRESHING
    if detached:  # No worker refreshes it.
        return Word.DETACHED
    if asked and (segment.attempted_at is None or segment.attempted_at < asked):
        return Word.QUEUED
    return STORED.get(Status(segment.status))
