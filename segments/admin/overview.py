"""The page of a segment: how it is doing, how it grew, what it reads and who reads it."""

from bisect import bisect_left
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from segments import conf
from segments.admin import charts
from segments.admin.editing.listed import has_list
from segments.admin.history import entries, entries_of, redefined_at
from segments.admin.listing import age_of, badge, view_name
from segments.admin.pages import SegmentPages, of_segment
from segments.admin.progress import asked_by, outcome
from segments.admin.state import situations
from segments.definition.kinds import choice_of
from segments.exceptions import SegmentExecutionError, translated
from segments.models import Segment
from segments.rows import with_slugs
from segments.sql import names
from segments.validation.trial import columns_read

POINTS = 200
"""How many points a chart has."""

RANGES = (("", _("Latest refreshes")), ("30", _("Last 30 days")), ("all", _("All")))
"""The parts of the history that a chart can show, by the value of `days`."""

PER_PAGE = 20
"""How many refreshes and changes a page lists."""


LOG_VAR = "log"
"""The parameter of a request for a page of the changes."""


class OverviewPage(SegmentPages):
    """The page of a segment, for users who may view segments."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of a segment."""
        page = self.page("<path:object_id>/overview/", self.overview_view, "overview")
        return [page, *super().get_urls()]

    @of_segment(None)
    def overview_view(self, request: HttpRequest, segment: Any) -> HttpResponse:
        """Show how a segment is doing. The number of queries is constant.

        Args:
            request: Its `days` says what the chart shows: `30` or `all`; by default it is the
                latest refreshes.
        """
        situation = situations([segment], asked_by(request)).get(segment.pk)
        if situation is None:
            raise SegmentExecutionError("it has been deleted", slug=segment.slug)
        segment.situation = situation
        refreshes = self.get_paginator(
            request, segment.refreshes.order_by("-started_at"), PER_PAGE
        ).get_page(request.GET.get(PAGE_VAR))
        log = self.get_paginator(request, entries_of(segment), PER_PAGE).get_page(
            request.GET.get(LOG_VAR)
        )
        context = self.page_context(
            request,
            title=segment.name,
            segment=segment,
            situation=situation,
            badge=badge(segment, situation, self.page_url("progress")),
            age=age_of(segment),
            members=charts.number(segment.members_count),
            kind=choice_of(segment, has_list(segment)).label,
            view_name=view_name(segment),
            refreshes=refreshes,
            outcomes=[(row, charts.moment(row.started_at), outcome(row)) for row in refreshes],
            page_var=PAGE_VAR,
            log=log,
            log_var=LOG_VAR,
            entries=[(entry, charts.moment(entry.at)) for entry in entries(segment, log)],
            lines=_lines(segment),
            tables=_tables(segment),
            used_by=segment.used_by(),
            **_course(segment, request.GET.get("days", "")),
            **self._neighbours(segment),
            **self._rights(request, segment),
        )
        return TemplateResponse(request, "admin/segments/segment/overview.html", context)

    def _neighbours(self, segment: Any) -> dict[str, Any]:
        """Return the segments that it reads, and that read it."""
        found = segment.situation.reads, segment.situation.readers
        rows = {
            names.view_name(row.slug): row
            for row in with_slugs(Segment.objects.order_by("slug"), [*found[0], *found[1]])
        }
        reads, readers = ([rows[name] for name in group if name in rows] for group in found)
        return {"reads": reads, "readers": readers}

    def _rights(self, request: HttpRequest, segment: Segment) -> dict[str, bool]:
        return {
            "may_view_members": self.has_view_members_permission(request),
            "may_refresh": self.has_refresh_permission(request),
            "may_change": self.has_change_permission(request, segment),
        }


def _course(segment: Segment, days: str) -> dict[str, Any]:
    """Return the chart of the size over time, and its numbers, the latest first.

    Args:
        days: The part of the history that it shows, one of `RANGES`.
    """
    counted = segment.refreshes.filter(members_count__isnull=False).order_by("-started_at")
    rows = counted.values_list("started_at", "members_count", "added", "removed")
    before = window = None
    if days == "30":
        end = timezone.now()
        start = end - timedelta(days=30)
        before = rows.filter(started_at__lt=start).first()
        window = charts.Window(start, end, before[1] if before else None)
        rows = rows.filter(started_at__gte=start)
    elif days != "all":
        days, rows = "", rows[:POINTS]
    found = list(rows)[::-1]
    points = charts.merged(_points(segment, found, before and before[0]), POINTS)
    return {
        "chart": charts.size_chart(points, window),
        "points": points[::-1],
        "redefined": any(point.redefined for point in points),
        "shown_refreshes": len(found),
        "days": days,
        "ranges": RANGES,
    }


def _points(segment: Segment, rows: list[Any], before: datetime | None) -> list[charts.Point]:
    """Return the points of refreshes, which know whether they follow a change of the definition.

    Args:
        before: When the refresh before the first of them began; None if that is not known.
    """
    times = [row[0] for row in rows]
    changed = redefined_at(segment, before or times[0]) if times else []
    first_after = {bisect_left(times, moment) for moment in changed}
    return [
        charts.Point(at, members or 0, entered or 0, left or 0, redefined=n in first_after)
        for n, (at, members, entered, left) in enumerate(rows)
    ]


def _tables(segment: Segment) -> tuple[str, ...]:
    """Return the columns that its live view reads; none while it is detached."""
    connection = connections[conf.exec_connection()]
    with translated(SegmentExecutionError, segment.slug):
        return columns_read(connection, names.view_name(segment.slug))


def _lines(segment: Segment) -> list[tuple[str, str]]:
    """Return lines to copy: how others ask for the members."""
    slug, view = segment.slug, names.members_view(segment.slug).as_string()
    select = f"SELECT user_id FROM {view}"  # noqa: S608  # It is shown, not run.
    membership = f"SELECT user_id, entered_at FROM {conf.schema()}.membership"  # noqa: S608
    return [
        ("SQL", f"{select};"),
        ("psql", f"\\copy ({select}) TO '{slug}.csv' CSV HEADER"),
        ("BI", f"{membership} WHERE slug = '{slug}';"),
        ("Python", f'user.is_member("{slug}")'),
        ("Django", f'Segment.objects.get(slug="{slug}").members'),
    ]
