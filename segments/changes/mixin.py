"""Ask a segment who entered and who left."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

from segments.changes import consumers, cursors, feed
from segments.exceptions import SegmentChangesError
from segments.refreshing.history import RefreshResult
from segments.refreshing.models import SegmentRefresh
from segments.rows import change_rows, write_alias

if TYPE_CHECKING:
    from segments.changes.models import ChangeQuerySet
    from segments.models import Segment

Since = datetime | timedelta | SegmentRefresh | RefreshResult


class ChangesMixin(models.Model):
    """The methods of `Segment` that tell who entered and who left.

    A first population is no change: it is one row of the history. Reads follow the database
    routers; consumers read where they write.
    """

    slug: Any

    class Meta:
        abstract = True

    def entered(self, since: Since) -> "ChangeQuerySet":
        """Return who entered since a moment or after a refresh; see `changed`."""
        return changed(self, since).filter(entered=True)  # type: ignore[arg-type]

    def left(self, since: Since) -> "ChangeQuerySet":
        """Return who left since a moment or after a refresh; see `changed`."""
        return changed(self, since).filter(entered=False)  # type: ignore[arg-type]

    def changes(self, after: str | None = None) -> Iterator[feed.Change]:
        """Yield who entered and who left, in the order of the refreshes' commits.

        Streams pages, in constant memory, and ends with what is committed by then. Each change has
        the `cursor` to go on with: what commits later comes after it, without a gap.

        Args:
            after: The cursor of a change; None begins with the first change that is kept.

        Raises:
            SegmentChangesError: when it is no cursor or that of another segment; when changes
                after it were deleted for their age, or were not tracked.
        """
        segment: Any = self
        place = None if after is None else cursors.parse(after, self.slug, segment.pk)
        return feed.after(segment, place)

    def change_cursor(self) -> str:
        """Return the cursor of the last change, to read from here on.

        Raises:
            SegmentChangesError: when the changes of the segment are not tracked.
        """
        segment: Any = self
        alias = write_alias()
        return feed.last_place(segment, feed.begin(segment, alias), alias).cursor()

    def consumer(
        self, name: str, *, restart: bool = False
    ) -> "AbstractContextManager[consumers.Delivery]":
        """Open what a consumer has not got yet; see `segments.changes.consumers.deliver`."""
        segment: Any = self
        return consumers.deliver(segment, name, restart=restart)


def changed(segment: "Segment", since: Since) -> "ChangeQuerySet":
    """Return the changes of a segment, by id. Two queries find the first and check for gaps.

    Use `users()` on it for the users, and `iterator()` if there may be many.

    Args:
        since: A moment, the time from then until now, or a refresh of the segment, which is left
            out itself.

    Raises:
        SegmentChangesError: when changes since then were deleted for their age or not tracked, or
            when it is a refresh of another segment.
        TypeError, ValueError: when it is none of these, or a moment without a time zone.
    """
    if isinstance(since, SegmentRefresh | RefreshResult):
        key, moment = _refresh(segment, since)
        rows = _kept(segment)
        first = feed.first_since(segment, rows.db, refresh=key)
        rows = rows.filter(pk__gte=first, refresh_id__gt=key)
    else:
        moment = _moment(since)
        rows = since_moment(segment, moment)
    check_complete(segment, moment)
    return rows


def since_moment(segment: "Segment", moment: datetime) -> "ChangeQuerySet":
    """Return the changes of a segment since a moment that are kept, by id. One query."""
    rows = _kept(segment)
    return rows.filter(pk__gte=feed.first_since(segment, rows.db, moment=moment), at__gte=moment)


def check_complete(segment: "Segment", moment: datetime) -> None:
    """Raise SegmentChangesError if changes since a moment are missing. One query."""
    known = feed.feed_of(segment)
    if known.complete_from and moment <= known.complete_from:
        raise SegmentChangesError(
            f"its changes are known from {known.complete_from.isoformat()} on",
            slug=segment.slug,
            hint="Ask for a shorter time, or keep them for longer: SEGMENTS_CHANGES_DAYS.",
        )


def _kept(segment: "Segment") -> "ChangeQuerySet":
    """Return the changes of a segment that are kept, by id."""
    rows: ChangeQuerySet = change_rows().filter(segment_id=segment.pk)
    return rows.order_by("pk")


def _refresh(segment: "Segment", refresh: SegmentRefresh | RefreshResult) -> tuple[int, datetime]:
    """Return the key of a refresh of the segment, and when it ended."""
    if isinstance(refresh, RefreshResult):
        key = refresh.refresh_id
        row = None if key is None else SegmentRefresh.objects.filter(pk=key).first()
        if row is None:
            raise SegmentChangesError("this refresh is not in the history", slug=segment.slug)
        refresh = row
    if refresh.segment_id != segment.pk:
        raise SegmentChangesError("this is a refresh of another segment", slug=segment.slug)
    return refresh.pk, refresh.started_at + refresh.duration


def _moment(since: object) -> datetime:
    """Return the moment that is meant."""
    if isinstance(since, timedelta):
        if since < timedelta():
            raise ValueError(f"{since!r} ago lies in the future")
        return timezone.now() - since
    if not isinstance(since, datetime):
        raise TypeError(f"{since!r} is no datetime, timedelta or refresh")
    if timezone.is_naive(since):
        raise ValueError(f"{since!r} has no time zone")
    return since
