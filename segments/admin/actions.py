"""What can be done with the segments that are selected in the list."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments.admin.progress import ProgressPage
from segments.models import Segment


class ListActions(ProgressPage):
    """The actions of the list."""

    actions: Any = (
        "refresh_selected",
        "force_selected",
        "accept_loss_selected",
        "activate_selected",
        "deactivate_selected",
    )

    @admin.action(description=_("Refresh selected segments"), permissions=("refresh",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments, or let a worker do so, and show what failed."""
        self.refresh_rows(request, queryset)

    @admin.action(
        description=_("Refresh selected segments even if nothing has changed"),
        permissions=("refresh",),
    )
    def force_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Recompute the segments, whether or not anything was written since the last time."""
        self.refresh_rows(request, queryset, force=True)

    @admin.action(description=_("Refresh, and accept any loss"), permissions=("refresh",))
    def accept_loss_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments once, whatever their `max_loss` is."""
        self.refresh_rows(request, queryset, accept_loss=True)

    @admin.action(description=_("Activate selected segments"), permissions=("change",))
    def activate_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Let scheduled refreshes include the segments."""
        count = self._switch(request, queryset, True)
        text = ngettext("%d segment activated.", "%d segments activated.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    @admin.action(description=_("Deactivate selected segments"), permissions=("change",))
    def deactivate_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Leave the segments out of scheduled refreshes. They keep their members."""
        count = self._switch(request, queryset, False)
        text = ngettext("%d segment deactivated.", "%d segments deactivated.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    def _switch(self, request: HttpRequest, queryset: "QuerySet[Segment]", active: bool) -> int:
        """Set `is_active` where it is not so, and log it. Returns how many have changed."""
        changed = list(queryset.filter(is_active=not active))
        rows = Segment.objects.filter(pk__in=[segment.pk for segment in changed])
        rows.update(is_active=active)
        if changed:
            words = f"Active: {not active} -> {active}"
            author: Any = request.user.pk
            LogEntry.objects.log_actions(author, changed, CHANGE, change_message=words)
        return len(changed)
