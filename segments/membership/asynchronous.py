"""The async twins of what a segment is asked; each does what its namesake does.

They run the namesake in the thread that Django keeps for a request's database work. Only
`amember_ids` streams, as Django's `aiterator` does.
"""

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from segments.exceptions import SegmentExecutionError, translated
from segments.membership.members import MembersMixin, shown_users

if TYPE_CHECKING:
    from segments.refreshing.history import RefreshResult


class AsyncMixin(MembersMixin):
    """The async methods of `Segment`."""

    class Meta:
        abstract = True

    async def ahas_member(self, user: Any) -> bool:
        """Return whether the user was in the segment at its last refresh; see `has_member`."""
        return await sync_to_async(self.has_member)(user)

    async def ahas_member_live(self, user: Any) -> bool:
        """Return whether the user is currently in the segment; see `has_member_live`."""
        return await sync_to_async(self.has_member_live)(user)

    async def ahas_members(self, users: Iterable[Any]) -> set[Any]:
        """Return the primary keys of the users who are in the segment; see `has_members`."""
        return await sync_to_async(self.has_members)(users)

    async def acount_members(self) -> int:
        """Return the number of members; see `count_members`."""
        return await sync_to_async(self.count_members)()

    async def amember_ids(self) -> AsyncIterator[Any]:
        """Stream the primary keys of the members; see `member_ids`."""
        with translated(SegmentExecutionError, self.slug):
            async for key in self._ids(shown_users()).aiterator(chunk_size=10_000):
                yield key

    async def arefresh(self, concurrently: bool = True, **options: Any) -> "RefreshResult":
        """Recompute the members; see `Segment.refresh`. Other tasks go on meanwhile."""
        refresh: Any = self.refresh  # type: ignore[attr-defined]
        result: RefreshResult = await sync_to_async(refresh)(concurrently, **options)
        return result
