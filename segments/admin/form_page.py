"""The page that adds or changes a segment: its fields, its preview, and what saving did."""

from typing import Any, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from segments.admin.editing import changes
from segments.admin.editing.fields import OF_LIST
from segments.admin.editing.listed import is_listed, list_words
from segments.admin.editing.preview import PREVIEW, PreviewPage
from segments.admin.forms import DEFINING, SegmentForm
from segments.admin.progress import remember
from segments.definition.kinds import DEFINING_FIELDS
from segments.exceptions import SegmentError
from segments.models import Segment
from segments.saving import acting

SAVE = "segments_save"
"""The attribute of a request with what it saves, for the messages about it."""

REFUSED = "segments_refused"
"""The attribute of a request with the error that saving has raised, for the form."""

BEGUN = "segments_begun"
"""The attribute of a request that begins a list, on whose page users are then put on it."""

LIST_FIELDS = ("list_count", *OF_LIST)


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
        may_save, listed = self.may_save(request, obj), is_listed(obj)
        hidden = set() if obj else {*self.readonly_fields}  # A new segment has no state yet.
        hidden |= {"rewrite_readers"} if not obj or not may_save else set()
        if may_save and self.has_change_definition_permission(request):
            hidden |= {*DEFINING_FIELDS[1:]}
        else:
            hidden |= {*DEFINING} - {"definition"} if obj else {*DEFINING, *DEFINING_FIELDS}
        hidden |= {*OF_LIST} if listed or not may_save else set()
        hidden |= set() if listed else {"list_count", "delete_list"}
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

    def get_form(
        self, request: HttpRequest, obj: Segment | None = None, *args: Any, **kwargs: Any
    ) -> type[SegmentForm]:
        """Return a form that knows its user and button, and why it could not be saved before.

        Django creates its class for each request.
        """
        form = cast(type[SegmentForm], super().get_form(request, obj, *args, **kwargs))
        form.previewing = PREVIEW in request.POST
        form.instead = self.download_of(request)
        form.refused = getattr(request, REFUSED, None)
        form.may_define = self.has_change_definition_permission(request)
        return form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the preview, and what the editor needs to know; or return what is downloaded."""
        form = context["adminform"].form
        if form.result is not None:
            return cast(HttpResponse, form.result)
        context |= self.preview_context(request, form, context.get("original"))
        self.equip_editor(form)
        return super().render_change_form(request, context, *args, **kwargs)

    # Django calls these before it has read a request, which may be too large to be read.
    @csrf_exempt
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add a segment. The token is checked in `changeform_view`."""
        return super().add_view(request, *args, **kwargs)

    @csrf_exempt
    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Change a segment. The token is checked in `changeform_view`."""
        return super().change_view(request, *args, **kwargs)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the form, and save it; with what was typed if that raises a SegmentError."""
        try:
            request.POST  # noqa: B018  # It is read here.
        except RequestDataTooBig:
            request.POST = QueryDict()  # It cannot be read again.
            return self._too_large(request, object_id)
        return csrf_protect(self._changeform)(request, object_id, *args, **kwargs)

    def _too_large(self, request: HttpRequest, object_id: str | None) -> HttpResponse:
        segment = self.get_object(request, unquote(object_id)) if object_id else None
        if not self.may_save(request, segment):
            raise PermissionDenied
        limit = filesizeformat(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        title = _("This is too long to paste")
        context = self.page_context(request, title=title, segment=segment, limit=limit)
        template = "admin/segments/segment/too_large.html"
        return TemplateResponse(request, template, context, status=413)

    def _changeform(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = super().changeform_view(request, *args, **kwargs)
        except SegmentError as error:
            if request.method != "POST":
                raise
            setattr(request, REFUSED, error)
            return super().changeform_view(request, *args, **kwargs)
        self._report(request)
        return response

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        """Save the segment in the name of the user, and remember what a worker was asked for."""
        save = changes.Save.of(obj)
        with acting(request.user):
            super().save_model(request, obj, form, change)
        setattr(request, SAVE, save)
        setattr(request, BEGUN, form.begins_list)
        if save.asks_worker:
            remember(request, [obj])

    def response_post_save_add(self, request: HttpRequest, obj: Segment) -> HttpResponseRedirect:
        """Go on to the page of a list that was begun."""
        return self._list_page(request, obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(
        self, request: HttpRequest, obj: Segment
    ) -> HttpResponseRedirect:
        """Go on to the page of a list that was begun."""
        return self._list_page(request, obj) or super().response_post_save_change(request, obj)

    def _list_page(self, request: HttpRequest, segment: Segment) -> HttpResponseRedirect | None:
        if not getattr(request, BEGUN, False) or not self.has_change_permission(request, segment):
            return None
        text = _("Nobody is on its list yet: upload a file, or paste users, here.")
        self.message_user(request, text, messages.INFO)
        return HttpResponseRedirect(self.page_url("list", segment.pk))

    def message_user(  # type: ignore[override]
        self, request: HttpRequest, message: Any, level: int | str = messages.INFO, **kwargs: Any
    ) -> None:
        """Show a message; one that a segment was saved also says what became of its members."""
        save: changes.Save | None = getattr(request, SAVE, None)
        if save is not None and not save.announced and level == messages.SUCCESS:
            save.announced = True
            for words in (save.list_read(), "" if save.follows_commit else save.outcome()):
                message = changes.joined(message, words) if words else message
        super().message_user(request, message, level, **kwargs)

    def _report(self, request: HttpRequest) -> None:
        """Say what is known of a saved segment after the commit."""
        save: changes.Save | None = getattr(request, SAVE, None)
        if save is None or not save.announced:
            return
        if left_out := save.left_out():
            self.message_user(request, left_out, messages.WARNING)
        if failure := save.failure():
            self.message_user(request, failure, messages.ERROR)
        elif save.follows_commit and (outcome := save.outcome()):
            self.message_user(request, outcome, messages.SUCCESS)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Write to the log what each changed field was before, and what it is now."""
        entries = super().construct_change_message(request, form, formsets, add)
        return entries if add else changes.with_values(entries, form)
