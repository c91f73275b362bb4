"""The guard: a refresh that would remove too many members is refused, and the last ones stay."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Subquery
from django.db.models.functions import Coalesce

from segments import conf
from segments.definition.kinds import defining
from segments.exceptions import SegmentLossError
from segments.rows import Status, version_rows

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
    """Return the guard of a refresh. One query if there is a limit.

    After its author has changed a segment, a refresh may remove any of its members, but not all:
    then it may be a source that is empty.

    Args:
        row: The segment, as it was before the refresh.
        accept_loss: Whether somebody has accepted the loss.
        expected: As for `Guard`.
    """
    limit = conf.max_loss() if row.max_loss is None else row.max_loss
    if accept_loss or limit is None or limit >= NO_LIMIT:
        return NO_GUARD
    return Guard(NO_LIMIT - 1 if _redefined(row) else limit, expected)


def _redefined(row: "Segment") -> bool:
    """Return whether an author has changed the definition since the members were computed.

    The status does not tell: it is another one after a refresh that failed, and a deployment that
    changes a manager method is nobody's decision about the members. So the definition is compared
    with the version that the members are from, if versions are kept.
    """
    if not conf.versions():
        return bool(row.status == Status.OUTDATED)
    rows = version_rows(conf.exec_connection()).filter(segment=row.pk)
    known = rows.filter(members_after__isnull=False).order_by("-pk").values("pk")[:1]
    since = rows.filter(pk__gt=Coalesce(Subquery(known), 0)).order_by("pk")
    fields = since.values_list("fields", flat=True).first()
    return fields is not None and fields != defining(row)
