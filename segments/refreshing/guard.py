"""The guard: a refresh that would remove too many members is refused, and the last ones stay."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segments import conf
from segments.exceptions import SegmentLossError
from segments.rows import Status

if TYPE_CHECKING:
    from segments.models import Segment

NO_LIMIT = 100
"""The percentage at which a refresh may remove all members."""


@dataclass(frozen=True)
class Guard:
    """How many members a refresh may remove.

    Attributes:
        limit: The percentage of the members.
        expected: How many of them are removed in any case, and so do not count.
    """

    limit: int = NO_LIMIT
    expected: int = 0

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return self.limit < NO_LIMIT

    def check(self, slug: str, before: int, removed: int) -> None:
        """Raise an error if a refresh removes more than the limit. The caller must roll back.

        Args:
            before: How many members the segment had.
            removed: How many of them the refresh removes.

        Raises:
            SegmentLossError: with both numbers.
        """
        lost, base = removed - self.expected, before - self.expected
        if not self.is_on or lost <= 0 or lost * 100 <= self.limit * base:
            return
        # Rounded up, so that it is never shown as the limit itself.
        percent = math.ceil(lost * 1000 / base) / 10
        error = SegmentLossError(
            f"a refresh would remove {removed:,} of {before:,} members ({percent:g} %), more than "
            f"max_loss of {self.limit} %; it was refused, and the last members are kept",
            slug=slug,
            hint="If a source is empty or broken, repair it, and refresh again. If the loss is "
            f"right, this accepts it once: manage.py refresh_segments {slug} --accept-loss",
        )
        error.before, error.removed = before, removed
        raise error


NO_GUARD = Guard()


def guard_of(row: "Segment", accept_loss: bool = False, expected: int = 0) -> Guard:
    """Return the guard of a refresh.

    A first refresh has nothing to lose. After its author has changed a segment, a refresh may
    remove any of its members, but not all: then it may be a source that is empty.

    Args:
        row: The segment, as it was before the refresh.
        accept_loss: Whether somebody has accepted the loss.
        expected: As for `Guard`.
    """
    limit = conf.max_loss() if row.max_loss is None else row.max_loss
    if accept_loss or row.refreshed_at is None or limit is None or limit >= NO_LIMIT:
        return NO_GUARD
    return Guard(NO_LIMIT - 1 if row.status == Status.OUTDATED else limit, expected)
