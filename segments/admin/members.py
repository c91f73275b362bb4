"""The page that lists the members of a segment."""

from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from segments.admin.rights import Rights
from segments.exceptions import SegmentError
from segments.membership.members import shown_users
from segments.models import Segment
from segments.sql import session

PER_PAGE = 100


class MembersPage(Rights):
    """The page of a segment's members, for users who may see them."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of members."""
        page = path(
            "<path:object_id>/members/",
            self.admin_site.admin_view(self.members_view),
            name="segments_segment_members",
        )
        return [page, *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> Any:
        """Link the member count to the members page."""
        columns = super().get_list_display(request)
        if not self.has_view_members_permission(request):
            return columns
        return ["members_link" if name == "members_count" else name for name in columns]

    @admin.display(description=_("members"), ordering="members_count")
    def members_link(self, segment: Segment) -> str | None:
        """Return the number of members, as a link to them."""
        if segment.members_count is None:
            return None
        url = self.page_url("members", segment.pk)
        return format_html('<a href="{}">{}</a>', url, segment.members_count)

    def members_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """List the members at the last refresh; `q` searches for a user name or a key."""
        segment: Segment | None = self.get_object(request, unquote(object_id))
        if segment is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
            return missing
        if not (
            self.has_view_permission(request, segment)
            and self.has_view_members_permission(request)
        ):
            raise PermissionDenied
        query = request.GET.get(SEARCH_VAR, "").strip()
        try:
            alias = router.db_for_read(Segment)
            with session.transaction(alias, segment.slug, read_only=True):
                paginator = self.get_paginator(request, _members(segment, query), PER_PAGE)
                page = paginator.get_page(request.GET.get(PAGE_VAR))
                users = list(page.object_list)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self.page_url("change", segment.pk))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Members: %s") % segment,
            "opts": self.opts,
            "segment": segment,
            "page": page,
            "rows": [(user, self._user_url(request, user)) for user in users],
            "query": query,
            "search_var": SEARCH_VAR,
            "page_var": PAGE_VAR,
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/segments/segment/members.html", context)

    def _user_url(self, request: HttpRequest, user: Any) -> str | None:
        """Return the admin's page of a member, if there is one and the user may see it."""
        model = get_user_model()
        if not self.admin_site.is_registered(model):
            return None
        if not self.admin_site.get_model_admin(model).has_view_permission(request, user):
            return None
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return reverse(name, args=(user.pk,), current_app=self.admin_site.name)


def _members(segment: Segment, query: str) -> "QuerySet[Any]":
    """Return the members whose user name contains the query, or whose key it is."""
    if segment.refreshed_at is None:  # Its members would evaluate the definition right here.
        return shown_users().none()
    members = segment.members.order_by("pk")
    if not query:
        return members
    condition = Q(**{f"{get_user_model().USERNAME_FIELD}__icontains": query})
    with suppress(ValidationError):  # It is not a key.
        condition |= Q(pk=get_user_model()._meta.pk.to_python(query))
    return members.filter(condition)
