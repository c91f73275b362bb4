"""The result of a refresh: store it on the row and in the history, then send its signal."""

import json
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import django.db
from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentLossError, for_log
from segments.refreshing.reconcile import Reconciled
from segments.refreshing.unchanged import ReadDigest
from segments.rows import STATE, Status, change_rows, try_locked_row
from segments.signals import segment_refresh_failed, segment_refreshed
from segments.sql import owned, session
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)

LOCKED = "locked"
"""The status of a refresh that left the segment to another session. It is not stored."""

DETACHED = "detached"
"""The status of a refresh that stood aside for a schema change. It is not stored."""

ATTACH = "When the schema change is over, run: manage.py sync_segments"
"""What to do next about a segment that was detached manually."""


@dataclass(frozen=True)
class RefreshResult:
    """What a refresh did.

    Attributes:
        status: `refreshed`; `unchanged` if nothing that the segment reads was written since the
            last refresh, so its members are still right; `locked` if another session was
            refreshing or changing the segment, or `detached` during a schema change, and nothing
            was done; `failed` or, if it would have removed too many members, `refused`, with the
            `error`, when several segments are refreshed.
        members_count: The current number of members; None if the segment was never populated.
        added, removed: How many rows the view has gained and lost.
        duration: The time from the start to just before the commit.
        slug: The segment.
        error: Why the refresh failed.
        notes: Remarks in words: what was restored, and which segments that this one reads have
            failed, so that it was computed from their last good members.
        dependents: The results of the segments that read this one, if they were refreshed as well.
        detached_manually: Whether it is `detached` since somebody ran `detach_segments`, so that
            only `sync_segments` attaches it.
        refresh_id: The key of its row in the history, if it has one.
        change_ids: The first and the last id of the changes that it wrote, if it wrote any.
    """

    status: str
    members_count: int | None = None
    added: int = 0
    removed: int = 0
    duration: timedelta = timedelta()
    slug: str = ""
    error: SegmentError | None = None
    notes: tuple[str, ...] = ()
    dependents: tuple["RefreshResult", ...] = ()
    detached_manually: bool = False
    refresh_id: int | None = None
    change_ids: tuple[int, int] | None = None

    def changes(self) -> "models.QuerySet[Any]":
        """Return who entered and who left at this refresh, in the order of their ids.

        It is empty after a first population, and while `track_changes` of the segment is off.
        Use `iterator()` on it if there may be many.
        """
        rows: models.QuerySet[Any] = change_rows(conf.exec_connection())
        if self.change_ids is None:
            return rows.none()
        return rows.filter(pk__range=self.change_ids, refresh_id=self.refresh_id).order_by("pk")


@dataclass(frozen=True)
class Stopwatch:
    """Measures how long a refresh has been running."""

    started_at: datetime = field(default_factory=timezone.now)
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> timedelta:
        """The time since the start."""
        return timedelta(seconds=time.monotonic() - self._start)


def record(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    stopwatch: Stopwatch,
    result: RefreshResult,
    *,
    digest: ReadDigest | None = None,
    until: datetime | None = None,
    changed: Reconciled | None = None,
) -> RefreshResult:
    """Store the result of a refresh, notify the database's listeners, and return it with its time.

    Also deletes history and changes that are older than the settings say.

    Args:
        row: The segment, whose state is set. Its `ids_from` is stored.
        digest: The digest of what the members were computed from, if they were.
        until: Until when the members are known to be right, if they were not recomputed.
        changed: What became of the members, if they were recomputed.
    """
    done = changed or Reconciled(0, 0)
    result = replace(result, duration=stopwatch.elapsed)
    # The clock may have been ahead at the last refresh; a digest counts from its own moment.
    moment = digest.moment if digest else until and max(until, row.refreshed_at or until)
    numbers = {
        "status": str(result.status),
        "members_count": result.members_count,
        "added": result.added,
        "removed": result.removed,
    }
    params: dict[str, Any] = numbers | {
        "segment": row.pk,
        "started_at": stopwatch.started_at,
        "moment": digest.moment if digest else None,
        "refreshed_at": moment,
        "duration": result.duration,
        "added": None if result.error else result.added,
        "removed": None if result.error else result.removed,
        "error": str(result.error or ""),
        "read_digest": digest.digest if digest else None,
        "ids_from": row.ids_from,
        "history": conf.history(),
        "changes": conf.changes(),
        "recomputed": changed is not None,
        "refresh": done.refresh,
        "written": done.entered + done.left if done.refresh else 0,
        # Losing an "unchanged" row in a crash is harmless; do not wait for the disk.
        "light": bool(until) and not digest and not connection.savepoint_ids,
        "channel": conf.schema(),
        "payload": json.dumps({"segment": row.slug, "id": row.pk} | numbers),
    }
    query = compose(
        "record_refresh",
        segment=sql.Identifier(owned.SEGMENT),
        refresh=sql.Identifier(owned.REFRESH),
        change=sql.Identifier(owned.CHANGE),
        state=sql.SQL(", ").join(map(sql.Identifier, STATE)),
    )
    (stored,) = session.fetch_all(connection, query, **params)
    for name, value in zip(STATE, stored, strict=False):
        setattr(row, name, value)
    if digest:
        query = compose("complete_version", version=sql.Identifier(owned.VERSION))
        fetched = {name: params[name] for name in ("segment", "members_count", "added", "removed")}
        session.fetch_all(connection, query, **fetched)
    ids = (done.first, done.last) if done.first and done.last else None
    return replace(result, refresh_id=stored[len(STATE)], change_ids=ids)


def failure_status(error: SegmentError) -> Status:
    """Return the status of a refresh that ends with an error."""
    return Status.REFUSED if isinstance(error, SegmentLossError) else Status.FAILED


def record_failure(
    alias: str, segment: "Segment", stopwatch: Stopwatch, error: SegmentError
) -> None:
    """Store a failure on the segment and in its history, in a transaction of its own.

    If another session holds the segment or has refreshed it since, that result counts, and nothing
    is stored.
    """
    result = RefreshResult(failure_status(error), slug=segment.slug, error=error)
    try:
        with session.transaction(alias, segment.slug) as connection:
            row, _ = try_locked_row(connection, segment.pk)
            if row is not None and row.attempted_at == segment.attempted_at:
                record(connection, row, stopwatch, result)
    except ObjectDoesNotExist:
        return
    except (django.db.Error, SegmentError) as storage_error:
        # The database is gone or read-only. The caller reports why the refresh failed.
        logger.warning(
            "The failure of segment %s was not stored: %s", segment.slug, for_log(storage_error)
        )


def announce(segment: "Segment", result: RefreshResult) -> None:
    """Send the signal for the result of a refresh once it is committed."""
    arguments: dict[str, Any] = {"sender": type(segment), "segment": segment, "result": result}
    if result.error:
        send = partial(segment_refresh_failed.send_robust, **arguments, error=result.error)
    elif result.status in (Status.REFRESHED, Status.UNCHANGED):
        send = partial(segment_refreshed.send_robust, **arguments)
    else:
        return
    connection = connections[conf.exec_connection()]
    if connection.in_atomic_block:
        connection.on_commit(send)
    else:  # It is committed, or the caller commits manually and Django does not know when.
        send()
