"""The list of segments: how each is doing, at a glance, in a constant number of queries."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _

from segments.admin import charts
from segments.admin.filters import (
    KindFilter,
    OwnerFilter,
    SituationFilter,
    TagFilter,
    has_list,
)
from segments.admin.pages import SegmentPages
from segments.admin.progress import asked_by
from segments.admin.state import Situation, situations
from segments.models import Segment
from segments.sql import names


class SegmentChangeList(ChangeList):
    """A list whose rows know how their segments are doing."""

    def get_results(self, request: HttpRequest) -> None:
        """Load the rows of the page, and how they are doing."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        pages: Any = self.model_admin
        found = situations(rows, asked_by(request)) if rows else {}
        on_page = Segment.objects.filter(has_list(), pk__in=found).order_by()
        listed = set(on_page.values_list("pk", flat=True)) if rows else set()
        rows = [row for row in rows if row.pk in found]  # Others were deleted meanwhile.
        for row in rows:
            row.situation, row.listed = found[row.pk], row.pk in listed
            row.may_view_members = pages.has_view_members_permission(request)
        self.result_list = rows


class ListPage(SegmentPages):
    """The list of segments."""

    list_display: Any = ("title", "state_cell", "members_cell", "age", "kind", "reads", "read_by")
    list_display_links: Any = None
    list_filter = (SituationFilter, KindFilter, OwnerFilter, TagFilter)
    search_fields = ("name", "slug", "description", "definition", "manager_method")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that knows how segments are doing."""
        return SegmentChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say in which order the list is, unless the user has chosen one."""
        chosen = ORDER_VAR in request.GET
        return super().changelist_view(request, {"chosen": chosen} | (extra_context or {}))

    @admin.display(description=_("segment"), ordering="name")
    def title(self, segment: Segment) -> SafeString:
        """Return the name as a link to the page of the segment, above the name of its view."""
        return format_html(
            '<a class="segments-name" href="{}">{}</a><code class="segments-view">{}</code>',
            self.page_url("overview", segment.pk),
            segment.name,
            names.view_name(segment.slug),
        )

    @admin.display(description=_("members"), ordering="members_count")
    def members_cell(self, segment: Any) -> SafeString | str:
        """Return the number of members, as a link to them where allowed, and its latest course."""
        if segment.members_count is None:
            return "-"
        shown: Any = charts.number(segment.members_count)
        if segment.may_view_members:
            url = self.page_url("members", segment.pk)
            shown = format_html('<a href="{}">{}</a>', url, shown)
        line = charts.sparkline(segment.situation.counts[::-1])
        return format_html('<span class="segments-count">{}</span>{}', shown, line)

    @admin.display(description=_("age"), ordering="-refreshed_at")
    def age(self, segment: Any) -> SafeString | str:
        """Return the time since the last good refresh, such as 3 hours."""
        return age_of(segment)

    @admin.display(description=_("status"), ordering="status")
    def state_cell(self, segment: Any) -> SafeString:
        """Return the status in words; its colour says the same."""
        off = format_html(' <span class="segments-off">{}</span>', _("inactive"))
        return format_html(
            "{}{}",
            badge(segment, segment.situation, self.page_url("progress")),
            "" if segment.is_active else off,
        )

    @admin.display(description=_("reads"))
    def reads(self, segment: Any) -> int | str:
        """Return how many segments it reads."""
        return len(segment.situation.reads) or "-"

    @admin.display(description=_("read by"))
    def read_by(self, segment: Any) -> int | str:
        """Return how many segments read it."""
        return len(segment.situation.readers) or "-"


def view_name(segment: Segment) -> str:
    """Return the name of the view of members, as in a query."""
    return names.members_view(segment.slug).as_string().replace('"', "")


def age_of(segment: Any) -> SafeString | str:
    """Return the time since the last good refresh in its largest unit."""
    age = segment.situation.age
    if age is None:
        return "-"
    now = segment.refreshed_at + age
    words = timesince(segment.refreshed_at, now, depth=1) if age.total_seconds() >= 60 else None
    return format_html(
        '<time datetime="{0}" title="{0}">{1}</time>',
        segment.refreshed_at.isoformat(timespec="seconds"),
        words or _("seconds"),
    )


def badge(segment: Segment, situation: Situation, progress_url: str) -> SafeString:
    """Return the state in words and colour. The script asks its URL for news while it is busy."""
    return format_html(
        '<span class="segments-state segments-{0}" title="{1}" data-segment="{2}"'
        ' data-word="{0}" data-url="{3}">{4}</span>',
        situation.word.value,
        situation.reason,
        str(segment.pk),
        progress_url,
        situation.label,
    )
