"""Watch the schedule: refresh segments when they are due, as long as the process runs."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from threading import Event

import django.db
from django.db import close_old_connections
from django.utils import timezone

from segments.exceptions import SegmentError, for_log
from segments.refreshing.history import RefreshResult
from segments.refreshing.many import refresh_due
from segments.refreshing.schedule import due_times
from segments.rows import segment_rows

logger = logging.getLogger(__name__)

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(seconds=15)
"""The limits of a pause. New segments and changed intervals are noticed after it."""


def watch(stop: Event, jobs: int = 1) -> Iterator[RefreshResult]:
    """Refresh segments when they are due, and yield each result when it is ready.

    If the database does not answer, log that and try again.

    Args:
        stop: Once set, running refreshes finish and no other starts.
        jobs: As for `many.refresh_many`.
    """
    while not stop.is_set():
        pause = LONGEST
        try:
            yield from refresh_due(jobs, stop)
            pause = _until_next()
        except (SegmentError, django.db.Error) as error:
            logger.error("Nothing can be refreshed: %s", for_log(error))
        close_old_connections()
        stop.wait(pause.total_seconds())


def _until_next() -> timedelta:
    """Return the time until the next segment is due, within the limits."""
    due = due_times(segment_rows().filter(is_active=True))
    return min(max(due[0][1] - timezone.now(), SHORTEST), LONGEST) if due else LONGEST
