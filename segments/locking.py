"""The one order in which locks are taken: the segment's advisory lock, its row, its views.

The row comes second since others lock it first, as `update_or_create` does: who has the row alone
waits for the advisory lock, and a refresh leaves them the segment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef

from segments import conf
from segments.exceptions import SegmentExecutionError, SegmentLockedError, translated
from segments.models import Segment, StaticMember
from segments.sql import session


@contextmanager
def locked(
    alias: str, key: int | None, slug: str, timeout: timedelta | None = None
) -> Iterator[tuple[BaseDatabaseWrapper, Segment | None]]:
    """Open a transaction that has the segment to itself; give its connection and its row of now.

    Args:
        alias: The database.
        key: The segment; None for one that is yet to be saved.
        slug: The segment, for messages.
        timeout: How long a statement may run; None: as the settings say.

    Raises:
        SegmentLockedError: when another session has it for longer than `SEGMENTS_LOCK_TIMEOUT`.
    """
    with session.limited(alias, slug, timeout=timeout) as connection:
        row = None
        if key is not None:
            with translated(SegmentExecutionError, slug):
                session.lock(connection, key)
                rows = Segment.objects.using(alias).filter(pk=key)
                row = rows.select_for_update(no_key=True).first()
        yield connection, row


def try_locked_row(connection: BaseDatabaseWrapper, key: int) -> tuple[Segment | None, bool]:
    """Lock a segment and its row without waiting.

    Returns:
        The row, None where another session has either; and whether the schema is changing.

    Raises:
        Segment.DoesNotExist: when there is no such row any more.
    """
    taken, changing = session.try_lock(connection, key)
    if not taken:
        return None, changing
    rows = Segment.objects.using(connection.alias).filter(pk=key)
    listed = Exists(StaticMember.objects.filter(segment_id=OuterRef("pk")))
    locked = rows.select_for_update(no_key=True, skip_locked=True)
    row = locked.annotate(listed=listed).first()
    if row is None:
        rows.get()
    return row, changing


def wait_for(segment: Segment) -> None:
    """Wait until no other session has the segment, for as long as a statement of it may run.

    Raises:
        SegmentLockedError: when one has it for longer.
    """
    limit = segment.timeout if segment.timeout is not None else conf.statement_timeout()
    with (
        translated(SegmentExecutionError, segment.slug),
        session.limited(
            conf.exec_connection(), segment.slug, timeout=limit, lock_timeout=limit
        ) as connection,
    ):
        session.lock(connection, segment.pk)
        rows = Segment.objects.using(connection.alias).filter(pk=segment.pk)
        rows.select_for_update(no_key=True).first()


def check_no_migration(connection: BaseDatabaseWrapper, slug: str) -> None:
    """Refuse to attach a segment while another session migrates, with a SegmentLockedError."""
    if session.is_schema_changing(connection):
        raise SegmentLockedError(
            "a migration is under way",
            slug=slug,
            hint="Try again when it is over. It attaches all segments at its end.",
        )
