"""The async twins of what a user is asked; each does what its namesake does."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from segments.users.prefetching import prefetch_segments

if TYPE_CHECKING:
    from segments.models import Segment
    from segments.refreshing.history import RefreshResult


class AsyncUserMixin:
    """The async methods of `SegmentMixin`. `user.segments` is a queryset: use `async for`."""

    is_member: Any
    is_member_live: Any
    refresh_segments: Any

    async def ais_member(self, segment: "Segment | str") -> bool:
        """Return whether this user was in the segment at its last refresh; see `is_member`."""
        answer: bool = await sync_to_async(self.is_member)(segment)
        return answer

    async def ais_member_live(self, segment: "Segment | str") -> bool:
        """Return whether this user is currently in the segment; see `is_member_live`."""
        answer: bool = await sync_to_async(self.is_member_live)(segment)
        return answer

    async def asegment_ids(self) -> list[int]:
        """Return the sorted ids of this user's segments; see `segment_ids`."""
        ids: list[int] = await sync_to_async(getattr)(self, "segment_ids")
        return ids

    async def asegment_slugs(self) -> list[str]:
        """Return the sorted slugs of this user's segments; see `segment_slugs`."""
        slugs: list[str] = await sync_to_async(getattr)(self, "segment_slugs")
        return slugs

    async def arefresh_segments(self) -> "list[RefreshResult]":
        """Refresh the segments in which this user's membership has changed."""
        results: list[RefreshResult] = await sync_to_async(self.refresh_segments)()
        return results


async def aprefetch_segments(users: Iterable[Any]) -> None:
    """Keep the segments of many users on them; see `prefetch_segments`. One query."""
    await sync_to_async(prefetch_segments)(users)
