"""Change a segment's list, and its members with it.

The members are recomputed in the transaction that changes the list, whatever the settings are, so
they are current at the moment it commits. Only if segments are saved on another alias than
`SEGMENTS_EXEC_CONNECTION`, that happens right after the commit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.rows import Status, copy_state, locked, segment_rows
from segments.saving import versions
from segments.saving.follow import Change, apply_views, apply_views_on_commit

if TYPE_CHECKING:
    from segments.models import Segment


@dataclass
class ListChange:
    """A change of a segment's list, while the segment is locked.

    Attributes:
        row: The current row of the segment.
        version: The key of the version that keeps which ids are added and removed, if one does.
        added, removed: How many ids were added to the list, and removed from it.
    """

    row: "Segment"
    version: int | None = None
    added: int = 0
    removed: int = 0

    @property
    def matters(self) -> bool:
        """Whether the members are to be recomputed.

        They are not if the list is as before, and they were computed since the definition changed.
        """
        return bool(self.added or self.removed) or self.row.status != Status.REFRESHED


@contextmanager
def listed(segment: "Segment", using: str) -> Iterator[ListChange]:
    """Lock a segment, whose list is changed in the block, and then recompute its members.

    Takes the segment's lock and, like a refresh, lets readers go on. After any failure the list
    and the members are as before. What the segment was before is kept as a version.

    Raises:
        SegmentLossError: when members would leave who were not removed from the list, more than
            `max_loss` allows.
        SegmentDefinitionError: when the definition beside the list is no longer valid.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
        SegmentLockedError: when another session locks the segment for too long, or it is detached.
    """
    with locked(using, segment.pk, segment.slug, segment.timeout) as (connection, row):
        if row is None:
            raise SegmentExecutionError("it has been deleted", slug=segment.slug)
        version = versions.begin(using, row)
        listing = ListChange(row, versions.key_for_ids(version))
        yield listing
        if version:
            versions.finish(version, listing.added, listing.removed)
        if listing.matters:
            _apply(connection, segment, listing, using)
    copy_state(segment_rows(using).filter(pk=segment.pk).first(), segment)


def _apply(
    connection: BaseDatabaseWrapper, segment: "Segment", listing: ListChange, using: str
) -> None:
    """Recompute the members of a segment whose list has changed, now or after the commit."""
    row = listing.row
    change = Change(
        created=False,
        redefined=True,
        relabelled=False,
        check_cost=False,
        old_slug=row.slug,
        at_once=True,
        unlisted=listing.removed,
    )
    if using == conf.exec_connection():
        apply_views(connection, row, change)
    else:
        apply = partial(apply_views_on_commit, segment, row.slug, change)
        django_transaction.on_commit(apply, using=using)
