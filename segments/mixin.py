"""What a user model gets."""

from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import models, router

from segments.exceptions import SegmentExecutionError, translated
from segments.sql import members

if TYPE_CHECKING:
    from segments.models import Segment, SegmentQuerySet
    from segments.outcome import RefreshResult


class SegmentMixin:
    """What a user model gets: class User(AbstractUser, SegmentMixin)."""

    # Migrations of user models name their bases by this; it must stay the public path.
    __module__ = "segments.models"

    pk: Any

    def is_member(self, segment: "Segment | str") -> bool:
        """Return whether this user is in the segment as of its last refresh. One query.

        Args:
            segment: A segment or the slug of one.

        Raises:
            Segment.DoesNotExist: when no segment has this slug.
            SegmentExecutionError: when the database does not answer.
        """
        if not isinstance(segment, str):
            return segment.has_member(self)
        with translated(SegmentExecutionError, segment):
            answer = (
                None
                if self.pk is None
                else members.is_member_by_slug(
                    router.db_for_read(_model("Segment")), segment, self.pk
                )
            )
        # Unpopulated, or no segment at all.
        return _by_slug(segment).has_member(self) if answer is None else answer

    def is_member_live(self, segment: "Segment | str") -> bool:
        """Return whether this user is in the segment (or that of this slug) now."""
        if isinstance(segment, str):
            segment = _by_slug(segment)
        return segment.has_member_live(self)

    @property
    def segments(self) -> "SegmentQuerySet":
        """The segments that this user is in as of their last refresh, by priority."""
        segments: Any = _model("Segment")._default_manager
        return cast("SegmentQuerySet", segments.for_user(self))

    @property
    def segment_ids(self) -> list[int]:
        """The ids of the segments that this user is in, sorted. One query, however many exist."""
        memberships: Any = _model("Membership")._default_manager
        of_user = memberships.of_user(self.pk).order_by("segment_id")
        return list(of_user.values_list("segment_id", flat=True))

    def refresh_segments(self) -> "list[RefreshResult]":
        """Refresh the active segments in which this user's membership has changed.

        See `segments.runs.refresh_for_user`.
        """
        from segments import runs

        return runs.refresh_for_user(self)

    def refresh_segments_async(self) -> None:
        """Have a background worker do `refresh_segments`, once this transaction is committed."""
        from segments import tasks

        tasks.enqueue_for_user(self)


def _model(name: str) -> type[models.Model]:
    return apps.get_model("segments", name)


def _by_slug(slug: str) -> "Segment":
    return cast("Segment", _model("Segment")._default_manager.get(slug=slug))
