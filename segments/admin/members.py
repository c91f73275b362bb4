"""The page that lists the members of a segment."""

from contextlib import suppress
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy as _

from segments.admin.pages import SegmentPages, of_segment
from segments.membership.members import shown_users
from segments.models import Membership, Segment
from segments.sql import session

PER_PAGE = 100


class MembersPage(SegmentPages):
    """The page of a segment's members, for users who may see them."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page of members."""
        page = self.page("<path:object_id>/members/", self.members_view, "members")
        return [page, *super().get_urls()]

    @of_segment(members=True)
    def members_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """List the members at the last refresh; `q` searches for a name, an address or a key."""
        query = request.GET.get(SEARCH_VAR, "").strip()
        email = self.shown_email(request)
        alias = router.db_for_read(Segment)
        with session.transaction(alias, segment.slug, read_only=True):
            paginator = self.get_paginator(request, _members(segment, query, email), PER_PAGE)
            page = paginator.get_page(request.GET.get(PAGE_VAR))
            users = list(page.object_list)
            since = _since(segment, users)
        context = self.page_context(
            request,
            title=_("Members: %s") % segment,
            segment=segment,
            page=page,
            rows=[
                (user, self.user_url(request, user), getattr(user, email, ""), since.get(user.pk))
                for user in users
            ],
            shows_email=bool(email),
            query=query,
            search_var=SEARCH_VAR,
            page_var=PAGE_VAR,
        )
        return TemplateResponse(request, "admin/segments/segment/members.html", context)


def _members(segment: Segment, query: str, email: str) -> "QuerySet[Any]":
    """Return the members that a search finds."""
    if segment.refreshed_at is None:  # Its members would evaluate the definition right here.
        return shown_users().none()
    return found(segment.members.order_by("pk"), query, email)


def found(users: "QuerySet[Any]", query: str, email: str = "") -> "QuerySet[Any]":
    """Return the users whose user name contains the query, or whose key it is.

    Args:
        email: The field of addresses that the query is also looked for in, if any.
    """
    if not query:
        return users
    condition = Q(**{f"{get_user_model().USERNAME_FIELD}__icontains": query})
    if email:
        condition |= Q(**{f"{email}__icontains": query})
    with suppress(ValidationError):  # It is not a key.
        condition |= Q(pk=get_user_model()._meta.pk.to_python(query))
    return users.filter(condition)


def _since(segment: Segment, users: list[Any]) -> dict[Any, Any]:
    """Return since when each of the users has been in the segment, by key. One query."""
    rows = Membership.objects.filter(segment_id=segment.pk, user_id__in=[u.pk for u in users])
    return dict(rows.values_list("user_id", "entered_at"))
