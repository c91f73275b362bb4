"""Schedule: when is each segment due?

The statement `due_of_segment` has the rule, which `segments.catalog` shows as well.
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

    A segment is due after its `refresh_every`, or else `SEGMENTS_REFRESH_EVERY`, and later after
    failures.
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
