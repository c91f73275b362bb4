"""The admin of segments: list, form, refresh."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import NestedObjects
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from segments import conf, order, outcome, runs, schedule
from segments.exceptions import SegmentError
from segments.models import Membership, Segment, SegmentRefresh, StaticMember, Status


class LinesField(forms.CharField):
    """Text as lines; browsers send them with carriage returns, which are no change."""

    def to_python(self, value: Any) -> str:
        """Return the lines with plain line ends."""
        return (super().to_python(value) or "").replace("\r\n", "\n").rstrip()


class SegmentForm(forms.ModelForm):  # type: ignore[type-arg]
    """A segment, with its static ids one a line."""

    static_ids = LinesField(
        label=_("Static ids"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"}),
        help_text=_("One id a line; these users are in the segment whatever its definition says."),
    )

    class Meta:
        model = Segment
        fields = (
            "name",
            "slug",
            "description",
            "definition",
            "model",
            "manager_name",
            "manager_method",
            "priority",
            "refresh_every",
            "timeout",
            "is_active",
        )
        widgets = {  # noqa: RUF012
            "definition": forms.Textarea(
                attrs={"rows": 10, "class": "vLargeTextField segments-sql"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["static_ids"] = self.instance.static_ids

    def _post_clean(self) -> None:
        # Model.clean() tries the ids together with the definition, so they go onto the instance
        # before it runs, and only if somebody has changed them.
        if "static_ids" in self.changed_data:
            self.instance.static_ids = self.cleaned_data.get("static_ids", "")
        super()._post_clean()  # type: ignore[misc]

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error of `Segment.clean()` beside the field that its code names."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            for each in error.error_dict.pop(NON_FIELD_ERRORS, []):
                target = each.code if each.code in self.fields else None
                super().add_error(target, ValidationError(each.messages))
            if not error.error_dict:
                return
        super().add_error(field, error)


class Collected(NestedObjects):
    """What is deleted with segments, besides what this package keeps of them."""

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> Any:
        """Return the rows of other models that depend on these."""
        rows = super().related_objects(related_model, related_fields, objs)
        own = issubclass(related_model, Membership | StaticMember | SegmentRefresh)
        return rows.none() if own else rows


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
        """Return the rows of the one segment that the page is about, ten at the most."""
        rows: QuerySet[SegmentRefresh] = super().get_queryset(request)
        match = request.resolver_match
        segment: Any = match.kwargs.get("object_id") if match else None
        latest = rows.filter(segment_id=segment).order_by("-started_at")[:10]
        return rows.filter(pk__in=latest.values("pk")).order_by("-started_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History is written by refreshes alone."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History is not edited."""
        return False


@admin.register(Segment)
class SegmentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
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
            {"fields": ("definition", "static_ids", "model", "manager_name", "manager_method")},
        ),
        (_("Use"), {"fields": ("priority", "refresh_every", "timeout", "is_active")}),
        (_("State"), {"fields": readonly_fields}),
    )
    inlines = (RefreshInline,)
    actions = ("refresh_selected",)

    class Media:
        css = {"all": ("segments/admin.css",)}  # noqa: RUF012

    @admin.display(description=_("kind"))
    def kind(self, segment: Segment) -> str:
        """Say how the segment is defined."""
        return segment.kind if segment.pk else "-"

    @admin.display(description=_("view"))
    def view_name(self, segment: Segment) -> str:
        """Name the view, as it is queried in psql."""
        return segment.view._meta.db_table.replace('"', "") if segment.pk else "-"

    @admin.display(description=_("next refresh"))
    def next_refresh(self, segment: Segment) -> Any:
        """Say when refresh_segments --due will take it."""
        if not segment.pk or not segment.is_active:
            return None
        return next((due for _, due in schedule.due_times([segment])), None)

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

    @admin.action(description=_("Refresh selected segments"), permissions=("change",))
    def refresh_selected(self, request: HttpRequest, queryset: "QuerySet[Segment]") -> None:
        """Refresh, or have a worker do so, and tell of each that failed."""
        if conf.refresh_async():
            self._enqueue(request, queryset)
            return
        done = 0
        for result in runs.refresh_many(queryset):
            for note in result.notes:
                self.message_user(request, f"{result.slug}: {note}", messages.WARNING)
            if result.error:
                self.message_user(request, str(result.error), messages.ERROR)
            elif result.status == outcome.DETACHED:
                text = _("%s is detached from its tables by a schema change.") % result.slug
                self.message_user(request, text, messages.WARNING)
            elif result.status == outcome.LOCKED:
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
