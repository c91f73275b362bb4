"""What all pages of segments share: who may see what, and where the pages are."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.urls import URLPattern, path, reverse

from segments.models import Segment


class SegmentPages(admin.ModelAdmin):  # type: ignore[type-arg]
    """Base of the classes that each add a page of segments to the admin."""

    def has_view_members_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see who is in a segment."""
        return request.user.has_perm("segments.view_members")

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may refresh segments."""
        return request.user.has_perm("segments.refresh_segment")

    def has_change_definition_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may write SQL and choose manager methods."""
        return request.user.has_perm("segments.change_definition")

    def page(self, route: str, view: Any, name: str) -> URLPattern:
        """Return the URL pattern of a page for users who may use this admin."""
        return path(route, self.admin_site.admin_view(view), name=f"segments_segment_{name}")

    def viewed(self, request: HttpRequest, object_id: str, members: bool = False) -> Segment:
        """Return the segment of a page.

        Args:
            members: Whether the page shows who is in the segment.

        Raises:
            Http404: when there is no such segment.
            PermissionDenied: when the user may not see it, or its members.
        """
        segment: Segment | None = self.get_object(request, unquote(object_id))
        if segment is None:
            raise Http404(f"There is no segment with the key {object_id}.")
        if not self.has_view_permission(request, segment) or (
            members and not self.has_view_members_permission(request)
        ):
            raise PermissionDenied
        return segment

    def page_context(self, request: HttpRequest, **context: Any) -> dict[str, Any]:
        """Return the context of a page's template."""
        request.current_app = self.admin_site.name  # type: ignore[attr-defined]
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **context,
        }

    def url(self, page: str, *keys: Any) -> str:
        """Return the URL of a page of segments in this admin site."""
        name = f"admin:segments_segment_{page}"
        return reverse(name, args=keys, current_app=self.admin_site.name)

    def user_url(self, request: HttpRequest, user: Any) -> str | None:
        """Return the admin's page of a user, if there is one and the viewer may see it."""
        model = get_user_model()
        if not self.admin_site.is_registered(model):
            return None
        if not self.admin_site.get_model_admin(model).has_view_permission(request, user):
            return None
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return reverse(name, args=(user.pk,), current_app=self.admin_site.name)
