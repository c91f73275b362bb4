"""The page that compares segments: how many users each two share, and who they are."""

import json
import math
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from segments.admin import charts
from segments.admin.export import download_users
from segments.admin.pages import SegmentPages
from segments.admin.progress import saved_words
from segments.definition.derive import in_all_but
from segments.exceptions import SegmentError
from segments.membership.overlap import Overlap, overlap, users_in
from segments.models import Segment

MOST = 6
"""How many segments fit beside each other."""

SHADES = 5
"""How many shades a heat map has, besides none."""

PER_PAGE = 50

MAX_NAME = 100
"""How many characters the name of a file has, besides its ending."""


class CellForm(forms.Form):
    """The name of a segment that is made of the users of a cell."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=255)
    slug = forms.CharField(
        label=gettext_lazy("Slug"),
        max_length=63,
        widget=forms.TextInput(attrs={"pattern": r"[a-z0-9_\-]+"}),
    )

    @property
    def prepopulated(self) -> str:
        """The slug follows the name, by the script of Django's own forms."""
        field = {
            "id": "#id_slug",
            "name": "slug",
            "dependency_ids": ["#id_name"],
            "dependency_list": ["name"],
            "maxLength": self.fields["slug"].max_length,  # type: ignore[attr-defined]
            "allowUnicode": False,
        }
        return json.dumps([field])


class ComparePage(SegmentPages):
    """The comparison of two to six segments."""

    def get_urls(self) -> list[URLPattern]:
        """Add the comparison, and the download of a cell."""
        return [
            self.page("compare/", self.compare_view, "compare"),
            self.page("compare/download/", self.compare_download_view, "compare_download"),
            *super().get_urls(),
        ]

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
            context = self._cell(request, inside, outside)
            if request.method == "POST":
                form = CellForm(request.POST)
                segment = self._create(request, form, inside, outside)
                if segment is not None:
                    return HttpResponseRedirect(self.page_url("overview", segment.pk))
                context["form"] = form
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

    def compare_download_view(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """Return the users of a cell as CSV. It is logged for each segment that they are in."""
        inside, outside = self._chosen(request, "inside"), self._chosen(request, "outside")
        if not (self.has_view_permission(request) and self.has_view_members_permission(request)):
            raise PermissionDenied
        try:
            if not inside:
                raise SegmentError(_("Choose from 2 to %d segments to compare.") % MOST)
            name = "-and-".join(segment.slug for segment in inside)
            if outside:
                name += "-not-" + "-or-".join(segment.slug for segment in outside)
            return download_users(
                request,
                inside,
                users_in(inside, outside),
                self.user_columns(request),
                what=f"of a comparison ({_cell_name(inside, outside)})",
                name=name[:MAX_NAME],
            )
        except SegmentError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(self.page_url("changelist"))

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
            "alone": inside[0] if len(inside) + len(outside) == 1 else None,
            "form": CellForm() if self._may_create(request, inside, outside) else None,
        }

    def _may_create(
        self, request: HttpRequest, inside: list[Segment], outside: list[Segment]
    ) -> bool:
        """Return whether the user may make a segment of a cell. One segment is one already."""
        may_add: bool = self.has_add_permission(request)
        several = bool(inside) and len(inside) + len(outside) > 1
        return several and may_add and self.has_change_definition_permission(request)

    def _create(
        self,
        request: HttpRequest,
        form: CellForm,
        inside: list[Segment],
        outside: list[Segment],
    ) -> Segment | None:
        """Create a segment of just the users of a cell; return None if the form says why not."""
        if not self._may_create(request, inside, outside):
            raise PermissionDenied
        if not form.is_valid():
            return None
        slugs = [segment.slug for segment in inside], [segment.slug for segment in outside]
        try:
            segment = Segment.objects.create(**form.cleaned_data, definition=in_all_but(*slugs))
        except SegmentError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
            return None
        words = f"From a comparison: {_cell_name(inside, outside)}"
        self.log_addition(request, segment, words)
        text = f"{_('%s was added.') % segment.name} {saved_words(segment)}"
        self.message_user(request, text, messages.SUCCESS)
        return segment


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
                    "percent": "<1%" if 0 < share < 0.005 else f"{share:.0%}",
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
