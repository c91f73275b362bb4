"""The page that adds or changes a segment: its fields, and its preview."""

from typing import Any, cast

from django.http import HttpRequest, HttpResponse

from segments import conf
from segments.admin.forms import SegmentForm
from segments.admin.rights import Rights
from segments.definition.kinds import DEFINING_FIELDS
from segments.models import Segment
from segments.saving import acting
from segments.validation.preview import EMPTY_WARNING

PREVIEW = "_preview"
"""The name of the preview button."""


class FormPage(Rights):
    """The form of a segment, with the fields that its user may see and change."""

    def get_fieldsets(self, request: HttpRequest, obj: Segment | None = None) -> Any:
        """Leave out the fields that the user cannot use.

        Users who may not write definitions can add only lists. The static ids, which name members,
        are for users who may change them or see members.
        """
        may_save = self.may_save(request, obj)
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

    def save_model(self, request: HttpRequest, obj: Segment, *args: Any) -> None:
        """Save a segment; its version before has the name of the user."""
        with acting(request.user):
            super().save_model(request, obj, *args)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Put the preview on top; only users who may see members get its numbers and names."""
        preview = context["adminform"].form.preview
        may_view = self.has_view_members_permission(request)
        context |= {
            "preview": preview,
            "may_preview": self.may_save(request, context.get("original")),
            "may_view_members": may_view,
            "max_cost": conf.max_cost(),
        }
        if preview:
            context["warnings"] = [
                warning for warning in preview.warnings if may_view or warning != EMPTY_WARNING
            ]
        return super().render_change_form(request, context, *args, **kwargs)
