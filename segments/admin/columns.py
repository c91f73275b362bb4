"""What a segment's row in the list, and its page, say about its state."""

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from segments.admin.charts import number
from segments.admin.listing import view_name
from segments.definition.kinds import choice_of
from segments.models import Segment, Status
from segments.refreshing import schedule
from segments.rows import FAILURES


class Columns(admin.ModelAdmin):  # type: ignore[type-arg]
    """The state of a segment, in columns of the list and in fields that nobody edits."""

    @admin.display(description=_("kind"))
    def kind(self, segment: Any) -> Any:
        """Return how a row of the list is defined, in words."""
        return choice_of(segment, segment.listed).label

    @admin.display(description=_("members"))
    def member_count(self, segment: Segment) -> str:
        """Return how many members there were at the last refresh."""
        return number(segment.members_count)

    @admin.display(description=_("view"))
    def view_name(self, segment: Segment) -> str:
        """Return the name of the view, as in a query; a slug that was not saved has none."""
        return view_name(Segment.objects.only("slug").get(pk=segment.pk))

    @admin.display(description=_("next refresh"))
    def next_refresh(self, segment: Segment) -> Any:
        """Return when the segment is due."""
        due = None
        if segment.is_active:
            due = next((due for _, due in schedule.due_times([segment])), None)
        return due or "-"

    @admin.display(description=_("status"), ordering="status")
    def state(self, segment: Segment) -> str:
        """Return the status; a tooltip shows the start of an error. A failure stands out."""
        label = segment.get_status_display()
        if segment.status == Status.OUTDATED:
            reason: Any = _("The definition has changed since the members were computed.")
            return format_html('<span title="{}">{}</span>', reason, label)
        if segment.status not in FAILURES:
            return label
        line = segment.last_error.partition("\n")[0]
        return format_html('<span class="segments-failed" title="{}">{}</span>', line, label)

    @admin.display(description=_("last error"))
    def error_text(self, segment: Segment) -> str:
        """Return the last error with its line breaks, and with its caret in place."""
        if not segment.last_error:
            return "-"
        return format_html('<div class="segments-error">{}</div>', segment.last_error)
