"""The admin of segments, put together from its pages."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from segments.admin.actions import Actions
from segments.admin.columns import Columns
from segments.admin.form_page import LIST_FIELDS, FormPage
from segments.admin.forms import DEFINING, SegmentForm
from segments.admin.history import RefreshInline
from segments.admin.members import MembersPage
from segments.admin.safe import SafePages
from segments.definition.kinds import DEFINING_FIELDS
from segments.models import Segment


@admin.register(Segment)
class SegmentAdmin(SafePages, Actions, Columns, MembersPage, FormPage):
    """The list and the form of segments."""

    form = SegmentForm
    list_display = ("name", "slug", "kind", "members_count", "refreshed_at", "state", "is_active")
    list_filter = ("status", "is_active")
    search_fields = ("name", "slug", "description")
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012
    readonly_fields = (
        "view_name",
        "members_count",
        "refreshed_at",
        "next_refresh",
        "state",
        "failures",
        "error_text",
        "list_count",
    )
    fieldsets = (
        (None, {"fields": ("name", "slug", "rewrite_readers", "description")}),
        (
            _("Who is in the segment"),
            {
                "fields": (
                    *DEFINING,
                    *DEFINING_FIELDS[1:],
                    *LIST_FIELDS,
                ),
                "classes": ("segments-definition",),
            },
        ),
        (
            _("Options"),
            {"fields": ("priority", "refresh_every", "timeout", "max_loss", "is_active")},
        ),
        (_("State"), {"fields": readonly_fields[:-1]}),
    )
    inlines = (RefreshInline,)

    class Media:
        css = {"all": ("segments/admin.css", "segments/form.css")}  # noqa: RUF012
        js = ("segments/form.js", "segments/editor.js")
