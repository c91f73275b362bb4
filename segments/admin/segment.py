"""Segments in the admin: the list, the form with its preview, and the refresh action."""

from contextlib import ExitStack
from functools import wraps
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import NestedObjects
from django.db import connections, router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments import conf
from segments.admin.forms import SegmentForm
from segments.admin.history import RefreshInline
from segments.admin.members import MembersPage
from segments.definition.kinds import DEFINING_FIELDS
from segments.exceptions import SegmentError
from segments.models import (
    ChangeConsumer,
    Membership,
    Segment,
    SegmentChange,
    SegmentRefresh,
    StaticMember,
    Status,
)
from segments.refreshing import history, many, order, schedule
from segments.rows import write_alias
from segments.sql import session
from segments.validation.preview import EMPTY_WARNING

PREVIEW = "_preview"
"""The name of the preview button."""


OWN = (Membership, StaticMember, SegmentRefresh, SegmentChange, ChangeConsumer)
"""The models whose rows belong to a segment."""


class SegmentCollector(NestedObjects):
    """The objects deleted together with segments, without the rows of this package."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the rows that refer to these objects; none for models of this package."""
        rows = super().related_objects(related_model, related_fields, objs)
        return rows.none() if issubclass(related_model, OWN) else rows


def _read_committed(view: Any) -> Any:
    """Return a page whose transactions are READ COMMITTED, whatever `DATABASES` says."""

    @wraps(view)
    def page(*args: Any, **kwargs: Any) -> Any:
        # On an alias of their own, definitions have transactions of their own, except in a
        # transaction of the request.
        evaluating = connections[conf.exec_connection()]
        aliases = {write_alias()} | ({evaluating.alias} if evaluating.in_atomic_block else set())
        with ExitStack() as stack:
            for alias in aliases:
                stack.enter_context(session.read_committed(alias))
            return view(*args, **kwargs)

    return page


