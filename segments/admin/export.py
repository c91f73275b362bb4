"""Members as a file to download."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest
from django.urls import URLPattern

from segments.admin.pages import SegmentPages, of_segment
from segments.lists.export import export, export_moving
from segments.models import Segment

IN_MEMORY = 1 << 20
"""How many bytes of a file are kept in memory before it goes to the disk."""


class ExportPage(SegmentPages):
    """The download of a segment's members, for users who may see them."""

    def get_urls(self) -> list[URLPattern]:
        """Add the download."""
        page = self.page("<path:object_id>/export/", self.export_view, "export")
        return [page, *super().get_urls()]

    @of_segment(members=True)
    def export_view(self, request: HttpRequest, segment: Segment) -> FileResponse:
        """Return the members as CSV."""
        return download(request, [segment], self.user_columns(request))


def download(request: HttpRequest, segments: list[Segment], fields: list[str]) -> FileResponse:
    """Return the members of one segment as CSV, of several as CSV files in a ZIP archive.

    The file is complete before the response begins, so that an error is never half a file. It is
    on the disk, not in memory. The export is logged.

    Args:
        fields: The columns, as `SegmentPages.user_columns` returns them.

    Raises:
        SegmentError: when members cannot be read.
    """
    with _file() as file:
        if len(segments) == 1:
            counts = [segments[0].export(file, fields)]
            name = f"{segments[0].slug}.csv"
        else:
            counts, name = [], "segments.zip"
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for segment in segments:
                    with archive.open(f"{segment.slug}.csv", "w", force_zip64=True) as part:
                        counts.append(segment.export(part, fields))
    for segment, count in zip(segments, counts, strict=True):
        _log(request, [segment], f"Exported {_counted(count, 'member')}: {', '.join(fields)}")
    return _response(file, name)


def download_users(
    request: HttpRequest,
    segments: list[Segment],
    users: "QuerySet[Any]",
    fields: list[str],
    *,
    what: str,
    name: str,
) -> FileResponse:
    """Return users who have to do with segments as CSV; see `download`.

    Args:
        segments: Those in whose history the export is logged.
        what: Who they are, for the log.
        name: The name of the file, without its ending.
    """
    with _file() as file:
        count = export(segments[0], file, fields, users)
    _log(request, segments, f"Exported {_counted(count, 'user')} {what}: {', '.join(fields)}")
    return _response(file, f"{name}.csv")


def download_moving(
    request: HttpRequest, segment: Segment, fields: list[str], *, entering: bool
) -> FileResponse:
    """Return the users who would enter a segment, or leave it, as CSV; see `download`.

    Args:
        segment: As a form would save it.

    Raises:
        SegmentError: as `export_moving`.
    """
    with _file() as file:
        count = export_moving(segment, file, fields, entering=entering)
    what, name = ("would enter", "entering") if entering else ("would leave", "leaving")
    words = f"Exported {_counted(count, 'user')} who {what}, before a save: {', '.join(fields)}"
    _log(request, [segment], words)
    return _response(file, f"{segment.slug or 'segment'}-{name}.csv")


@contextmanager
def _file() -> Iterator[Any]:
    """Yield a file that the block writes. The response closes it, or this if the block fails."""
    with ExitStack() as stack:
        yield stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        stack.pop_all()


def _log(request: HttpRequest, segments: list[Segment], words: str) -> None:
    author: Any = request.user.pk
    LogEntry.objects.log_actions(author, segments, CHANGE, change_message=words)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _response(file: Any, name: str) -> FileResponse:
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=name)
