"""The pages of what changed: who entered and left a segment, and its versions."""

from datetime import datetime, time
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from segments.admin.charts import number
from segments.admin.pages import SegmentPages, of_segment
from segments.exceptions import SegmentError
from segments.membership.members import every_user
from segments.models import Segment, SegmentChange, SegmentVersion
from segments.saving import acting

PER_PAGE = 100

VERSIONS_PER_PAGE = 10


class ChangesPages(SegmentPages):
    """Who entered and who left, and the versions of a definition, with what to restore."""

    def get_urls(self) -> list[URLPattern]:
        """Add the pages."""
        return [
            self.page("<path:object_id>/changes/", self.changes_view, "changes"),
            self.page("<path:object_id>/versions/", self.versions_view, "versions"),
            self.page("<path:object_id>/restore/", require_POST(self.restore_view), "restore"),
            *super().get_urls(),
        ]

    @of_segment(members=True)
    def changes_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """List who entered and who left, in one refresh or since a day.

        Args:
            request: Has the key of a refresh as `refresh`, or a day as `since`; by default it is
                today. Its `which` is `entered` or `left`; both if it is missing.
        """
        query = request.GET.copy()
        query.pop(PAGE_VAR, None)
        if not (query.get("refresh") or query.get("since")):
            query["since"] = timezone.localdate().isoformat()
        rows, words, note = _changed(query, segment)
        which = request.GET.get("which", "")
        if which in ("entered", "left"):
            rows = rows.filter(entered=which == "entered")
        page = self.get_paginator(request, rows.order_by("-pk"), PER_PAGE).get_page(
            request.GET.get(PAGE_VAR)
        )
        users = every_user().in_bulk([row.user_id for row in page])
        context = self.page_context(
            request,
            title=_("Who entered and who left: %s") % segment,
            segment=segment,
            words=words,
            note=note,
            since=query.get("since", ""),
            which=which,
            page=page,
            page_var=PAGE_VAR,
            query=query.urlencode(),
            rows=[self._row(request, row, users.get(row.user_id)) for row in page],
        )
        return TemplateResponse(request, "admin/segments/segment/changes.html", context)

    def _row(self, request: HttpRequest, row: SegmentChange, user: Any) -> dict[str, Any]:
        return {
            "change": row,
            "user": user,
            "url": self.user_url(request, user) if user is not None else None,
        }

    @of_segment()
    def versions_view(self, request: HttpRequest, segment: Any) -> HttpResponse:
        """List what the segment was before each change, with what the change did."""
        rows = segment.versions.select_related("replaced_by", "segment").order_by("-pk")
        page = self.get_paginator(request, rows, VERSIONS_PER_PAGE).get_page(
            request.GET.get(PAGE_VAR)
        )
        shown: list[SegmentVersion] = list(page)
        later: SegmentVersion | None = None
        if shown:
            later = segment.versions.filter(pk__gt=shown[0].pk).order_by("pk").first()
        followers = [later, *shown][: len(shown)]
        lists_members = self.has_view_members_permission(request) or self.has_change_permission(
            request, segment
        )
        context = self.page_context(
            request,
            title=_("Versions: %s") % segment,
            segment=segment,
            page=page,
            page_var=PAGE_VAR,
            versions=[
                (version, version.diff(follower), self._may_restore(request, version))
                for version, follower in zip(shown, followers, strict=True)
            ],
            may_view_lists=lists_members,
        )
        return TemplateResponse(request, "admin/segments/segment/versions.html", context)

    @of_segment("versions")
    def restore_view(self, request: HttpRequest, segment: Any) -> HttpResponse:
        """Save a version as a new change, in the name of the user, and log it."""
        version = get_object_or_404(segment.versions, pk=request.POST.get("version"))
        if not self._may_restore(request, version):
            raise PermissionDenied
        difference = version.diff()
        with acting(request.user):
            restored = version.restore()
        author: Any = request.user.pk
        words = f"Restored the version until {version.replaced_at:%Y-%m-%d %H:%M}:\n{difference}"
        LogEntry.objects.log_actions(
            author, [restored], CHANGE, change_message=words, single_object=True
        )
        text = _("The version is restored. %s members.") % number(restored.members_count)
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.page_url("overview", segment.pk))

    def _may_restore(self, request: HttpRequest, version: SegmentVersion) -> bool:
        """Return whether the user may save a version: SQL and methods need their permission."""
        segment = version.segment
        queries = version.fields.get("definition") or version.fields.get("manager_method")
        if (queries or segment.definition or segment.manager_method) and (
            not self.has_change_definition_permission(request)
        ):
            return False
        may_change: bool = self.has_change_permission(request, segment)
        return may_change


def _changed(query: QueryDict, segment: Segment) -> tuple["QuerySet[SegmentChange]", str, str]:
    """Return the changes of a refresh or since a day, when they were, and what is not known."""
    rows = SegmentChange.objects.filter(segment=segment.pk)
    if key := query.get("refresh", ""):
        refreshes: Any = segment.refreshes
        refresh = get_object_or_404(refreshes, pk=key if key.isdecimal() else None)
        at = timezone.localtime(refresh.started_at)
        words = _("In the refresh of %s") % f"{at:%Y-%m-%d %H:%M}"
        found, note = rows.filter(refresh=refresh.pk), ""
        if (refresh.added or refresh.removed) and not found.exists():
            note = _("A first refresh, and one while changes are not tracked, lists nobody here.")
        return found, words, note
    text = query.get("since", "")
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        return rows.none(), "", _('"%s" is no day. Write it like this: 2026-01-31.') % text
    moment, note = timezone.make_aware(datetime.combine(day, time.min)), ""
    try:
        segment.entered(moment)
    except SegmentError as error:
        note = str(error)
    return rows.filter(at__gte=moment), _("Since %s") % day.isoformat(), note
