"""The preview of a form: a part of its page, and an answer to its script."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from segments import conf
from segments.admin.charts import number
from segments.admin.editing.fields import BOXES
from segments.admin.forms import SegmentForm
from segments.admin.rights import Rights
from segments.membership.members import shown_users
from segments.models import Segment
from segments.roles.readable import readable_columns
from segments.validation.preview import Preview

PREVIEW = "_preview"
"""The name of the preview button."""

TEMPLATE = "admin/segments/segment/preview.html"


class PreviewPage(Rights):
    """What a form says before it is saved."""

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses that the form's script asks."""
        wrap, name = self.admin_site.admin_view, "segments_segment"
        return [
            path("completion/", wrap(self.completion_view), name=f"{name}_completion"),
            path("add/preview/", wrap(self.preview_view), name=f"{name}_add_preview"),
            path("<path:object_id>/preview/", wrap(self.preview_view), name=f"{name}_preview"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """Answer a POST of the form with its preview as HTML, and its errors by field."""
        segment = None
        if object_id is not None:
            segment = self.get_object(request, unquote(object_id))
            if segment is None:
                raise Http404
        if request.method != "POST" or not self.may_save(request, segment):
            raise PermissionDenied
        created: Any = self.get_form(request, segment, change=segment is not None)
        form_class: type[SegmentForm] = created
        form_class.previewing = True
        form = form_class(request.POST, instance=segment)
        form.is_valid()
        context = self.preview_context(request, form, segment)
        return JsonResponse(
            {
                "html": render_to_string(TEMPLATE, context, request),
                "errors": form.errors.get_json_data(),
                "places": form.places,
                "show": [name for name in form.fields if _is_shown_late(form, name)],
            }
        )

    def preview_context(
        self, request: HttpRequest, form: SegmentForm, segment: Segment | None
    ) -> dict[str, Any]:
        """Return what the template of a preview shows, and the addresses for the script."""
        preview = form.preview
        may_view = self.has_view_members_permission(request)
        if segment is not None:
            url = self.page_url("preview", segment.pk)
        else:
            url = self.page_url("add_preview")
        context: dict[str, Any] = {
            "preview": preview,
            "comparison": _comparison(preview) if preview else "",
            "preview_errors": _errors_of(form) if form.is_bound and form.previewing else [],
            "preview_url": url,
            "may_preview": self.may_save(request, segment),
            "may_view_members": may_view,
            "max_cost": conf.max_cost(),
            "max_size": settings.DATA_UPLOAD_MAX_MEMORY_SIZE,
        }
        if preview is not None and may_view:
            email = self._email_field(request)
            context["samples"] = [
                (kind, [(user, _address(user, email)) for user in users])
                for kind, users in _samples(preview)
            ]
        return context

    def equip_editor(self, form: SegmentForm) -> None:
        """Tell the editor of definitions what to complete, and where the errors are."""
        field = form.fields.get("definition")
        if field is not None:
            field.widget.attrs |= {
                "data-editor": "sql",
                "data-help": str(field.help_text),
                "data-completion": self.page_url("completion"),
                "data-errors": json.dumps(form.places),
            }

    def _email_field(self, request: HttpRequest) -> str | None:
        """Return the user model's field of e-mail addresses, for those who may see users."""
        allowed = self.has_view_users_permission(request)
        return getattr(get_user_model(), "EMAIL_FIELD", None) if allowed else None

    def completion_view(self, request: HttpRequest) -> HttpResponse:
        """Return the tables and columns that definitions may read, for authors of definitions."""
        if not self.has_change_definition_permission(request):
            raise PermissionDenied
        schema, search_path = readable_columns()
        return JsonResponse({"schema": schema, "search_path": search_path})


def _comparison(preview: Preview) -> str:
    """Return the difference to the present members in words; empty if it is not known."""
    if preview.present is None or preview.leaving is None or preview.entering is None:
        return ""
    return _("%(now)s now; %(then)s then; %(leave)s leave, %(enter)s enter") % {
        "now": number(preview.present),
        "then": number(preview.members_count),
        "leave": number(preview.leaving.count),
        "enter": number(preview.entering.count),
    }


def _address(user: Any, field: str | None) -> str:
    """Return the e-mail address of a user, unless it is what the user is called anyway."""
    address = str(getattr(user, field, None) or "") if field else ""
    return "" if address == str(user) else address


def _samples(preview: Preview) -> Iterator[tuple[Any, Iterable[Any]]]:
    """Yield what to call each sample of users, and the users; those who change come first."""
    if preview.leaving and preview.leaving.count:
        yield _("Leave"), _users(preview.leaving.sample)
    if preview.entering and preview.entering.count:
        yield _("Enter"), _users(preview.entering.sample)
    if preview.sample:
        yield _("First members"), preview.sample


def _users(keys: Iterable[Any]) -> Iterable[Any]:
    return shown_users().filter(pk__in=keys).order_by("pk")


def _errors_of(form: SegmentForm) -> list[tuple[Any, list[str]]]:
    """Return the errors of a form by their fields; of those that stand at a field, the first line.

    The field is None for errors that have none.
    """
    found: list[tuple[Any, list[str]]] = []
    for name, errors in form.errors.items():
        field = form[name] if name in form.fields else None
        texts = [str(error) for error in errors]
        found.append((field, [text.partition("\n")[0] for text in texts] if field else texts))
    return found


def _is_shown_late(form: SegmentForm, name: str) -> bool:
    """Return whether a box was hidden until an error of this form."""
    return name in BOXES and not form.fields[name].widget.is_hidden
