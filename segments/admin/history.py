"""The history of a segment: its latest refreshes, below its form, and what was changed when."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db import router
from django.db.models import Exists, F, OuterRef, QuerySet, Subquery, Value
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from segments.admin.charts import number
from segments.definition.kinds import defining
from segments.models import Segment, SegmentRefresh, SegmentVersion
from segments.saving import diffs

LOGGED_WITHIN = timedelta(minutes=1)
"""How long after a change the admin logs it at the latest: a save may refresh the segment first.

A change that takes longer is listed twice, once with the user and once as the version.
"""


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


def followed(versions: "QuerySet[SegmentVersion]") -> "QuerySet[Any]":
    """Return versions with the fields of the next one as `followed_by`; None for the last."""
    later = SegmentVersion.objects.filter(segment=OuterRef("segment"), pk__gt=OuterRef("pk"))
    return versions.annotate(followed_by=Subquery(later.order_by("pk").values("fields")[:1]))


def redefined_at(segment: Any, since: datetime) -> list[datetime]:
    """Return when a definition was changed after a moment, the earliest first. One query.

    Changes of a list alone do not count: they change who is in it at once, and may be many.
    """
    versions = followed(segment.versions.filter(replaced_at__gt=since)).order_by("pk")
    rows, now = versions.values_list("replaced_at", "fields", "followed_by"), defining(segment)
    return [at for at, before, after in rows if before != (after or now)]


class Entry(NamedTuple):
    """A change of a segment: when, who made it, and what it was.

    Attributes:
        who: The user; None if none is known, as usually of a change by code.
        version: Whether it comes from the versions, and not from the log of the admin.
    """

    at: datetime
    who: Any
    what: str
    version: bool


def entries_of(segment: Segment) -> "QuerySet[Any]":
    """Return what was changed, the latest first, as rows for `entries`: one ordered query.

    It has the log of the admin, and the versions that are not in it: the changes by code. A change
    in the admin is a version, too; it is one if the same user has an entry right after it.
    """
    alias = router.db_for_read(Segment)
    if router.db_for_write(LogEntry) != router.db_for_write(Segment):
        alias = router.db_for_read(LogEntry)
    log = LogEntry.objects.using(alias).filter(
        content_type=get_content_type_for_model(segment), object_id=str(segment.pk)
    )
    columns = ("moment", "pk", "of_version")
    rows = log.order_by().annotate(moment=F("action_time"), of_version=Value(False))
    if alias != router.db_for_read(Segment):
        return rows.values_list(*columns).order_by("-moment", "-pk")
    logged = log.filter(
        user=OuterRef("replaced_by"),
        action_time__gte=OuterRef("replaced_at"),
        action_time__lte=OuterRef("replaced_at") + LOGGED_WITHIN,
    )
    versions = SegmentVersion.objects.using(alias).filter(~Exists(logged), segment=segment.pk)
    found = versions.order_by().annotate(moment=F("replaced_at"), of_version=Value(True))
    both = rows.values_list(*columns).union(found.values_list(*columns), all=True)
    return both.order_by("-moment", "-pk")


def entries(segment: Segment, rows: Iterable[tuple[datetime, int, bool]]) -> list[Entry]:
    """Return the changes that rows of `entries_of` stand for. Two queries."""
    rows = list(rows)
    log = LogEntry.objects.select_related("user").in_bulk([pk for _, pk, own in rows if not own])
    versions = followed(SegmentVersion.objects.select_related("replaced_by")).in_bulk(
        [pk for _, pk, own in rows if own]
    )
    now = defining(segment)
    return [
        Entry(at, versions[pk].replaced_by, _change(versions[pk], now), True)
        if own
        else Entry(at, log[pk].user, _message(log[pk]), False)
        for at, pk, own in rows
        if pk in (versions if own else log)
    ]


def _message(entry: LogEntry) -> str:
    return entry.get_change_message() or entry.get_action_flag_display()


def _change(version: Any, now: dict[str, Any]) -> str:
    """Return what a change did that followed a version, in words."""
    words = diffs.fields_changed(version.fields, version.followed_by or now)
    if version.ids_added or version.ids_removed:
        added, removed = number(version.ids_added), number(version.ids_removed)
        words.append(gettext("List: %s added, %s removed") % (added, removed))
    return ", ".join(words)
