"""Cursors: a place in the changes of one segment, as an opaque text."""

import re
from base64 import b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zlib import crc32

from segments.exceptions import SegmentChangesError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MICROSECOND = timedelta(microseconds=1)

CONTENT = re.compile(rb"([0-9]{1,19})\.([0-9]{1,17})\.([0-9]{1,19})\.([0-9a-f]{8})")

SNAPSHOT = "Start again with a snapshot: with a new consumer, or one that is restarted."
"""What to do about a cursor whose changes are incomplete."""


class Place(NamedTuple):
    """A place in the changes of a segment.

    Attributes:
        segment: The key of the segment.
        since: Since when its changes were tracked without a break; another time has another feed.
        after: The id of the last change that was read.
    """

    segment: int
    since: datetime
    after: int

    def cursor(self) -> str:
        """Return the place as a text."""
        since = (self.since - EPOCH) // MICROSECOND
        content = f"{self.segment}.{since}.{self.after}".encode()
        return urlsafe_b64encode(b"%b.%08x" % (content, crc32(content))).decode().rstrip("=")


def parse(cursor: object, slug: str, segment: int) -> Place:
    """Return the place that a cursor of a segment means.

    Raises:
        SegmentChangesError: when it is no cursor, or that of another segment.
    """
    match = None
    if isinstance(cursor, str) and cursor.isascii():
        padded = cursor + "=" * (-len(cursor) % 4)
        try:
            match = CONTENT.fullmatch(b64decode(padded, altchars=b"-_", validate=True))
        except ValueError:  # As for a text that was cut off.
            match = None
    if match is None or crc32(match[0].rpartition(b".")[0]) != int(match[4], 16):
        raise SegmentChangesError(
            f"{str(cursor)[:80]!r} is no cursor of changes",
            slug=slug,
            hint="Pass the cursor of a change, as it was.",
        )
    number, since, after = map(int, match.groups()[:3])
    if number != segment:
        raise SegmentChangesError(
            "this is a cursor of another segment, or of one that was deleted",
            slug=slug,
            hint=SNAPSHOT,
        )
    return Place(number, EPOCH + since * MICROSECOND, after)
