"""The pages of what changed: who entered and left a segment, and its versions."""

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from segments import conf
from segments.admin import charts
from segments.admin.export import download_users
from segments.admin.history import followed
from segments.admin.pages import SegmentPages, of_segment
from segments.admin.progress import latest_refresh, saved_words
from segments.changes.feed import first_since
from segments.changes.mixin import check_complete, since_moment
from segments.changes.models import ChangeQuerySet
from segments.definition.kinds import defining
from segments.exceptions import SegmentError
from segments.membership.members import every_user
from segments.models import Segment, SegmentChange, SegmentVersion
from segments.saving import acting, diffs

PER_PAGE = 100

VERSIONS_PER_PAGE = 10

WHICH = {"entered": "who entered", "left": "who left"}
"""The two sorts of changes, and their words in the log."""


@dataclass(frozen=True)
class _VersionShown:
    """A version, and the change that has replaced it.

    Attributes:
        since: When it came into force; None if that is not known.
        lines: How what followed it differs.
        latest: Whether the change is the latest one.
    """

    version: SegmentVersion
    since: datetime | None
    lines: list[diffs.Line]
    latest: bool
    may_restore: bool

    @property
    def at(self) -> str:
        """When it was changed, with seconds."""
        return charts.moment(self.version.replaced_at)

    @property
    def ids_after(self) -> int:
        """How long the list was after the change."""
        version = self.version
        return version.ids_count + version.ids_added - version.ids_removed


class ChangesPages(SegmentPages):
    """Who entered and who left, and the versions of a definition, with what to restore."""

    def get_urls(self) -> list[URLPattern]:
        """Add the pages."""
        return [
            self.page("<path:object_id>/changes/", self.changes_view, "changes"),
            self.page(
                "<path:object_id>/changes/download/",
                self.changes_download_view,
                "changes_download",
            ),
            self.page("<path:object_id>/versions/", self.versions_view, "versions"),
            self.page("<path:object_id>/restore/", require_POST(self.restore_view), "restore"),
            *super().get_urls(),
        ]

    @of_segment(members=True)
    def changes_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """List who entered and who left, in one refresh or since a day.

        Args:
            request: Has a day as `since`, or the key of a refresh as `refresh`; by default it is
                the last refresh in which anybody entered or left, and today if there is none. Its
                `which` is `entered` or `left`; both if it is missing.
        """
        query = _asked(request, segment)
        rows, words, note = _changed(query, segment)
        page = self.get_paginator(request, rows.order_by("-pk"), PER_PAGE).get_page(
            request.GET.get(PAGE_VAR)
        )
        users = every_user().in_bulk([row.user_id for row in page])
        email = self.shown_email(request)
        context = self.page_context(
            request,
            title=_("Who entered and who left: %s") % segment,
            segment=segment,
            words=words,
            note=note,
            asked=query,
            page=page,
            page_var=PAGE_VAR,
            query=urlencode(query),
            downloads=_downloads(query),
            shows_email=bool(email),
            rows=[self._row(request, row, users.get(row.user_id), email) for row in page],
        )
        return TemplateResponse(request, "admin/segments/segment/changes.html", context)

    @of_segment("changes", members=True)
    def changes_download_view(self, request: HttpRequest, segment: Segment) -> FileResponse:
        """Return who entered, or who left, as CSV: those whom the page lists, each once.

        Users who were deleted are left out, and so are those whom `shown_users` hides.
        """
        query = _asked(request, segment)
        which = query.get("which", "")
        if which not in WHICH:
            raise Http404("A download has those who entered, or those who left.")
        rows, words, note = _changed(query, segment)
        if not words:
            raise Http404(note)
        return download_users(
            request,
            [segment],
            rows.users(),
            self.user_columns(request),
            what=f"{WHICH[which]}, {words[0].lower()}{words[1:]}",
            name=f"{segment.slug}-{which}",
        )

    def _row(
        self, request: HttpRequest, row: SegmentChange, user: Any, email: str
    ) -> dict[str, Any]:
        return {
            "change": row,
            "at": charts.moment(row.at),
            "user": user,
            "email": getattr(user, email, "") if email else "",
            "url": self.user_url(request, user) if user is not None else None,
        }

    @of_segment()
    def versions_view(self, request: HttpRequest, segment: Any) -> HttpResponse:
        """List what the segment was before each change, with what the change did."""
        rows = followed(segment.versions.select_related("replaced_by", "segment")).order_by("-pk")
        page = self.get_paginator(request, rows, VERSIONS_PER_PAGE).get_page(
            request.GET.get(PAGE_VAR)
        )
        shown, older = list(page), None
        if shown:
            older = segment.versions.filter(pk__lt=shown[-1].pk).order_by("-pk").first()
        now = defining(segment)
        whole = page.paginator.count < conf.versions()  # None was deleted to make room.
        context = self.page_context(
            request,
            title=_("Versions: %s") % segment,
            segment=segment,
            page=page,
            page_var=PAGE_VAR,
            versions=[
                _VersionShown(
                    version,
                    before.replaced_at if before else segment.created_at if whole else None,
                    diffs.compared(
                        diffs.text_for_people(version.fields),
                        diffs.text_for_people(version.followed_by or now),
                    ),
                    version.followed_by is None,
                    self._may_restore(request, version),
                )
                for version, before in zip(shown, [*shown[1:], older], strict=False)
            ],
        )
        return TemplateResponse(request, "admin/segments/segment/versions.html", context)

    @of_segment("versions")
    def restore_view(self, request: HttpRequest, segment: Any) -> HttpResponse:
        """Save a version as a new change, in the name of the user, and log it."""
        key = request.POST.get("version", "")
        version = get_object_or_404(segment.versions, pk=key if key.isdecimal() else None)
        if not self._may_restore(request, version):
            raise PermissionDenied
        difference, before = version.diff(), latest_refresh(segment)
        with acting(request.user):
            restored = version.restore()
        words = f"Restored the version until {version.replaced_at:%Y-%m-%d %H:%M}:\n{difference}"
        self.log_change(request, restored, words)
        text = f"{_('The version is restored.')} {saved_words(restored, before)}"
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


