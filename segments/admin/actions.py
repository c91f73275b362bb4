"""What can be done with the segments that are selected in the list."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments.admin.compare import MOST
from segments.admin.export import download
from segments.admin.progress import ProgressPage
from segments.definition.kinds import StaticList, kind_of
from segments.exceptions import SegmentError
from segments.models import Segment
from segments.rows import slugs_by_view
from segments.sql import names


class ListActions(ProgressPage):
    """The actions of the list."""

    actions: Any = (
        "refresh_selected",
        "force_selected",
        "accept_loss_selected",
        "compare_selected",
        "export_selected",
        "duplicate_selected",
        "freeze_selected",
        "activate_selected",
        "deactivate_selected",
    )

    @admin.action(description=_("Refresh selected segments"), permissions=("refresh",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments, or let a worker do so, and show what failed."""
        self.refresh_rows(request, queryset)

    @admin.action(description=_("Refresh even if nothing has changed"), permissions=("refresh",))
    def force_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Recompute the segments, whether or not anything was written since the last time."""
        self.refresh_rows(request, queryset, force=True)

    @admin.action(description=_("Refresh, and accept any loss"), permissions=("refresh",))
    def accept_loss_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments once, whatever their `max_loss` is."""
        self.refresh_rows(request, queryset, accept_loss=True)

    @admin.action(description=_("Compare"), permissions=("view",))
    def compare_selected(
        self, request: HttpRequest, queryset: "QuerySet[Segment]"
    ) -> HttpResponse | None:
        """Show how many users the segments share."""
        keys = list(queryset.values_list("pk", flat=True)[: MOST + 1])
        if not 2 <= len(keys) <= MOST:
            text = _("Choose from 2 to %d segments to compare.") % MOST
            self.message_user(request, text, messages.ERROR)
            return None
        query = urlencode([("segment", key) for key in keys])
        return HttpResponseRedirect(f"{self.page_url('compare')}?{query}")

    @admin.action(description=_("Export members as CSV"), permissions=("view_members",))
    def export_selected(
        self, request: HttpRequest, queryset: "QuerySet[Segment]"
    ) -> FileResponse | None:
        """Return the members as a file: CSV of one segment, a ZIP archive of several."""
        try:
            return download(request, list(queryset), self.user_columns(request))
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
        return None

    @admin.action(description=_("Duplicate"), permissions=("add",))
    def duplicate_selected(
        self, request: HttpRequest, queryset: "QuerySet[Segment]"
    ) -> HttpResponse | None:
        """Create segments with the same definitions; those with SQL need the permission for it."""
        may_define = self.has_change_definition_permission(request)
        copies = []
        for segment in queryset:
            if may_define or kind_of(segment) is StaticList:
                copies.append(self._copied(request, segment.clone, segment, "copy"))
            else:
                text = _("%s was not duplicated: you may not write definitions.") % segment
                self.message_user(request, text, messages.ERROR)
        return self._shown(request, copies)

    @admin.action(
        description=_("Freeze: keep the present members as a list"),
        permissions=("freeze",),
    )
    def freeze_selected(
        self, request: HttpRequest, queryset: "QuerySet[Segment]"
    ) -> HttpResponse | None:
        """Create lists of the members that the segments have."""
        day = f"{timezone.localtime():%Y-%m-%d}"
        copies = [self._copied(request, each.freeze, each, day) for each in queryset]
        return self._shown(request, copies)

    def has_freeze_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may add segments, and see whom a list of members names."""
        may_add: bool = self.has_add_permission(request)
        return may_add and self.has_view_members_permission(request)

    @admin.action(description=_("Activate"), permissions=("change",))
    def activate_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Let scheduled refreshes include the segments."""
        count = self._switch(request, queryset, True)
        text = ngettext("%d segment activated.", "%d segments activated.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    @admin.action(description=_("Deactivate"), permissions=("change",))
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

    def _copied(
        self, request: HttpRequest, method: Any, segment: Segment, suffix: str
    ) -> Segment | None:
        """Call a method that creates a segment, and log it; show why it failed."""
        try:
            copy: Segment = method(free_slug(segment.slug, suffix))
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        self.log_addition(request, copy, f"From {segment.slug} ({segment.pk})")
        return copy

    def _shown(self, request: HttpRequest, copies: list[Segment | None]) -> HttpResponse | None:
        """Say what was created. A single segment is shown on its form, to give it its name."""
        created = [copy for copy in copies if copy]
        for copy in created:
            text = _("%(name)s was added, as %(slug)s.")
            shown = text % {"name": copy.name, "slug": copy.slug}
            self.message_user(request, shown, messages.SUCCESS)
        if len(copies) != 1 or not created:
            return None
        return HttpResponseRedirect(self.page_url("change", created[0].pk))


def free_slug(slug: str, suffix: str) -> str:
    """Return a slug that no segment has: the slug with a suffix, and a number if that is taken."""
    taken, number = slugs_by_view(), 1
    while True:
        end = f"-{suffix}" if number == 1 else f"-{suffix}-{number}"
        candidate = slug[: names.MAX_BYTES - len(end)] + end
        if names.view_name(candidate) not in taken:
            return candidate
        number += 1
