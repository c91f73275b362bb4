"""Members as a file to download."""

import tempfile
import zipfile
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_permission_codename, get_user_model
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest
from django.urls import URLPattern

from segments.admin.pages import SegmentPages, of_segment
from segments.lists.export import export
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
        return download(self.admin_site, request, [segment])


def download(site: AdminSite, request: HttpRequest, segments: list[Segment]) -> FileResponse:
    """Return the members of one segment as CSV, of several as CSV files in a ZIP archive.

    The file is complete before the response begins, so that an error is never half a file. It is
    on the disk, not in memory. The export is logged.

    Raises:
        SegmentError: when members cannot be read.
    """
    file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # The response closes it.
    fields = _fields(site, request)
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
        _log(request, segment, f"Exported {count} members: {', '.join(fields)}")
    return _response(file, name)


def download_list(
    site: AdminSite, request: HttpRequest, segment: Segment, users: "QuerySet[Any]"
) -> FileResponse:
    """Return the users on the list of a segment as CSV; see `download`."""
    file: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # The response closes it.
    fields = _fields(site, request)
    count = export(segment, file, fields, users)
    _log(request, segment, f"Exported {count} users of the list: {', '.join(fields)}")
    return _response(file, f"{segment.slug}-list.csv")


def _log(request: HttpRequest, segment: Segment, words: str) -> None:
    author: Any = request.user.pk
    LogEntry.objects.log_actions(
        author, [segment], CHANGE, change_message=words, single_object=True
    )


def _response(file: Any, name: str) -> FileResponse:
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=name)


def _fields(site: AdminSite, request: HttpRequest) -> list[str]:
    """Return the columns: the key, and names and addresses if the user may view users."""
    model: Any = get_user_model()
    if site.is_registered(model):
        may_view = site.get_model_admin(model).has_view_permission(request)
    else:
        view = get_permission_codename("view", model._meta)
        may_view = request.user.has_perm(f"{model._meta.app_label}.{view}")
    if not may_view:
        return ["pk"]
    known = {field.name for field in model._meta.concrete_fields}
    wanted = (model.USERNAME_FIELD, getattr(model, "EMAIL_FIELD", "email"))
    return ["pk", *dict.fromkeys(name for name in wanted if name in known)]
