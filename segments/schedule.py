"""Schedule: when is which segment due?

`due_of_segment.sql` has the rule, which `segments.catalog` shows as well.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db import connections
from django.utils import timezone
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.models import Segment
from segments.sql import base, statement


def due_times(segments: Iterable[Segment]) -> list[tuple[Segment, datetime]]:
    """Return when each segment is due, the first first; those that never are, are left out.

    That is after its `refresh_every`, or else `SEGMENTS_REFRESH_EVERY`, and later after failures.
    """
    by_key = {segment.pk: segment for segment in segments}
    query = statement("select_due", segment=sql.Identifier(Segment._meta.db_table), due=base.due())
    connection = connections[conf.exec_connection()]
    with translated(SegmentExecutionError), connection.cursor() as cursor:
        cursor.execute(query, {"segments": list(by_key)})
        return [(by_key[key], due) for key, due in cursor.fetchall() if due is not None]


def due(segments: Iterable[Segment], now: datetime | None = None) -> list[Segment]:
    """Return the segments that are due, those first that are so for longest."""
    moment = now or timezone.now()
    return [segment for segment, due in due_times(segments) if due <= moment]
