"""The page of a segment's list: who is on it, and an upload that replaces, adds or removes."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from segments.admin.editing.listed import ListFields, field_words, paste_help
from segments.admin.export import download_users
from segments.admin.members import PER_PAGE, found
from segments.admin.pages import SegmentPages, of_segment
from segments.exceptions import SegmentError, SegmentListError
from segments.lists.load import UnreadList
from segments.lists.report import LoadReport
from segments.membership.members import every_user
from segments.models import Segment, StaticMember
from segments.saving import acting


class ListForm(ListFields):
    """A list, and what to do with it."""

    field_order = ("file", "text", "by", "mode", "skip_bad")

    text = forms.CharField(
        label=_("Or paste it"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"}),
    )
    mode = forms.ChoiceField(
        label=_("What to do"),
        choices=(
            ("add", _("Add these users to the list")),
            ("remove", _("Remove these users from the list")),
            ("replace", _("Replace the whole list with these users")),
        ),
        initial="add",
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say how much the server accepts."""
        super().__init__(*args, **kwargs)
        self.fields["text"].help_text = paste_help()

    def clean(self) -> dict[str, Any]:
        """Take the file or the text, whichever there is."""
        data: dict[str, Any] = super().clean() or {}
        if not self.errors:
            self.read_list()
            if not self.errors and self.unread is None:
                self.add_error(None, _("Choose a file, or paste a list."))
        return data


class ListsPage(SegmentPages):
    """The page of a segment's list."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of a list, and its download."""
        return [
            self.page("<path:object_id>/list/", self.receive_list_view, "list"),
            self.page("<path:object_id>/list/download/", self.list_download_view, "list_download"),
            *super().get_urls(),
        ]

    @csrf_exempt  # It reads the request before the token, to answer for one that is too large.
    def receive_list_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Check the token of a request, if the server accepts one of this size."""
        try:
            request.POST  # noqa: B018  # It is read here.
        except RequestDataTooBig:
            request.POST = QueryDict()  # It cannot be read again.
            return self.list_too_large_view(request, object_id)
        return csrf_protect(self.list_view)(request, object_id)

    @of_segment("list")
    def list_too_large_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Show the list, and that a file may be larger than what was pasted."""
        if not self.has_change_permission(request, segment):
            raise PermissionDenied
        text = _("Nothing was changed: more than %s was pasted. Save it as a file, and upload it.")
        limit = filesizeformat(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        return self._shown_list(request, segment, ListForm(), error=text % limit)

    @of_segment()
    def list_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Show the list, and load another; `q` searches for a name, an address or a key."""
        form = ListForm()
        if request.method != "POST":
            return self._shown_list(request, segment, form)
        if not self.has_change_permission(request, segment):
            raise PermissionDenied
        form = ListForm(request.POST, request.FILES)
        if not form.is_valid() or form.unread is None:
            return self._shown_list(request, segment, form)
        loaded = self._load(request, segment, form, form.unread)
        return self._shown_list(
            request, segment, form if loaded["error"] else ListForm(), **loaded
        )

    def _shown_list(
        self, request: HttpRequest, segment: Segment, form: ListForm, **context: Any
    ) -> HttpResponse:
        count = StaticMember.objects.filter(segment=segment.pk).count()
        context = self.page_context(
            request,
            title=_("List: %s") % segment,
            segment=segment,
            form=form if self.has_change_permission(request, segment) else None,
            count=count,
            may_view_members=self.has_view_members_permission(request),
            search_var=SEARCH_VAR,
            page_var=PAGE_VAR,
            **context,
            **self._listed(request, segment, count),
        )
        return TemplateResponse(request, "admin/segments/segment/list.html", context)

    @of_segment("list", members=True)
    def list_download_view(self, request: HttpRequest, segment: Segment) -> FileResponse:
        """Return the users on the list as CSV."""
        return download_users(
            request,
            [segment],
            listed_users(segment),
            self.user_columns(request),
            what="of the list",
            name=f"{segment.slug}-list",
        )

    def _load(
        self, request: HttpRequest, segment: Segment, form: ListForm, unread: UnreadList
    ) -> dict[str, Any]:
        """Load a list; return the report, if it could be read, the error, if any, and advice."""
        mode = form.cleaned_data["mode"]
        report: LoadReport | None = None
        problem: SegmentError | None = None
        try:
            with acting(request.user):
                report = segment.load_ids(
                    unread.source, mode, unread.by, unread.skip_bad, unread.allow_empty
                )
        except SegmentError as error:
            problem = form.in_words(error)
            report = error.report if isinstance(error, SegmentListError) else None
        if report and not problem:
            self.log_change(request, segment, str(report).partition("\n")[0])
        return {
            "report": report,
            "error": problem,
            "taken_for": field_words(unread.by),
            "advice": form.advice if report and report.malformed else "",
        }

    def _listed(self, request: HttpRequest, segment: Segment, count: int) -> dict[str, Any]:
        """Return a page of the users on the list, if the viewer has the permission to see members.

        Args:
            count: The length of the list, so that no page has to join it with all users.
        """
        if not self.has_view_members_permission(request):
            return {}
        query = request.GET.get(SEARCH_VAR, "").strip()
        email = self.shown_email(request)
        users = found(listed_users(segment), query, email).order_by("pk")
        if "\0" in query:  # Postgres has no such text.
            users = users.none()
        paginator: Any = self.get_paginator(request, users, PER_PAGE)
        if not query:
            paginator.count = count
        page = paginator.get_page(request.GET.get(PAGE_VAR))
        return {
            "query": query,
            "page": page,
            "shows_email": bool(email),
            "rows": [
                (user, self.user_url(request, user), getattr(user, email, ""))
                for user in page.object_list
            ],
        }


def listed_users(segment: Segment) -> "QuerySet[Any]":
    """Return the users on the list of a segment."""
    rows = StaticMember.objects.filter(segment=segment.pk)
    return every_user().filter(pk__in=rows.values("user_id"))
