"""What can be done with the selected segments of the list."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments import conf
from segments.models import Segment
from segments.refreshing import history, many, order


class Actions(admin.ModelAdmin):  # type: ignore[type-arg]
    """The actions of the list."""

    actions = ("refresh_selected", "accept_loss_selected")

    @admin.action(description=_("Refresh selected segments"), permissions=("refresh",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments, or let a worker do so, and show what failed."""
        self._refresh(request, queryset)

    @admin.action(description=_("Refresh, and accept any loss"), permissions=("refresh",))
    def accept_loss_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments once, whatever their `max_loss` is."""
        self._refresh(request, queryset, accept_loss=True)

    def _refresh(
        self, request: HttpRequest, queryset: "QuerySet[Segment]", accept_loss: bool = False
    ) -> None:
        if conf.refresh_async():
            self._enqueue(request, queryset, accept_loss)
            return
        refreshed = 0
        for result in many.refresh_many(queryset, accept_loss=accept_loss):
            for note in result.notes:
                self.message_user(request, f"{result.slug}: {note}", messages.WARNING)
            if result.error:
                self.message_user(request, str(result.error), messages.ERROR)
            elif result.detached_manually:
                text = _("%s was not refreshed: it is detached from its tables.") % result.slug
                self.message_user(request, f"{text} {history.ATTACH}", messages.ERROR)
            elif result.status == history.DETACHED:
                text = _("%s was not refreshed: a database change is in progress.") % result.slug
                self.message_user(request, text, messages.WARNING)
            elif result.status == history.LOCKED:
                text = (
                    _("%s was not refreshed: somebody else is refreshing or changing it.")
                    % result.slug
                )
                self.message_user(request, text, messages.WARNING)
            else:
                refreshed += 1
        if refreshed:
            text = ngettext("%d segment refreshed.", "%d segments refreshed.", refreshed)
            self.message_user(request, text % refreshed, messages.SUCCESS)

    def _enqueue(
        self, request: HttpRequest, queryset: "QuerySet[Segment]", accept_loss: bool
    ) -> None:
        from segments import tasks

        segments = order.ordered(queryset)
        for segment in segments:
            tasks.enqueue_refresh(segment, accept_loss)
        text = ngettext(
            "A worker will refresh %d segment.",
            "A worker will refresh %d segments.",
            len(segments),
        )
        self.message_user(request, text % len(segments), messages.SUCCESS)
