"""Read the changes of a segment: in pages, without a gap, or with an error.

The ids of one segment's changes are in the order in which refreshes have committed them; see
`SegmentChange`. So a reader asks for what comes after the last id that it has seen. It sees what
is committed and nothing else, waits for no transaction, and misses nothing that commits later.
After each page, it looks whether older changes were deleted: a page from before that is whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models.functions import Coalesce
from psycopg import sql

from segments.changes.cursors import EPOCH, SNAPSHOT, Place
from segments.exceptions import SegmentChangesError, SegmentExecutionError, translated
from segments.rows import FEED_STATE, change_rows, segment_rows
from segments.sql import owned, session
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment

PAGE = 5_000
"""How many changes one query returns."""

CLOCK = timedelta(days=1)
"""How far the database's clock may have been set back while changes were written."""

TRACK = "Set its track_changes, and save it."
"""What to do about a segment without changes."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change as it is delivered.

    Attributes:
        id: Tells it from all others of its segment; what is delivered again has the same id.
        segment: The slug.
        user: The key of the user, who may have been deleted since.
        change: `entered` or `left`.
        at: When the refresh found it; in a snapshot, when the user entered.
        refresh: The key of the refresh in the history; None in a snapshot.
        snapshot: Whether it is a present member in place of a change.
        cursor: The place after it; empty in a snapshot.
    """

    id: str
    segment: str
    user: Any
    change: str
    at: datetime
    refresh: int | None = None
    snapshot: bool = False
    cursor: str = ""


@dataclass(frozen=True)
class Feed:
    """From where on the changes of a segment are complete.

    Attributes:
        since: Since when they were tracked without a break; None if they are not.
        after: The id of the last change that was deleted for its age.
        kept_from: When that was; None if none was deleted.
        created_at, refreshed_at: When the segment was created, and when it was refreshed last.
    """

    since: datetime | None
    after: int
    kept_from: datetime | None
    created_at: datetime
    refreshed_at: datetime | None

    @property
    def complete_from(self) -> datetime | None:
        """The moment from which no change is missing; None if none is missing at all."""
        since = self.since or self.refreshed_at or self.created_at
        if self.kept_from and self.kept_from > since:
            return self.kept_from
        return None if since <= self.created_at else since


def feed_of(segment: "Segment", alias: str | None = None) -> Feed:
    """Return the feed of a segment. One query.

    Raises:
        SegmentChangesError: when its changes are not tracked.
        SegmentExecutionError: when it was deleted.
    """
    fields = (*FEED_STATE, "created_at", "refreshed_at", "track_changes")
    with translated(SegmentExecutionError, segment.slug):
        found = segment_rows(alias).filter(pk=segment.pk).values_list(*fields).first()
    if found is None:
        why = "it is not saved yet" if segment.pk is None else "it has been deleted"
        raise SegmentExecutionError(why, slug=segment.slug)
    *values, tracked = found
    if not tracked and values[0] is None:
        raise SegmentChangesError("its changes are not tracked", slug=segment.slug, hint=TRACK)
    return Feed(*values)


def begin(segment: "Segment", alias: str) -> Feed:
    """Track a segment from now on, if its changes are to be tracked; return its feed.

    Waits for a running first refresh: that one has not written who entered.

    Raises:
        SegmentChangesError: when its changes are not tracked.
    """
    with translated(SegmentExecutionError, segment.slug):
        begun = segment_rows(alias).filter(
            pk=segment.pk, track_changes=True, tracked_since__isnull=True
        )
        if begun.exists():
            begun.update(tracked_since=Coalesce("refreshed_at", "created_at"))
    return feed_of(segment, alias)


def last_place(segment: "Segment", feed: Feed, alias: str | None = None) -> Place:
    """Return the place after the last change of a segment that is committed."""
    if feed.since is None:
        raise SegmentChangesError("it has no changes yet", slug=segment.slug, hint=TRACK)
    with translated(SegmentExecutionError, segment.slug):
        rows = change_rows(alias).filter(segment_id=segment.pk).order_by("-pk")
        last = rows.values_list("pk", flat=True).first()
    return Place(segment.pk, feed.since, max(last or 0, feed.after))


def first_since(
    segment: "Segment", alias: str, *, moment: datetime | None = None, refresh: int | None = None
) -> int:
    """Return an id that no change of a segment since then is below. One query of some 40 look-ups.

    Args:
        moment: Changes at this moment or later are wanted. They are still to be filtered: some of
            the changes of the day before may have higher ids.
        refresh: Without a moment, the changes of refreshes with a greater key are wanted.
    """
    query = compose("find_first_change", change=sql.Identifier(owned.CHANGE))
    earlier = None if moment is None else max(moment, EPOCH + CLOCK) - CLOCK
    with translated(SegmentExecutionError, segment.slug):
        found = session.fetch_value(
            connections[alias], query, segment=segment.pk, moment=earlier, refresh=refresh
        )
    return int(found or 0)


def after(segment: "Segment", place: Place | None, alias: str | None = None) -> Iterator[Change]:
    """Yield the changes after a place, in the order of their commits, in constant memory.

    Ends with the last one that is committed by then.

    Args:
        place: None means the first one that is kept.

    Raises:
        SegmentChangesError: when changes after the place were deleted, or were not tracked.
    """
    if place is None:
        feed = feed_of(segment, alias)
        if feed.since is None:  # No refresh has written any yet.
            return
        place = Place(segment.pk, feed.since, feed.after)
    while True:
        with translated(SegmentExecutionError, segment.slug):
            rows = change_rows(alias).filter(segment_id=segment.pk, pk__gt=place.after)
            page = list(rows.order_by("pk")[:PAGE])
        _check(segment, place, feed_of(segment, alias))  # After the page; see above.
        for row in page:
            place = place._replace(after=row.pk)
            yield Change(
                id=str(row.pk),
                segment=segment.slug,
                user=row.user_id,
                change="entered" if row.entered else "left",
                at=row.at,
                refresh=row.refresh_id,
                cursor=place.cursor(),
            )
        if len(page) < PAGE:
            return


def _check(segment: "Segment", place: Place, feed: Feed) -> None:
    """Raise SegmentChangesError unless all changes after the place are there."""
    if feed.since != place.since:
        raise SegmentChangesError(
            "its changes were not tracked for some time since then",
            slug=segment.slug,
            hint=SNAPSHOT,
        )
    if place.after < feed.after:
        raise SegmentChangesError(
            "changes after this place were deleted for their age (SEGMENTS_CHANGES_DAYS)",
            slug=segment.slug,
            hint=SNAPSHOT,
        )
