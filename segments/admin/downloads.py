"""Downloads as CSV, sent while they are read from Postgres."""

from collections.abc import Iterator
from itertools import chain, islice

from django.http import StreamingHttpResponse

ROWS_AT_ONCE = 1_000
"""How many rows are sent at once."""


def csv_response(rows: Iterator[bytes], filename: str) -> StreamingHttpResponse:
    """Return a download of lines, the first of which are read now, so that errors are raised here.

    Raises:
        SegmentError: when Postgres cannot read the users, or a field may not be exported.
    """
    lines = chain([*islice(rows, 2)], rows)
    blocks = iter(lambda: b"".join(islice(lines, ROWS_AT_ONCE)), b"")
    response = StreamingHttpResponse(blocks, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
