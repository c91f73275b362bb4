"""The schedule: when is each segment due?

The rule is the statement `due_of_segment`, which `segments.catalog` uses as well.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import connections
from django.utils import timezone
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.pgviews.shared import due_expression
from segments.sql.owned import SEGMENT
from segments.sql.session import fetch_all
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment


def due_times(segments: Iterable["Segment"]) -> list[tuple["Segment", datetime]]:
    """Return (segment, due time), earliest first; segments without a schedule are left out.

    A segment is due when its `refresh_every` has passed, or `SEGMENTS_REFRESH_EVERY` if it has
    none; and later after failures.
    """
    by_key = {segment.pk: segment for segment in segments}
    query = compose("select_due", segment=sql.Identifier(SEGMENT), due=due_expression())
    with translated(SegmentExecutionError):
        rows = fetch_all(connections[conf.exec_connection()], query, segments=list(by_key))
    return [(by_key[key], due) for key, due in rows if due is not None]


def due(segments: Iterable["Segment"], now: datetime | None = None) -> list["Segment"]:
    """Return the due segments, longest overdue first."""
    moment = now or timezone.now()
    return [segment for segment, due in due_times(segments) if due <= moment]
