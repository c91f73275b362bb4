"""A user's segments: an inline for the admin of users, and a page with live answers."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms.models import BaseInlineFormSet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils.translation import gettext_lazy as _

from segments.admin.pages import SegmentPages
from segments.exceptions import SegmentError
from segments.membership.members import every_user
from segments.models import Membership, Segment

PER_PAGE = 100


class MembershipFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    """A formset without forms, since nobody edits memberships; it lists them."""

    request: HttpRequest
    site_name = "admin"

    def get_queryset(self) -> Any:
        """Return no rows to edit."""
        return Membership.objects.none()

    @property
    def memberships(self) -> list[tuple[Membership, str]]:
        """The user's memberships by priority, each with the page of its segment. One query."""
        if self.instance.pk is None:
            return []
        rows = Membership.objects.of_user(self.instance.pk).select_related("segment")
        return [
            (row, self._url("overview", row.segment_id))
            for row in rows.order_by("-segment__priority", "segment__slug")
        ]

    @property
    def page_url(self) -> str:
        """The page with live answers."""
        return self._url("user", self.instance.pk) if self.instance.pk is not None else ""

    def _url(self, page: str, key: Any) -> str:
        try:
            name = f"admin:segments_segment_{page}"
            return reverse(name, args=(key,), current_app=self.site_name)
        except NoReverseMatch:  # The project's admin has no segments.
            return ""


class SegmentMembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    """The segments of a user, for the project's own admin of users.

    Shown to users who may view segments and their members. Costs one query.
    """

    model: Any = Membership
    fk_name = "user"
    formset = MembershipFormSet
    template = "admin/segments/segment/user_inline.html"
    verbose_name_plural = _("segments")
    fields = ()
    extra = max_num = 0
    can_delete = False

    class Media:
        css = {"all": ("segments/pages.css",)}  # noqa: RUF012

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the formset that lists memberships."""
        formset = super().get_formset(request, obj, **kwargs)
        formset.site_name = self.admin_site.name  # type: ignore[attr-defined]
        return formset

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may see who is in which segment."""
        return request.user.has_perms(["segments.view_segment", "segments.view_members"])

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only refreshes write memberships."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits memberships."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes memberships."""
        return False


class UserPage(SegmentPages):
    """The page of all segments for one user: in it or not, since when, and live on request."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of a user."""
        return [self.page("user/<path:key>/", self.user_view, "user"), *super().get_urls()]

    def user_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """List the segments; a POST with the key of one answers whether the user is in it now.

        The live answer evaluates the definition for this user, under the segment's timeout.
        """
        if not (self.has_view_permission(request) and self.has_view_members_permission(request)):
            raise PermissionDenied
        user = _user(key)
        page = self.get_paginator(request, self.get_queryset(request), PER_PAGE).get_page(
            request.GET.get("p")
        )
        since = dict(
            Membership.objects.of_user(user)
            .filter(segment__in=[segment.pk for segment in page])
            .values_list("segment_id", "entered_at")
        )
        checked = request.POST.get("segment", "") if request.method == "POST" else ""
        rows = [
            {
                "segment": segment,
                "url": self.page_url("overview", segment.pk),
                "since": since.get(segment.pk),
                "live": _live(segment, user) if str(segment.pk) == checked else None,
            }
            for segment in page
        ]
        context = self.page_context(
            request,
            title=_("Segments of %s") % user,
            person=user,
            person_url=self.user_url(request, user),
            rows=rows,
            page=page,
        )
        return TemplateResponse(request, "admin/segments/segment/user.html", context)


def _user(key: str) -> Any:
    field: Any = get_user_model()._meta.pk
    if "\0" in key:  # Postgres has no such text.
        raise Http404("There is no such user.")
    try:
        user = every_user().filter(pk=field.to_python(key)).first()
    except ValidationError as error:
        raise Http404(f"There is no user with the key {key}.") from error
    if user is None:
        raise Http404(f"There is no user with the key {key}.")
    return user


def _live(segment: Segment, user: Any) -> dict[str, Any]:
    """Return whether a user is in a segment now, or why that is not known."""
    try:
        return {"answer": segment.has_member_live(user), "error": ""}
    except SegmentError as error:
        return {"answer": None, "error": str(error)}
