"""What a user is asked: `is_member` for any user or visitor, and the mixin for user models."""

from typing import TYPE_CHECKING, Any

import django.db
from asgiref.sync import sync_to_async

from segments.exceptions import SegmentExecutionError, from_driver
from segments.membership.members import MembersMixin
from segments.pgviews import probe
from segments.refreshing.many import refresh_for_user
from segments.rows import by_slug, read_alias
from segments.sql.keys import in_words, user_key
from segments.users import prefetching
from segments.users.asynchronous import AsyncUserMixin

if TYPE_CHECKING:
    from segments.models import Segment, SegmentQuerySet
    from segments.refreshing.history import RefreshResult


def is_member(user: Any, segment: "Segment | str") -> bool:
    """Return whether a user was in the segment at its last refresh. One query.

    Args:
        user: A user, a user's primary key, or `request.user` as it is: a visitor is in no segment.
        segment: A segment or its slug, where `-` and `_` are the same.

    Raises:
        Segment.DoesNotExist: when no segment has this slug, naming the nearest one.
        SegmentExecutionError: when the database does not answer.
        TypeError, ValueError: when one of them is something else.
    """
    if not isinstance(segment, str):
        return _segment(segment).has_member(user)
    key, answer = user_key(user), None
    if key is not None and segment.isprintable():  # Postgres takes no NUL character.
        try:
            answer = probe.is_member_by_slug(read_alias(), segment, key)
        except django.db.Error as error:
            raise from_driver(error, SegmentExecutionError, segment) from error
    # The segment is not populated, or does not exist.
    return by_slug(segment).has_member(key) if answer is None else answer


async def ais_member(user: Any, segment: "Segment | str") -> bool:
    """Return whether a user was in the segment at its last refresh; see `is_member`."""
    return await sync_to_async(is_member)(user, segment)


class SegmentMixin(AsyncUserMixin):
    """Methods for a user model: `class User(AbstractUser, SegmentMixin)`."""

    # Migrations of user models refer to their bases by this path, so it must stay.
    __module__ = "segments.models"

    pk: Any

    def is_member(self, segment: "Segment | str") -> bool:
        """Return whether this user was in the segment at its last refresh; see `is_member`.

        Costs no query after `prefetch_segments`: the answer is the one of that moment.
        """
        prefetched = prefetching.complete(self)
        answer = None if prefetched is None else prefetched.answer(segment)
        return is_member(self, segment) if answer is None else answer

    def is_member_live(self, segment: "Segment | str") -> bool:
        """Return whether this user is currently in the segment, given by itself or its slug."""
        return _segment(segment).has_member_live(self)

    @property
    def segments(self) -> "SegmentQuerySet":
        """The segments that this user was in at their last refresh, by priority.

        They are already loaded after `prefetch_segments`.
        """
        prefetched = prefetching.kept(self)
        return prefetching.of_user(self) if prefetched is None else prefetched

    @property
    def segment_ids(self) -> list[int]:
        """The sorted ids of the segments that this user was in at their last refresh.

        One query, however many segments exist.

        Raises:
            SegmentExecutionError: when the database does not answer.
        """
        prefetched = prefetching.complete(self)
        if prefetched is not None:
            return sorted(segment.pk for segment in prefetched)
        return _segments_of(self, "segment_ids")

    @property
    def segment_slugs(self) -> list[str]:
        """The sorted slugs of the segments that this user was in at their last refresh.

        One query, however many segments exist.

        Raises:
            SegmentExecutionError: when the database does not answer.
        """
        prefetched = prefetching.complete(self)
        if prefetched is not None:
            return sorted(segment.slug for segment in prefetched)
        return _segments_of(self, "segment_slugs")

    def refresh_segments(self) -> "list[RefreshResult]":
        """Refresh the active segments in which this user's membership has changed.

        See `segments.refreshing.many.refresh_for_user`.
        """
        prefetching.drop(self)
        return refresh_for_user(self)

    def refresh_segments_async(self) -> None:
        """Let a background worker call `refresh_segments` once this transaction is committed."""
        from segments import tasks  # Imported late: the tasks framework is optional.

        tasks.enqueue_for_user(self)


def _segments_of(user: SegmentMixin, function: str) -> list[Any]:
    """Return the ids or the slugs of a user's segments; none for a user who is not saved."""
    key = user_key(user)
    if key is None:
        return []
    try:
        return probe.segments_of(read_alias(), function, key)
    except django.db.Error as error:
        raise from_driver(error, SegmentExecutionError) from error


def _segment(segment: "Segment | str") -> "Segment":
    """Return a segment, given by itself or by its slug."""
    if isinstance(segment, str):
        return by_slug(segment)
    if isinstance(segment, MembersMixin):
        return segment
    raise TypeError(f"a segment or its slug is needed, not {in_words(segment)}")
