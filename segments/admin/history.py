"""The history of a segment: its latest refreshes, below its form, and what was changed when."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from segments.definition.kinds import defining
from segments.models import SegmentRefresh


class RefreshInline(admin.TabularInline):  # type: ignore[type-arg]
    """The latest refreshes of a segment."""

    model = SegmentRefresh
    verbose_name_plural = _("last 10 refreshes")
    fields = ("started_at", "status", "members_count", "added", "removed", "took", "error")
    readonly_fields = fields
    can_delete = False
    extra = 0
    max_num = 0

    @admin.display(description=_("duration"))
    def took(self, row: SegmentRefresh) -> str:
        """Show the duration in seconds."""
        return f"{row.duration.total_seconds():.2f} s"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[SegmentRefresh]":
        """Return the last ten rows of the segment on this page."""
        rows: QuerySet[SegmentRefresh] = super().get_queryset(request)
        match = request.resolver_match
        segment: Any = match.kwargs.get("object_id") if match else None
        latest = rows.filter(segment_id=segment).order_by("-started_at")[:10]
        return rows.filter(pk__in=latest.values("pk")).order_by("-started_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only refreshes write history."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits history."""
        return False


def redefined_at(segment: Any, since: datetime) -> list[datetime]:
    """Return when a definition was changed after a moment, the earliest first. One query.

    Changes of a list alone do not count: they change who is in it at once, and may be many.
    """
    versions = segment.versions.filter(replaced_at__gt=since).order_by("pk")
    found = list(versions.values_list("replaced_at", "fields"))
    later = [*(fields for _at, fields in found), defining(segment)][1:]
    return [at for (at, fields), after in zip(found, later, strict=True) if fields != after]
