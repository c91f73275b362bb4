"""The page that adds or changes a segment: its fields, its preview, and what saving did."""

from typing import Any, cast

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from segments.admin.editing import changes
from segments.admin.editing.listed import is_listed, list_words
from segments.admin.editing.preview import PREVIEW, PreviewPage
from segments.admin.forms import DEFINING, SegmentForm
from segments.definition.kinds import DEFINING_FIELDS
from segments.models import Segment
from segments.saving import acting

OUTCOME = "segments_outcome"
"""The attribute of a request with what saving did, for the message about it."""

LIST_FIELDS = ("list_count", "static_ids")


class FormPage(PreviewPage):
    """The form of a segment, with the fields that its user may see and change."""

    @admin.display(description=_("In the list"))
    def list_count(self, segment: Segment) -> str:
        """Return how many ids the list of a segment has, and a link to the page of the list."""
        page = self.page_url("list", segment.pk)
        return format_html(
            '{} · <a href="{}">{}</a>', list_words(segment), page, _("Open the list")
        )

    def get_fieldsets(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out the fields that the user cannot use.

        Users who may not write definitions can add only lists. What is pasted into a list names
        members, and is for those who may change it.
        """
        may_save = self.may_save(request, obj)
        hidden = set() if obj else {*self.readonly_fields}  # A new segment has no state yet.
        hidden |= {"rewrite_readers"} if not obj or not may_save else set()
        if may_save and self.has_change_definition_permission(request):
            hidden |= {*DEFINING_FIELDS[1:]}
        else:
            hidden |= {*DEFINING} - {"definition"} if obj else {*DEFINING, *DEFINING_FIELDS}
        hidden |= {"static_ids"} if is_listed(obj) or not may_save else set()
        hidden |= set() if is_listed(obj) else {"list_count"}
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
        """Add the preview, and what the editor needs to know."""
        form = context["adminform"].form
        context |= self.preview_context(request, form, context.get("original"))
        self.equip_editor(form)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        """Save the segment in the name of the user, and remember what became of its members."""
        before = changes.latest_refresh(obj)
        with acting(request.user):
            super().save_model(request, obj, form, change)
        setattr(request, OUTCOME, changes.outcome(obj, before))

    def message_user(  # type: ignore[override]
        self, request: HttpRequest, message: Any, level: int | str = messages.INFO, **kwargs: Any
    ) -> None:
        """Show a message; one that a segment was saved also says what became of its members."""
        outcome = getattr(request, OUTCOME, "")
        if outcome and level == messages.SUCCESS:
            message = changes.joined(message, outcome)
            setattr(request, OUTCOME, "")
        super().message_user(request, message, level, **kwargs)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Write to the log what each changed field was before, and what it is now."""
        entries = super().construct_change_message(request, form, formsets, add)
        return entries if add else changes.with_values(entries, form)
