"""The page that compares segments: how many users each two share, and who they are."""

import math
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from segments.admin import charts
from segments.admin.pages import SegmentPages
from segments.exceptions import SegmentError
from segments.membership.overlap import Overlap, overlap, users_in
from segments.models import Segment

MOST = 6
"""How many segments fit beside each other."""

SHADES = 5
"""How many shades a heat map has, besides none."""

PER_PAGE = 50


class ComparePage(SegmentPages):
    """The comparison of two to six segments."""

    def get_urls(self) -> list[URLPattern]:
        """Add the comparison."""
        return [self.page("compare/", self.compare_view, "compare"), *super().get_urls()]

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Show a heat map of overlaps, and the users of a cell; create a segment of them by POST.

        Args:
            request: Has the keys of the segments as `segment`. Its `inside` and `outside` are the
                keys of a cell: the users who are in all of the former and none of the latter.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        segments = self._chosen(request, "segment")
        try:
            compared = overlap(segments) if 2 <= len(segments) <= MOST else None
            if compared is None:
                raise SegmentError(_("Choose from 2 to %d segments to compare.") % MOST)
            inside = self._chosen(request, "inside")
            outside = self._chosen(request, "outside")
            if request.method == "POST":
                return self._create(request, inside, outside)
            context = self._cell(request, inside, outside)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self.page_url("changelist"))
        context = self.page_context(
            request,
            title=_("Compare segments"),
            segments=[(each, self.page_url("overview", each.pk)) for each in segments],
            rows=heat_map(segments, compared, self.has_view_members_permission(request)),
            **context,
        )
        return TemplateResponse(request, "admin/segments/segment/compare.html", context)

    def _chosen(self, request: HttpRequest, name: str) -> list[Segment]:
        """Return the segments that the query names, in its order."""
        keys = [int(key) for key in request.GET.getlist(name) if key.isdecimal()]
        rows = {row.pk: row for row in self.get_queryset(request).filter(pk__in=keys)}
        return [rows[key] for key in dict.fromkeys(keys) if key in rows]

    def _cell(
        self, request: HttpRequest, inside: list[Segment], outside: list[Segment]
    ) -> dict[str, Any]:
        """Return the users of the chosen cell, if one is chosen and the viewer may see them."""
        if not inside:
            return {}
        if not self.has_view_members_permission(request):
            raise PermissionDenied
        users = users_in(inside, outside).order_by("pk")
        page = self.get_paginator(request, users, PER_PAGE).get_page(request.GET.get(PAGE_VAR))
        segment_query: list[tuple[str, Any]] = [
            ("segment", key) for key in request.GET.getlist("segment")
        ]
        cell: list[tuple[str, Any]] = [("inside", s.pk) for s in inside] + [
            ("outside", s.pk) for s in outside
        ]
        others = []
        if len(inside) == 2:
            others = [
                (_cell_name([one], [other]), _query(segment_query, [one], [other]))
                for one, other in (inside, inside[::-1])
            ]
        return {
            "cell": _cell_name(inside, outside),
            "cell_query": urlencode(segment_query + cell),
            "others": others,
            "page": page,
            "page_var": PAGE_VAR,
            "users": [(user, self.user_url(request, user)) for user in page],
            "may_create": self.has_add_permission(request)
            and self.has_change_definition_permission(request),
        }

    def _create(
        self, request: HttpRequest, inside: list[Segment], outside: list[Segment]
    ) -> HttpResponse:
        """Create a segment of the users of a cell, and go to its page."""
        may_add = self.has_add_permission(request)
        if not (may_add and self.has_change_definition_permission(request)) or not inside:
            raise PermissionDenied
        slug = request.POST.get("slug", "").strip()
        name = request.POST.get("name", "").strip() or slug
        objects: Any = Segment.objects
        try:
            combine = objects.difference if outside else objects.intersection
            segment = combine(slug, *inside, *outside, name=name)
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        author: Any = request.user.pk
        words = f"From a comparison: {_cell_name(inside, outside)}"
        LogEntry.objects.log_actions(
            author, [segment], ADDITION, change_message=words, single_object=True
        )
        text = _("%(name)s was added: %(count)s members.")
        shown = text % {"name": name, "count": charts.number(segment.members_count)}
        self.message_user(request, shown, messages.SUCCESS)
        return HttpResponseRedirect(self.page_url("overview", segment.pk))


def heat_map(segments: list[Segment], compared: Overlap, links: bool) -> list[dict[str, Any]]:
    """Return a row for each segment: its count, and what each other one shares with it.

    A cell is the number of users in both, as a share of the row's segment, from which its shade
    follows.

    Args:
        links: Whether the cells lead to their users.
    """
    chosen = [("segment", segment.pk) for segment in segments]
    rows = []
    for row in segments:
        total, cells = compared.counts[row.slug], []
        for column in segments:
            both = total if row is column else compared.pair(row.slug, column.slug).both
            share = both / total if total else 0.0
            pair = [row] if row is column else [row, column]
            cells.append(
                {
                    "both": charts.number(both),
                    "percent": f"{share:.0%}",
                    "shade": math.ceil(share * SHADES),
                    "same": row is column,
                    "query": _query(chosen, pair, []) if links else "",
                    "words": _cell_name(pair, []),
                }
            )
        rows.append({"segment": row, "cells": cells})
    return rows


def _query(chosen: list[tuple[str, Any]], inside: list[Segment], outside: list[Segment]) -> str:
    cell = [("inside", each.pk) for each in inside] + [("outside", each.pk) for each in outside]
    return urlencode([*chosen, *cell])


def _cell_name(inside: list[Segment], outside: list[Segment]) -> str:
    """Return in words who is in a cell."""
    within = _(" and ").join(segment.name for segment in inside)
    if not outside:
        return within
    without = _(" or ").join(segment.name for segment in outside)
    return _("%(within)s, not in %(without)s") % {"within": within, "without": without}
