"""The page of a segment's list: who is on it, and an upload that replaces, adds or removes."""

from typing import Any

from django import forms
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from segments.admin.export import download_list
from segments.admin.members import PER_PAGE, found
from segments.admin.pages import SegmentPages, of_segment
from segments.exceptions import SegmentError, SegmentListError
from segments.lists.fields import unique_fields
from segments.lists.report import LoadReport
from segments.membership.members import every_user
from segments.models import Segment, StaticMember


def _fields() -> list[tuple[str, Any]]:
    """Return the fields that a list may name users by, with their names in words."""
    options: Any = get_user_model()._meta
    named = [(n, options.pk if n == "pk" else options.get_field(n)) for n in _unique()]
    return [(name, capfirst(field.verbose_name)) for name, field in named]


def _unique() -> list[str]:
    """Return the unique fields, the primary key only once."""
    key: Any = get_user_model()._meta.pk
    return [name for name in unique_fields() if name != key.name]


class ListForm(forms.Form):
    """A list, as a file or as text, and what to do with it."""

    file = forms.FileField(
        label=_("File"),
        required=False,
        help_text=_(
            "Text with one user a line, or CSV with a header, saved as UTF-8. It may have "
            "millions of lines."
        ),
    )
    text = forms.CharField(
        label=_("Or paste it"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"}),
        help_text=_("One user a line. A list of more than 100,000 lines is better a file."),
    )
    by = forms.ChoiceField(label=_("Each line is"), choices=_fields, initial="pk")
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
    skip_bad = forms.BooleanField(
        label=_("Use the good lines if others are wrong"),
        required=False,
        help_text=_("Otherwise nothing is changed, and the wrong lines are shown."),
    )

    def clean(self) -> dict[str, Any]:
        """Take the file or the text, whichever there is."""
        data: dict[str, Any] = super().clean() or {}
        if self.errors:
            return data
        file, text = data.get("file"), data.get("text", "")
        if bool(file) == bool(text.strip()):
            raise forms.ValidationError(
                _("Choose a file, or paste a list, not both.")
                if file
                else _("Choose a file, or paste a list.")
            )
        data["source"] = file or text
        return data


class ListsPage(SegmentPages):
    """The page of a segment's list."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of a list, and its download."""
        return [
            self.page("<path:object_id>/list/", self.list_view, "list"),
            self.page("<path:object_id>/list/download/", self.list_download_view, "list_download"),
            *super().get_urls(),
        ]

    @of_segment()
    def list_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Show the list, and load another; `q` searches for a user name or a key."""
        may_load = self.has_change_permission(request, segment)
        form, report, error = ListForm(), None, None
        if request.method == "POST":
            if not may_load:
                raise PermissionDenied
            form = ListForm(request.POST, request.FILES)
            if form.is_valid():
                report, error = self._load(request, segment, form.cleaned_data)
                form = form if error else ListForm()
        count = StaticMember.objects.filter(segment=segment.pk).count()
        context = self.page_context(
            request,
            title=_("List: %s") % segment,
            segment=segment,
            form=form if may_load else None,
            report=report,
            error=error,
            count=count,
            may_view_members=self.has_view_members_permission(request),
            search_var=SEARCH_VAR,
            page_var=PAGE_VAR,
            **self._listed(request, segment, count),
        )
        return TemplateResponse(request, "admin/segments/segment/list.html", context)

    @of_segment("list", members=True)
    def list_download_view(self, request: HttpRequest, segment: Segment) -> FileResponse:
        """Return the users on the list as CSV."""
        return download_list(self.admin_site, request, segment, listed_users(segment))

    def _load(
        self, request: HttpRequest, segment: Segment, data: dict[str, Any]
    ) -> tuple[LoadReport | None, SegmentError | None]:
        """Load a list; return the report, if the list could be read, and the error, if any."""
        options = {name: data[name] for name in ("mode", "by", "skip_bad")}
        try:
            report = segment.load_ids(data["source"], **options)
        except SegmentError as error:
            return (error.report if isinstance(error, SegmentListError) else None), error
        self.log_change(request, segment, str(report).partition("\n")[0])
        return report, None

    def _listed(self, request: HttpRequest, segment: Segment, count: int) -> dict[str, Any]:
        """Return a page of the users on the list, for viewers who may see members.

        Args:
            count: The length of the list, so that no page has to join it with all users.
        """
        if not self.has_view_members_permission(request):
            return {}
        query = request.GET.get(SEARCH_VAR, "").strip()
        users = found(listed_users(segment), query).order_by("pk")
        paginator: Any = self.get_paginator(request, users, PER_PAGE)
        if not query:
            paginator.count = count
        page = paginator.get_page(request.GET.get(PAGE_VAR))
        return {
            "query": query,
            "page": page,
            "rows": [(user, self.user_url(request, user)) for user in page.object_list],
        }


def listed_users(segment: Segment) -> "QuerySet[Any]":
    """Return the users on the list of a segment."""
    rows = StaticMember.objects.filter(segment=segment.pk)
    return every_user().filter(pk__in=rows.values("user_id"))
