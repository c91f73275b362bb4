"""Progress: a refresh that a user has asked for, and what came of it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from segments import conf
from segments.admin import charts
from segments.admin.pages import SegmentPages, of_segment
from segments.admin.state import Situation, situations
from segments.models import Segment, SegmentRefresh, Status
from segments.refreshing import history, many, order
from segments.sql.session import fetch_value

ASKED = "segments_asked"
"""The key in a session of when its user asked a worker for refreshes, by segment."""

KEEP = timedelta(days=1)
"""How long a page waits for a worker that does not come."""

MAX_KEYS = 200
"""How many segments one request for news may name."""


class ProgressPage(SegmentPages):
    """Refreshes segments, here or in a worker, and tells scripts how that goes."""

    def get_urls(self) -> list[URLPattern]:
        """Add the news for scripts, and the button of a segment."""
        return [
            self.page("progress/", self.progress_view, "progress"),
            self.page("<path:object_id>/refresh/", require_POST(self.refresh_view), "refresh"),
            *super().get_urls(),
        ]

    def progress_view(self, request: HttpRequest) -> JsonResponse:
        """Return how segments are doing: word, label, text and seconds by key, as JSON."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        keys = [key for key in request.GET.getlist("segment")[:MAX_KEYS] if key.isdecimal()]
        segments = list(self.get_queryset(request).filter(pk__in=keys))
        found = situations(segments, asked_by(request))
        latest = _latest(segment for segment in segments if not found[segment.pk].busy)
        answer = {
            str(segment.pk): _news(segment, found[segment.pk], latest.get(segment.pk))
            for segment in segments
        }
        return JsonResponse({"segments": answer})

    @of_segment()
    def refresh_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Refresh one segment, and return to its page."""
        if not self.has_refresh_permission(request):
            raise PermissionDenied
        rows = self.get_queryset(request).filter(pk=segment.pk)
        options: dict[str, Any] = {name: name in request.POST for name in ("force", "accept_loss")}
        self.refresh_rows(request, rows, **options)
        return HttpResponseRedirect(self.page_url("overview", segment.pk))

    def refresh_rows(self, request: HttpRequest, segments: Any, **options: Any) -> None:
        """Refresh segments, or let a worker do so if `SEGMENTS_REFRESH_ASYNC` is on; log it.

        Args:
            options: `force` and `accept_loss`, as for `segments.refresh.refresh`.
        """
        segments = list(segments)
        log_asked(request, segments, options)
        if conf.refresh_async():
            self._enqueue(request, segments, options)
            return
        refreshed = 0
        for result in many.refresh_many(segments, **options):
            for note in result.notes:
                self.message_user(request, f"{result.slug}: {note}", messages.WARNING)
            problem, level = problem_of(result)
            if problem:
                self.message_user(request, problem, level)
            else:
                refreshed += 1
        if refreshed:
            text = ngettext("%d segment refreshed.", "%d segments refreshed.", refreshed)
            self.message_user(request, text % refreshed, messages.SUCCESS)

    def _enqueue(self, request: HttpRequest, segments: Any, options: dict[str, Any]) -> None:
        from segments import tasks

        ordered = order.ordered(segments)
        remember(request, ordered)
        for segment in ordered:
            tasks.enqueue_refresh(segment, **options)
        text = ngettext(
            "A worker will refresh %d segment.",
            "A worker will refresh %d segments.",
            len(ordered),
        )
        self.message_user(request, text % len(ordered), messages.SUCCESS)


def log_asked(request: HttpRequest, segments: list[Segment], options: dict[str, Any]) -> None:
    """Log who has asked for a refresh, and of what sort. What came of it is in the history."""
    words = "Asked for a refresh"
    words += ", even if nothing has changed" if options.get("force") else ""
    words += ", accepting any loss" if options.get("accept_loss") else ""
    author: Any = request.user.pk
    LogEntry.objects.log_actions(author, segments, CHANGE, change_message=words)


def remember(request: HttpRequest, segments: Iterable[Segment]) -> None:
    """Remember in the user's session that a worker was asked to refresh these segments."""
    now = fetch_value(connections[conf.exec_connection()], "select_clock")
    asked = {key: at.isoformat() for key, at in asked_by(request).items()}
    request.session[ASKED] = asked | {str(s.pk): now.isoformat() for s in segments}


