"""The admin of segments, put together from its pages."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from segments.admin.actions import ListActions
from segments.admin.changes import ChangesPages
from segments.admin.columns import Columns
from segments.admin.compare import ComparePage
from segments.admin.export import ExportPage
from segments.admin.form_page import LIST_FIELDS, FormPage
from segments.admin.forms import DEFINING, SegmentForm
from segments.admin.history import RefreshInline
from segments.admin.listing import ListPage
from segments.admin.lists import ListsPage
from segments.admin.members import MembersPage
from segments.admin.overview import OverviewPage
from segments.admin.safe import SafePages
from segments.admin.user import UserPage
from segments.definition.kinds import DEFINING_FIELDS
from segments.models import Segment


@admin.register(Segment)
class SegmentAdmin(
    SafePages,
    ListPage,
    ListActions,
    OverviewPage,
    ComparePage,
    ExportPage,
    ListsPage,
    ChangesPages,
    UserPage,
    Columns,
    MembersPage,
    FormPage,
):
    """The list, the pages and the form of segments."""

    form = SegmentForm
    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012
    readonly_fields = (
        "view_name",
        "member_count",
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
            {
                "fields": (
                    "priority",
                    "refresh_every",
                    "timeout",
                    "max_loss",
                    "is_active",
                    "track_changes",
                )
            },
        ),
        (_("State"), {"fields": readonly_fields[:-1]}),
    )
    inlines = (RefreshInline,)

    class Media:
        css = {"all": ("segments/admin.css", "segments/form.css", "segments/pages.css")}  # noqa: RUF012
        js = ("segments/form.js", "segments/editor.js", "segments/pages.js")
