"""Who may do what with segments in the admin, besides Django's own permissions."""

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_permission_codename, get_user_model
from django.http import HttpRequest
from django.urls import reverse

from segments.models import Segment


class Rights(admin.ModelAdmin):  # type: ignore[type-arg]
    """What all pages of segments ask: the user's permissions, and each other's addresses."""

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may refresh segments."""
        return request.user.has_perm("segments.refresh_segment")

    def has_change_definition_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may write SQL and choose manager methods."""
        return request.user.has_perm("segments.change_definition")

    def has_view_members_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see who is in a segment."""
        return request.user.has_perm("segments.view_members")

    def has_view_users_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see more of users than their keys.

        Whoever may view or change users may, as in Django's own admin, whether or not this site
        has pages of users.
        """
        model = get_user_model()
        if self.admin_site.is_registered(model):
            return self.admin_site.get_model_admin(model).has_view_permission(request)
        names = [get_permission_codename(verb, model._meta) for verb in ("view", "change")]
        return any(request.user.has_perm(f"{model._meta.app_label}.{name}") for name in names)

    def may_save(self, request: HttpRequest, segment: Segment | None) -> bool:
        """Return whether the user may add a segment, or change this one."""
        if segment is None:
            return self.has_add_permission(request)
        return self.has_change_permission(request, segment)

    def page_url(self, page: str, *args: Any) -> str:
        """Return the address of a page of segments, such as `change`, in this admin site."""
        name = f"admin:segments_segment_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)
