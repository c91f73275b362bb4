"""The preview of a form: a part of its page, and an answer to its script."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.html import conditional_escape
from django.utils.translation import gettext as _

from segments import conf
from segments.admin.charts import number
from segments.admin.editing.fields import BOXES
from segments.admin.editing.listed import list_words
from segments.admin.export import download_moving
from segments.admin.forms import SegmentForm
from segments.admin.pages import SegmentPages
from segments.membership.members import shown_users
from segments.models import Segment
from segments.roles.readable import readable_columns
from segments.validation.preview import Preview, PreviewWarning

PREVIEW = "_preview"
"""The name of the preview button."""

MOVING = {"entering": True, "leaving": False}
"""The values of that button that download users: whether it is those who would enter."""

TEMPLATE = "admin/segments/segment/preview.html"


class PreviewPage(SegmentPages):
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
        form_class.previewing, form_class.instead = True, None
        form = form_class(request.POST, request.FILES, instance=segment)
        form.is_valid()
        context = self.preview_context(request, form, segment)
        return JsonResponse(
            {
                "html": render_to_string(TEMPLATE, context, request),
                "errors": _json_errors(form),
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
            "warnings": [*_warnings(form, preview)] if preview else [],
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
                {
                    "heading": heading if len(users) >= count else _first(heading, users, count),
                    "users": [(user, _address(user, email)) for user in users],
                    "download": download,
                }
                for heading, users, count, download in _samples(preview)
            ]
        return context

    def download_of(self, request: HttpRequest) -> Any:
        """Return a function that downloads who would enter or leave; None if nobody asks for it.

        Raises:
            PermissionDenied: for users without the permission to see members.
        """
        which = request.POST.get(PREVIEW)
        if which not in MOVING:
            return None
        if not self.has_view_members_permission(request):
            raise PermissionDenied
        columns, entering = self.user_columns(request), MOVING[which]
        return partial(download_moving, request, fields=columns, entering=entering)

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


def _warnings(form: SegmentForm, preview: Preview) -> Iterator[str]:
    """Yield what saving would delete, and what is probably a mistake."""
    if form.listed and form.choice and not form.choice.listed:
        yield _("Saving deletes its list of %s.") % list_words(form.instance)
    yield from map(_translated, preview.warnings)


def _translated(warning: PreviewWarning) -> str:
    """Return a warning in the language of the page, with numbers as this language has them."""
    values = {
        key: value if isinstance(value, str) else number(value)
        for key, value in warning.values.items()
    }
    return _(warning.text) % values


def _address(user: Any, field: str | None) -> str:
    """Return the e-mail address of a user, unless it is what the user is called anyway."""
    address = str(getattr(user, field, None) or "") if field else ""
    return "" if address == str(user) else address


def _samples(preview: Preview) -> Iterator[tuple[str, list[Any], int, str]]:
    """Yield the samples of users; those who change come first.

    Yields:
        What to call them, the users, how many there are in all, and the button's value for a
        download of all.
    """
    if preview.leaving and preview.leaving.count:
        yield _("Leave"), _users(preview.leaving.sample), preview.leaving.count, "leaving"
    if preview.entering and preview.entering.count:
        yield _("Enter"), _users(preview.entering.sample), preview.entering.count, "entering"
    if preview.sample:
        yield _("Members"), [*preview.sample], preview.members_count, ""


def _users(keys: Iterable[Any]) -> list[Any]:
    return [*shown_users().filter(pk__in=keys).order_by("pk")]


def _first(heading: str, users: list[Any], count: int) -> str:
    """Return a heading that says how many of how many users are below it."""
    return _("%(what)s: first %(shown)s of %(all)s") % {
        "what": heading,
        "shown": number(len(users)),
        "all": number(count),
    }


def _errors_of(form: SegmentForm) -> list[tuple[Any, list[str]]]:
    """Return the errors of a form by their fields; the field is None for errors that have none.

    They do not quote the definition, where the editor marks them.
    """
    found: list[tuple[Any, list[str]]] = []
    for name, errors in form.errors.items():
        field = form[name] if name in form.fields else None
        found.append((field, [_unquoted(error, form) for error in errors]))
    return found


def _unquoted(error: Any, form: SegmentForm) -> str:
    """Return an error without the lines that quote the definition."""
    for place in form.places:
        if place["excerpt"] and place["excerpt"] in error:
            return str(error.replace(f"\n{place['excerpt']}", ""))
    return str(error)


def _json_errors(form: SegmentForm) -> dict[str, list[dict[str, str]]]:
    """Return the errors of a form by field, as text and as HTML."""
    return {
        name: [{"message": text, "html": conditional_escape(text)} for text in map(str, errors)]
        for name, errors in form.errors.items()
    }


def _is_shown_late(form: SegmentForm, name: str) -> bool:
    """Return whether a box was hidden until an error of this form."""
    return name in BOXES and not form.fields[name].widget.is_hidden
