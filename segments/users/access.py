"""What views ask for the user of a request, with one query for all of them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import user_passes_test
from django.contrib.auth.mixins import AccessMixin
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from segments.users import prefetching
from segments.users.mixin import is_member

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)


def segments_of_visitor(user: Any) -> prefetching.UserSegments:
    """Return the segments of a user or a visitor, and keep them on that object.

    What is kept serves the decorator, the mixin for views, the template library and the context
    processor. `user.is_member` does not read it, so it always asks, unless the user is prefetched.

    Costs one query for each object, with a row for each segment.
    """
    for name in (prefetching.CACHE, prefetching.VISIT):
        answer = prefetching.complete(user, name)
        if answer is not None:
            return answer
    prefetching.remember([user], prefetching.VISIT)
    return segments_of_visitor(user)


def visitor_in_segment(user: Any, segment: "Segment | str") -> bool:
    """Return whether a user was in a segment at its last refresh, as a view needs it.

    Costs one query for all segments, see `segments_of_visitor`. A segment that was never populated
    is asked for itself each time.

    Args:
        user: A user, a visitor, or a user's primary key. Empty text is a visitor: it is what a
            template has for a variable that does not exist.
        segment: A segment or its slug, where `-` and `_` are the same.

    Raises:
        Segment.DoesNotExist, SegmentExecutionError, TypeError, ValueError: as for `is_member`.
    """
    answer = None
    if isinstance(user, str) and not user:
        user = None
    if hasattr(user, "is_authenticated"):
        answer = segments_of_visitor(user).answer(segment)
    return is_member(user, segment) if answer is None else answer


def segment_required(
    segment: "Segment | str",
    login_url: str | None = None,
    redirect_field_name: str = REDIRECT_FIELD_NAME,
) -> Callable[[Any], Any]:
    """Decorate a view, sync or async, for the users in a segment: `@segment_required("vip")`.

    Visitors are redirected to the login page, and users who are not in the segment are denied with
    status 403.

    Args:
        segment: A segment or its slug.
        login_url, redirect_field_name: As for Django's `login_required`.

    Raises:
        Segment.DoesNotExist, SegmentExecutionError: when a user asks for the view and there is no
            answer; see `visitor_in_segment`.
    """

    def passes(user: Any) -> bool:
        if user.is_authenticated and not visitor_in_segment(user, segment):
            raise PermissionDenied
        return bool(user.is_authenticated)

    decorator: Callable[[Any], Any] = user_passes_test(passes, login_url, redirect_field_name)
    return lambda view: decorator(_sharing(view))


def _sharing(view: Any) -> Any:
    """Return an async view whose templates read what Django's `auser()` was asked.

    Django asks that user whether the view may be seen, and `request.user` is another object.
    """
    if not iscoroutinefunction(view):
        return view

    @wraps(view)
    async def sharing(request: Any, *args: Any, **kwargs: Any) -> Any:
        asked, user = await request.auser(), request.user

        def with_answer() -> Any:
            prefetching.share(asked, user)
            return user

        request.user = SimpleLazyObject(with_answer)  # Loading the user may take a query.
        return await view(request, *args, **kwargs)

    return sharing


class SegmentRequiredMixin(AccessMixin):
    """A base for class-based views, sync or async, that are for the users in a segment.

    It does what `segment_required` does, and comes before other bases:
    `class Offers(SegmentRequiredMixin, ListView)`. The attributes of Django's `AccessMixin` count.

    Attributes:
        segment_required: The segment or its slug.
    """

    segment_required: "Segment | str | None" = None

    request: HttpRequest
    view_is_async: bool

    def get_segment_required(self) -> "Segment | str":
        """Return the segment or its slug; override it to choose by the request."""
        if self.segment_required is None:
            raise ImproperlyConfigured(
                f"{type(self).__name__} has no segment: define its attribute segment_required."
            )
        return self.segment_required

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Let users of the segment in; see Django."""
        if self.view_is_async:
            return self._dispatch_async(request, *args, **kwargs)
        return self._refused() or super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    async def _dispatch_async(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        refused = await sync_to_async(self._refused)()
        response = refused or super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        return await response if isawaitable(response) else response

    def _refused(self) -> HttpResponseBase | None:
        """Return the redirect of a visitor, or None for a user who may see the view."""
        user, segment = self.request.user, self.get_segment_required()
        if user.is_authenticated and visitor_in_segment(user, segment):
            return None
        return self.handle_no_permission()


@contextmanager
def heard() -> Iterator[None]:
    """Log errors within a template, where Django may take them for false or for nothing."""
    try:
        yield
    except Exception as error:
        logger.exception("A template has asked for a segment in vain")
        error.silent_variable_failure = False  # type: ignore[attr-defined]
        raise
