"""What the pages of segments share: their routes, contexts, and links to users."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from segments.admin.rights import Rights
from segments.exceptions import SegmentError

View = Callable[..., HttpResponseBase]
"""A page as a method of the admin: it takes the request and the segment."""


def of_segment(page: str | None = "overview", *, members: bool = False) -> Callable[[View], View]:
    """Make a method a view of one segment, for users with the permission to view segments.

    Without such a segment it redirects to the index, as Django's own pages do. If it raises
    SegmentError, it shows the error on another page.

    Args:
        page: The page of the segment that shows errors; None for the list.
        members: Whether the view shows who is in the segment, for which its user must have the
            permission.
    """

    def decorate(method: View) -> View:
        @wraps(method)
        def view(self: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
            segment = self.get_object(request, unquote(object_id))
            if segment is None:
                missing: HttpResponse = self._get_obj_does_not_exist_redirect(
                    request, self.opts, object_id
                )
                return missing
            if not self.has_view_permission(request, segment) or (
                members and not self.has_view_members_permission(request)
            ):
                raise PermissionDenied
            try:
                return method(self, request, segment)
            except SegmentError as error:
                self.message_user(request, str(error), messages.ERROR)
                url = self.page_url(page, segment.pk) if page else self.page_url("changelist")
                return HttpResponseRedirect(url)

        return view

    return decorate


class SegmentPages(Rights):
    """Base of the classes that each add a page of segments to the admin."""

    def page(self, route: str, view: Any, name: str) -> URLPattern:
        """Return the URL pattern of a page for users who may use this admin."""
        pattern: URLPattern = path(
            route, self.admin_site.admin_view(view), name=f"segments_segment_{name}"
        )
        return pattern

    def page_context(self, request: HttpRequest, **context: Any) -> dict[str, Any]:
        """Return the context of a page's template."""
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **context,
        }

    def user_url(self, request: HttpRequest, user: Any) -> str | None:
        """Return the admin's page of a user, if there is one and the viewer may see it."""
        model = get_user_model()
        if not self.admin_site.is_registered(model):
            return None
        if not self.admin_site.get_model_admin(model).has_view_permission(request, user):
            return None
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return reverse(name, args=(quote(user.pk),), current_app=self.admin_site.name)

    def user_columns(self, request: HttpRequest) -> list[str]:
        """Return what the viewer may see of users: the key, and names and addresses.

        Names and addresses need the permission to view users.
        """
        if not self.has_view_users_permission(request):
            return ["pk"]
        model: Any = get_user_model()
        known = {field.name for field in model._meta.concrete_fields}
        wanted = (model.USERNAME_FIELD, email_field())
        return ["pk", *dict.fromkeys(name for name in wanted if name in known)]

    def shown_email(self, request: HttpRequest) -> str:
        """Return the field of addresses that lists of users show beside their names, if any."""
        name = email_field()
        beside = name != get_user_model().USERNAME_FIELD
        return name if beside and name in self.user_columns(request) else ""


def email_field() -> str:
    """Return the name that the user model's field of addresses has, if it has one."""
    return str(getattr(get_user_model(), "EMAIL_FIELD", "email"))