def asked_by(request: HttpRequest) -> dict[str, datetime]:
    """Return when the user has asked for refreshes that no worker has begun, by key as text.

    What has begun since is forgotten: a later change of the definition asks for nothing. Costs one
    query if anything was asked.
    """
    stored = request.session.get(ASKED, {}) if hasattr(request, "session") else {}
    if not stored:
        return {}
    times = {key: datetime.fromisoformat(at) for key, at in stored.items()}
    rows = SegmentRefresh.objects.filter(segment__in=times).order_by().values_list("segment")
    begun = dict(rows.annotate(Max("started_at")))
    waiting = {
        key: at
        for key, at in times.items()
        if timezone.now() - at < KEEP and (begun.get(int(key)) or at) <= at
    }
    if len(waiting) < len(stored):
        request.session[ASKED] = {key: stored[key] for key in waiting}
    return waiting


def problem_of(result: history.RefreshResult) -> tuple[str, int]:
    """Return why a segment was not refreshed, and how serious that is; no text if it was."""
    if result.error:
        return str(result.error), messages.ERROR
    if result.detached_manually:
        text = _("%s was not refreshed: it is detached, since its tables are being changed.")
        text %= result.slug
        return f"{text} {history.ATTACH}", messages.ERROR
    if result.status == history.DETACHED:
        text = _("%s was not refreshed: a database change is in progress.")
        return text % result.slug, messages.WARNING
    if result.status == history.LOCKED:
        text = _("%s was not refreshed: somebody else is refreshing or changing it.")
        return text % result.slug, messages.WARNING
    return "", messages.SUCCESS


def outcome(refresh: SegmentRefresh) -> str:
    """Return what came of a refresh, in a sentence."""
    seconds = f"{refresh.duration.total_seconds():.2f}"
    if refresh.status == Status.UNCHANGED:
        return _("Nothing had changed: %s.") % charts.members(refresh.members_count or 0)
    if refresh.members_count is None or refresh.error:
        return refresh.error.partition("\n")[0]
    return _("%(members)s after %(seconds)s s: %(added)s entered, %(removed)s left.") % {
        "members": charts.members(refresh.members_count),
        "seconds": seconds,
        "added": charts.number(refresh.added or 0),
        "removed": charts.number(refresh.removed or 0),
    }


def saved_words(segment: Segment, before: SegmentRefresh | None = None) -> str:
    """Return what came of the members when a segment was saved, in a sentence.

    Args:
        before: Its latest refresh before that; None if it is new.
    """
    latest = latest_refresh(segment)
    if latest is not None and latest != before:
        return outcome(latest)
    if segment.refreshed_at is None:
        return _("It has no members before its first refresh.")
    if segment.status == Status.OUTDATED:
        return _("Its members change at the next refresh.")
    return ""


def latest_refresh(segment: Segment) -> SegmentRefresh | None:
    """Return the latest refresh of a segment, if it has one."""
    return _latest([segment]).get(segment.pk)


def _latest(segments: Iterable[Segment]) -> dict[int, SegmentRefresh]:
    """Return the latest refresh of each segment. One query."""
    rows = SegmentRefresh.objects.filter(segment__in=[segment.pk for segment in segments])
    latest = rows.order_by("segment_id", "-started_at", "-pk").distinct("segment_id")
    return {row.segment_id: row for row in latest}


def _news(segment: Segment, situation: Situation, latest: SegmentRefresh | None) -> dict[str, Any]:
    seconds = situation.running_for
    return {
        "word": situation.word.value,
        "label": situation.label,
        "busy": situation.busy,
        "seconds": None if seconds is None else int(seconds.total_seconds()),
        "text": f"{segment.name}: {outcome(latest)}" if latest else str(segment.name),
    }
