"""Segments in the admin: the list, the form with its preview, the action that refreshes."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import NestedObjects
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments import conf
from segments.admin.forms import SegmentForm
from segments.admin.history import RefreshInline
from segments.admin.members import MembersPage
from segments.definition.kinds import DEFINING_FIELDS
from segments.exceptions import SegmentError
from segments.models import Membership, Segment, SegmentRefresh, StaticMember, Status
from segments.refreshing import history, many, order, schedule
from segments.validation.preview import EMPTY_WARNING

PREVIEW = "_preview"
"""The name of the button."""


class Collected(NestedObjects):
    """What is deleted with segments, besides what this package keeps of them."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the rows of other models that depend on these."""
        rows = super().related_objects(related_model, related_fields, objs)
        own = issubclass(related_model, Membership | StaticMember | SegmentRefresh)
        return rows.none() if own else rows


@admin.register(Segment)
class SegmentAdmin(MembersPage):
    """Segments, how they are doing, and a way to refresh them."""

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
            _("Who is in it"),
            {"fields": ("definition", "allow_cost", "static_ids", *DEFINING_FIELDS[1:])},
        ),
        (_("Use"), {"fields": ("priority", "refresh_every", "timeout", "is_active")}),
        (_("State"), {"fields": readonly_fields}),
    )
    inlines = (RefreshInline,)
    actions = ("refresh_selected",)

    class Media:
        css = {"all": ("segments/admin.css",)}  # noqa: RUF012

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may refresh segments."""
        return request.user.has_perm("segments.refresh_segment")

    def has_change_definition_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may write SQL and name manager methods."""
        return request.user.has_perm("segments.change_definition")

    def get_fieldsets(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out what this person has no use for.

        A new segment of theirs can be a list alone; and a list, which names members, is for those
        who may change it or see members.
        """
        may_save = self._may_save(request, obj)
        left_out = set() if obj else {*self.readonly_fields}  # It has no state yet.
        if not self.has_change_definition_permission(request):
            left_out |= {"allow_cost"} if obj else {"allow_cost", *DEFINING_FIELDS}
        if not may_save:
            left_out |= {"allow_cost"}
            if not self.has_view_members_permission(request):
                left_out |= {"static_ids"}
        fieldsets = [
            (title, {**options, "fields": [f for f in options["fields"] if f not in left_out]})
            for title, options in super().get_fieldsets(request, obj)
        ]
        return [each for each in fieldsets if each[1]["fields"]]

    def get_inlines(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out the history of a segment that has none yet."""
        return super().get_inlines(request, obj) if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Show the definition to those who may not write it."""
        fields = super().get_readonly_fields(request, obj)
        return (
            fields
            if self.has_change_definition_permission(request)
            else (*fields, *DEFINING_FIELDS)
        )

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[SegmentForm]:
        """Return a form that previews if that is asked for, and lets nobody do what they may not.

        Its class is made anew for each request.
        """
        form = cast(type[SegmentForm], super().get_form(request, *args, **kwargs))
        form.previewing = PREVIEW in request.POST
        form.may_define = self.has_change_definition_permission(request)
        return form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the preview on top; numbers and names are for those who may see members."""
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
                each for each in preview.warnings if may_view or each != EMPTY_WARNING
            ]
        return super().render_change_form(request, context, *args, **kwargs)

    def _may_save(self, request: HttpRequest, segment: Segment | None) -> bool:
        if segment is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, segment)

    @admin.display(description=_("kind"))
    def kind(self, segment: Segment) -> str:
        """Say how the segment is defined."""
        return segment.kind

    @admin.display(description=_("view"))
    def view_name(self, segment: Segment) -> str:
        """Name the view, as it is queried in psql."""
        return segment.view._meta.db_table.replace('"', "")

    @admin.display(description=_("next refresh"))
    def next_refresh(self, segment: Segment) -> Any:
        """Say when refresh_segments --due will take it."""
        due = None
        if segment.is_active:
            due = next((due for _, due in schedule.due_times([segment])), None)
        return due or "-"

    @admin.display(description=_("status"), ordering="status")
    def state(self, segment: Segment) -> str:
        """Show the status, and a failure so that it catches the eye."""
        label = segment.get_status_display()
        if segment.status != Status.FAILED:
            return label
        first = segment.last_error.partition("\n")[0]
        return format_html('<span class="segments-failed" title="{}">{}</span>', first, label)

    @admin.display(description=_("last error"))
    def error_text(self, segment: Segment) -> str:
        """Show the last error with its lines and its caret where they were."""
        if not segment.last_error:
            return "-"
        return format_html('<div class="segments-error">{}</div>', segment.last_error)

    @admin.action(description=_("Refresh selected segments"), permissions=("refresh",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh, or have a worker do so, and tell of each that failed."""
        if conf.refresh_async():
            self._enqueue(request, queryset)
            return
        done = 0
        for result in many.refresh_many(queryset):
            for note in result.notes:
                self.message_user(request, f"{result.slug}: {note}", messages.WARNING)
            if result.error:
                self.message_user(request, str(result.error), messages.ERROR)
            elif result.status == history.DETACHED:
                text = _("%s is detached from its tables by a schema change.") % result.slug
                self.message_user(request, text, messages.WARNING)
            elif result.status == history.LOCKED:
                text = _("%s is being refreshed or changed by somebody else.") % result.slug
                self.message_user(request, text, messages.WARNING)
            else:
                done += 1
        if done:
            text = ngettext("%d segment refreshed.", "%d segments refreshed.", done) % done
            self.message_user(request, text, messages.SUCCESS)

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
        """Show what only saving could find out, such as a refresh that holds the segment."""
        return self._told(request, super().changeform_view, args, kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read the one that is to be deleted."""
        return self._told(request, super().delete_view, args, kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show which segments and views read those that are to be deleted."""
        return self._told(request, super().changelist_view, args, kwargs)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Tell what is deleted along, but for memberships and history: those may be millions."""
        collector = Collected(using=router.db_for_write(Segment), origin=objs)
        collector.collect(objs)
        found: dict[Any, Any] = dict(collector.model_objs)
        needed = {
            model._meta.verbose_name
            for model in found
            if self.admin_site.is_registered(model)
            and not self.admin_site.get_model_admin(model).has_delete_permission(request)
        }
        counts = {model._meta.verbose_name_plural: len(each) for model, each in found.items()}
        protected = [str(each) for each in collector.protected]
        return collector.nested(str), counts, needed, protected

    def _told(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse:
        """Call a view; come back to its page with a message where a segment refuses."""
        try:
            response: HttpResponse = view(request, *args, **kwargs)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return response