def _asked(request: HttpRequest, segment: Segment) -> dict[str, str]:
    """Return what a request asks for: `since` or `refresh`, and `which`, if they are given.

    A day counts before a refresh: the form of the page keeps the refresh until a day is chosen.
    """
    which = request.GET.get("which", "")
    query = {"which": which} if which in WHICH else {}
    for name in ("since", "refresh"):
        if value := request.GET.get(name):
            return query | {name: value}
    last = _of_kind(SegmentChange.objects.filter(segment=segment.pk), query).last()
    refreshes: Any = segment.refreshes
    if last is not None and refreshes.filter(pk=last.refresh_id).exists():
        return query | {"refresh": str(last.refresh_id)}
    day = timezone.localdate() if last is None else timezone.localdate(last.at)
    return query | {"since": day.isoformat()}


def _of_kind(rows: ChangeQuerySet, query: dict[str, str]) -> ChangeQuerySet:
    """Return those who entered, those who left, or both."""
    return rows.filter(entered=query["which"] == "entered") if "which" in query else rows


def _downloads(query: dict[str, str]) -> list[tuple[str, str]]:
    """Return the queries of the downloads that go with a page, with their words."""
    words = {"entered": _("Download who entered"), "left": _("Download who left")}
    chosen = query.get("which")
    return [
        (words[which], urlencode(query | {"which": which}))
        for which in WHICH
        if chosen in (None, which)
    ]


def _changed(query: dict[str, str], segment: Segment) -> tuple[ChangeQuerySet, str, str]:
    """Return the changes of a refresh or since a day, when they were, and what is not known."""
    rows = SegmentChange.objects.filter(segment=segment.pk)
    if key := query.get("refresh", ""):
        refreshes: Any = segment.refreshes
        refresh = get_object_or_404(refreshes, pk=key if key.isdecimal() else None)
        words = _("In the refresh of %s") % charts.moment(refresh.started_at)
        first, end = (
            first_since(segment, rows.db, refresh=n) for n in (refresh.pk - 1, refresh.pk)
        )
        found, note = rows.filter(pk__gte=first, pk__lt=end, refresh=refresh.pk), ""
        if (refresh.added or refresh.removed) and not found.exists():
            note = _("A first refresh, and one while changes are not tracked, lists nobody here.")
        return _of_kind(found, query), words, note
    text = query.get("since", "")
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        return rows.none(), "", _('"%s" is no day. Write it like this: 2026-01-31.') % text
    moment, note = timezone.make_aware(datetime.combine(day, time.min)), ""
    try:
        check_complete(segment, moment)
    except SegmentError as error:
        note = str(error)
    return _of_kind(since_moment(segment, moment), query), _("Since %s") % day.isoformat(), note
