"""The mixin for user models."""

from typing import TYPE_CHECKING, Any

from segments.exceptions import SegmentExecutionError, translated
from segments.pgviews import probe
from segments.refreshing.many import refresh_for_user
from segments.rows import membership_rows, read_alias, segment_rows

if TYPE_CHECKING:
    from segments.models import Segment, SegmentQuerySet
    from segments.refreshing.history import RefreshResult


class SegmentMixin:
    """Methods for a user model: `class User(AbstractUser, SegmentMixin)`."""

    # Migrations of user models refer to their bases by this path, so it must stay.
    __module__ = "segments.models"

    pk: Any

    def is_member(self, segment: "Segment | str") -> bool:
        """Return whether this user was in the segment at its last refresh. One query.

        Args:
            segment: A segment or its slug.

        Raises:
            Segment.DoesNotExist: when no segment has this slug.
            SegmentExecutionError: when the database does not answer.
        """
        if not isinstance(segment, str):
            return segment.has_member(self)
        answer = None
        if self.pk is not None:
            with translated(SegmentExecutionError, segment):
                answer = probe.is_member_by_slug(read_alias(), segment, self.pk)
        # The segment is not populated, or does not exist.
        return _by_slug(segment).has_member(self) if answer is None else answer

    def is_member_live(self, segment: "Segment | str") -> bool:
        """Return whether this user is currently in the segment, given by itself or its slug."""
        if isinstance(segment, str):
            segment = _by_slug(segment)
        return segment.has_member_live(self)

    @property
    def segments(self) -> "SegmentQuerySet":
        """The segments that this user was in at their last refresh, by priority."""
        return segment_rows().for_user(self)

    @property
    def segment_ids(self) -> list[int]:
        """The sorted ids of the segments that this user was in at their last refresh.

        One query, however many segments exist.
        """
        memberships = membership_rows().of_user(self.pk).order_by("segment_id")
        return list(memberships.values_list("segment_id", flat=True))

    def refresh_segments(self) -> "list[RefreshResult]":
        """Refresh the active segments in which this user's membership has changed.

        See `segments.refreshing.many.refresh_for_user`.
        """
        return refresh_for_user(self)

    def refresh_segments_async(self) -> None:
        """Let a background worker call `refresh_segments` once this transaction is committed."""
        from segments import tasks  # Imported late: the tasks framework is optional.

        tasks.enqueue_for_user(self)


def _by_slug(slug: str) -> "Segment":
    return segment_rows().get(slug=slug)
