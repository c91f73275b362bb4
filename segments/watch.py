"""Watch: refresh what is due, for as long as the process lives."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from threading import Event

import django.db
from django.db import close_old_connections
from django.utils import timezone

from segments.exceptions import SegmentError, for_log
from segments.models import Segment
from segments.outcome import RefreshResult
from segments.runs import refresh_due
from segments.schedule import due_times

logger = logging.getLogger(__name__)

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(seconds=15)
"""How long to wait between two looks; new segments and changed intervals are seen at the next."""


def watch(stop: Event, jobs: int = 1) -> Iterator[RefreshResult]:
    """Refresh what is due whenever something is, and give each result as it comes.

    While the database does not answer, asks again and again, and logs that.

    Args:
        stop: Once set, the refresh at hand is finished, and no other started.
        jobs: As for `runs.refresh_many`.
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
    due = due_times(Segment.objects.filter(is_active=True))
    return min(max(due[0][1] - timezone.now(), SHORTEST), LONGEST) if due else LONGEST
