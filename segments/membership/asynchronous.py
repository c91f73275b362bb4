"""The async twins of what a segment is asked; each does what its namesake does.

They run the namesake in the thread that Django keeps for a request's database work. Only
`amember_ids` streams, as Django's `aiterator` does.
"""

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from segments.exceptions import SegmentExecutionError, translated
from segments.membership.members import MembersMixin, shown_users
from segments.membership.overlap import Overlap, overlap

if TYPE_CHECKING:
    from segments.lists.report import LoadReport
    from segments.models import Segment
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

    async def aload_ids(self, source: Any, **options: Any) -> "LoadReport":
        """Load a list; see `load_ids`, which takes the same options."""
        return await self._later("load_ids", source, **options)  # type: ignore[no-any-return]

    async def aadd(self, users: Any, skip_bad: bool = False) -> "LoadReport":
        """Add users to the list; see `add`."""
        return await self._later("add", users, skip_bad)  # type: ignore[no-any-return]

    async def aremove(self, users: Any, skip_bad: bool = False) -> "LoadReport":
        """Remove users from the list; see `remove`."""
        return await self._later("remove", users, skip_bad)  # type: ignore[no-any-return]

    async def afreeze(self, slug: str, name: str | None = None) -> "Segment":
        """Create a list of the members; see `freeze`."""
        return await self._later("freeze", slug, name)  # type: ignore[no-any-return]

    async def aclone(self, slug: str, name: str | None = None) -> "Segment":
        """Create a segment with the same definition; see `clone`."""
        return await self._later("clone", slug, name)  # type: ignore[no-any-return]

    async def asample(self, slug: str, **options: Any) -> "Segment":
        """Create a segment of a part of the users; see `sample`, which takes the same options."""
        return await self._later("sample", slug, **options)  # type: ignore[no-any-return]

    async def _later(self, method: str, *args: Any, **options: Any) -> Any:
        return await sync_to_async(getattr(self, method))(*args, **options)

    async def arefresh(self, concurrently: bool = True, **options: Any) -> "RefreshResult":
        """Recompute the members; see `Segment.refresh`. Other tasks go on meanwhile."""
        return await self._later("refresh", concurrently, **options)  # type: ignore[no-any-return]


async def aoverlap(segments: "Iterable[Segment | str]") -> Overlap:
    """Count the members that segments share; see `segments.membership.overlap.overlap`."""
    return await sync_to_async(overlap)(segments)
