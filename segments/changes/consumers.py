"""Named consumers: each gets a snapshot of the members once, then every change after it.

A consumer moves on in the transaction in which it read, when its caller says that everything was
delivered. What is delivered right before a crash is delivered again: at least once, never less. If
the caller writes what it gets to the same database, it is exactly once, since that is committed
with the consumer's place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.models import Subquery
from django.utils import timezone

from segments import conf
from segments.changes import cursors, feed
from segments.changes.feed import Change
from segments.changes.models import MAX_NAME
from segments.exceptions import SegmentExecutionError, SegmentLockedError, translated
from segments.rows import change_rows, consumer_rows, membership_rows, write_alias
from segments.sql import session

if TYPE_CHECKING:
    from segments.models import Segment

CHUNK = 5_000
"""How many members a snapshot fetches at a time."""

_open: set[tuple[int, int, str]] = set()
"""What is being delivered in this process: connection, segment and consumer."""


class Delivery:
    """What a consumer has not got yet. Iterate over it once.

    Attributes:
        snapshot: Whether it begins with the present members.
        delivered: How many rows were taken so far.
        place: Where the consumer moves to; None if there is nothing to store.
    """

    def __init__(
        self, segment: "Segment", alias: str, known: feed.Feed, place: cursors.Place | None
    ) -> None:
        self.snapshot = place is None
        self.delivered = 0
        self.place = place
        self._segment, self._alias, self._known = segment, alias, known

    def __iter__(self) -> Iterator[Change]:
        """Yield the members, if the consumer is new, and then the changes, in order.

        The place moves with each change, and after the last row of a snapshot: one that was left
        halfway begins again.

        Raises:
            SegmentChangesError: when changes that the consumer has not got were deleted for their
                age, or were not tracked.
        """
        if self.place is None:
            place = feed.last_place(self._segment, self._known, self._alias)
            for seen, row in self._members(place):
                self.delivered += 1
                yield row
                place = seen
            self.place = place
        for change in feed.after(self._segment, self.place, self._alias):
            self.delivered += 1
            self.place = self.place._replace(after=int(change.id))
            yield change

    def _members(self, place: cursors.Place) -> Iterator[tuple[cursors.Place, Change]]:
        """Yield the present members from one statement, which also sees the place that fits them.

        Args:
            place: A place that was read before, in case that the feed is empty.
        """
        segment = self._segment
        changes = change_rows(self._alias).filter(segment_id=segment.pk).order_by("-pk")
        members = membership_rows(self._alias).filter(segment_id=segment.pk).order_by("user_id")
        rows = members.annotate(last=Subquery(changes.values("pk")[:1]))
        with translated(SegmentExecutionError, segment.slug):
            found = rows.values_list("user_id", "entered_at", "last").iterator(CHUNK)
            for user, entered_at, last in found:
                place = place._replace(after=max(place.after, last or 0))
                key = f"{place.after}-{user}"
                yield (
                    place,
                    Change(key, segment.slug, user, "entered", entered_at, snapshot=True),
                )


@contextmanager
def deliver(segment: "Segment", name: str, *, restart: bool = False) -> Iterator[Delivery]:
    """Open what a consumer of a segment has not got yet; move it on if the block succeeds.

    Runs in a transaction, or in a savepoint of the caller's. An exception in the block, or the
    death of the process, leaves the consumer where it was, and the next run delivers the same rows
    again, with the same ids. A block that is left early moves on to the last row that it took.
    A lock of the consumer, which ends with the session, keeps every other run away. Refreshes go
    on. An open block holds a transaction, so keep it short.

    Args:
        segment: The segment.
        name: The consumer, which is created by its first run.
        restart: Begin with a snapshot of the members again; if this fails, so does the next run.

    Raises:
        SegmentLockedError: when another run of this consumer is going on.
        SegmentChangesError: when changes are not tracked, or the consumer has missed some.
        ValueError: when the name is empty or too long.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or "\0" in name:
        raise ValueError(f"the name of a consumer has 1 to {MAX_NAME} characters, not {name!r}")
    alias = write_alias()
    known = feed.begin(segment, alias)
    key = (id(connections[alias]), segment.pk, name)
    stored = consumer_rows(alias).filter(segment_id=segment.pk, name=name)
    if restart:  # In a transaction of its own: the place is forgotten even if this run fails.
        with transaction.atomic(using=alias):
            _lock(segment, alias, name, key)
            with translated(SegmentExecutionError, segment.slug):
                stored.delete()
    with transaction.atomic(using=alias):
        _lock(segment, alias, name, key)
        _open.add(key)
        try:
            with translated(SegmentExecutionError, segment.slug):
                cursor = stored.values_list("cursor", flat=True).first()
            place = None if cursor is None else cursors.parse(cursor, segment.slug, segment.pk)
            delivery = Delivery(segment, alias, known, place)
            yield delivery
            if delivery.place != place:
                _store(segment, alias, name, delivery.place)
        finally:
            _open.discard(key)


def _lock(segment: "Segment", alias: str, name: str, key: tuple[int, int, str]) -> None:
    """Take the lock of a consumer until the end of the transaction.

    Postgres would give it to this session once more, so the block that is open is remembered.
    """
    text = f"{conf.schema()}:{segment.pk}:consumer:{name}"
    with translated(SegmentExecutionError, segment.slug):
        taken = key not in _open and session.fetch_value(
            connections[alias], "try_lock_consumer", key=text
        )
    if not taken:
        raise SegmentLockedError(
            f'another run of the consumer "{name}" is going on',
            slug=segment.slug,
            hint="Run it again when that has ended; nothing was delivered here.",
        )


def _store(segment: "Segment", alias: str, name: str, place: cursors.Place | None) -> None:
    """Store where a consumer goes on."""
    if place is None:
        return
    with translated(SegmentExecutionError, segment.slug):
        consumer_rows(alias).update_or_create(
            segment_id=segment.pk,
            name=name,
            defaults={"cursor": place.cursor(), "moved_at": timezone.now()},
        )