@admin.register(Segment)
class SegmentAdmin(MembersPage):
    """The list and the form of segments."""

    form = SegmentForm
    list_display = ("name", "slug", "kind", "members_count", "refreshed_at", "state", "is_active")
    list_filter = ("status", "is_active")
    search_fields = ("name", "slug", "description")
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012
    readonly_fields = (
        "kind",
        "view_name",
        "members_count",
        "refreshed_at",
        "next_refresh",
        "state",
        "failures",
        "error_text",
    )
    fieldsets = (
        (None, {"fields": ("name", "slug", "description")}),
        (
            _("Who is in the segment"),
            {"fields": ("definition", "allow_cost", "static_ids", *DEFINING_FIELDS[1:])},
        ),
        (_("Options"), {"fields": ("priority", "refresh_every", "timeout", "is_active", "track_changes")}),
        (_("State"), {"fields": readonly_fields}),
    )
    inlines = (RefreshInline,)
    actions = ("refresh_selected",)

    class Media:
        css = {"all": ("segments/admin.css",)}  # noqa: RUF012

    def get_urls(self) -> list[URLPattern]:
        """Run each page in transactions that segments can be saved and refreshed in."""
        patterns = super().get_urls()
        for pattern in patterns:
            pattern.callback = _read_committed(pattern.callback)
        return patterns

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may refresh segments."""
        return request.user.has_perm("segments.refresh_segment")

    def has_change_definition_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may write SQL and choose manager methods."""
        return request.user.has_perm("segments.change_definition")

    def get_fieldsets(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out the fields that the user cannot use.

        Users who may not write definitions can add only lists. The static ids, which name members,
        are for users who may change them or see members.
        """
        may_save = self._may_save(request, obj)
        hidden = set() if obj else {*self.readonly_fields}  # A new segment has no state yet.
        if not self.has_change_definition_permission(request):
            hidden |= {"allow_cost"} if obj else {"allow_cost", *DEFINING_FIELDS}
        if not may_save:
            hidden |= {"allow_cost"}
            if not self.has_view_members_permission(request):
                hidden |= {"static_ids"}
        fieldsets = [
            (title, {**options, "fields": [f for f in options["fields"] if f not in hidden]})
            for title, options in super().get_fieldsets(request, obj)
        ]
        return [(title, options) for title, options in fieldsets if options["fields"]]

    def get_inlines(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out the history of a new segment, which has none yet."""
        return super().get_inlines(request, obj) if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Make the definition read-only for users who may not write it."""
        fields = super().get_readonly_fields(request, obj)
        return (
            fields
            if self.has_change_definition_permission(request)
            else (*fields, *DEFINING_FIELDS)
        )

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[SegmentForm]:
        """Return a form that knows whether to preview, and whether the user may write definitions.

        Django creates its class for each request.
        """
        form = cast(type[SegmentForm], super().get_form(request, *args, **kwargs))
        form.previewing = PREVIEW in request.POST
        form.may_define = self.has_change_definition_permission(request)
        return form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the preview on top; only users who may see members get its numbers and names."""
        preview = context["adminform"].form.preview
        may_view = self.has_view_members_permission(request)
        context |= {
            "preview": preview,
            "may_preview": self._may_save(request, context.get("original")),
            "may_view_members": may_view,
            "max_cost": conf.max_cost(),
        }
        if preview:
            context["warnings"] = [
                warning for warning in preview.warnings if may_view or warning != EMPTY_WARNING
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    def _may_save(self, request: HttpRequest, segment: Segment | None) -> bool:
        if segment is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, segment)

    @admin.display(description=_("kind"))
    def kind(self, segment: Segment) -> str:
        """Return the kind of the definition."""
        return segment.kind

    @admin.display(description=_("view"))
    def view_name(self, segment: Segment) -> str:
        """Return the name of the view, as in a query."""
        return segment.view._meta.db_table.replace('"', "")

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
        if segment.status != Status.FAILED:
            return label
        line = segment.last_error.partition("\n")[0]
        return format_html('<span class="segments-failed" title="{}">{}</span>', line, label)

    @admin.display(description=_("last error"))
    def error_text(self, segment: Segment) -> str:
        """Return the last error with its line breaks, and with its caret in place."""
        if not segment.last_error:
            return "-"
        return format_html('<div class="segments-error">{}</div>', segment.last_error)

    @admin.action(description=_("Refresh selected segments"), permissions=("refresh",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh the segments, or let a worker do so, and show what failed."""
        if conf.refresh_async():
            self._enqueue(request, queryset)
            return
        refreshed = 0
        for result in many.refresh_many(queryset):
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

    def _enqueue(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        from segments import tasks

        segments = order.ordered(queryset)
        for segment in segments:
            tasks.enqueue_refresh(segment)
        text = ngettext(
            "A worker will refresh %d segment.",
            "A worker will refresh %d segments.",
            len(segments),
        )
        self.message_user(request, text % len(segments), messages.SUCCESS)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show errors that only saving can raise, such as a running refresh of the segment."""
        return self._call_view(request, super().changeform_view, args, kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read this one, if that prevents its deletion."""
        return self._call_view(request, super().delete_view, args, kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read the selected ones, if that prevents deletion."""
        return self._call_view(request, super().changelist_view, args, kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List what else is deleted, without memberships and history: those may be millions."""
        collector = SegmentCollector(using=router.db_for_write(Segment), origin=objs)
        collector.collect(objs)
        objects: dict[Any, Any] = dict(collector.model_objs)
        needed = {
            model._meta.verbose_name
            for model in objects
            if self.admin_site.is_registered(model)
            and not self.admin_site.get_model_admin(model).has_delete_permission(request)
        }
        counts = {model._meta.verbose_name_plural: len(rows) for model, rows in objects.items()}
        protected = [*map(str, collector.protected)]
        return collector.nested(str), counts, needed, protected

    def _call_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse:
        """Call a view; if it raises a SegmentError, return to the page and show it."""
        try:
            response: HttpResponse = view(request, *args, **kwargs)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response
