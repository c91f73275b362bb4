"""The context processor `segments.users.context_processors.segments`, for templates."""

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from segments.users.access import heard, segments_of_visitor, visitor_in_segment
from segments.users.prefetching import UserSegments


class VisitorSegments:
    """The segments of the user of a request, by priority; none of a visitor. Asks when it is read.

    In a template: `{% for segment in segments %}`, `{% if segments.vip %}` (with `_` for `-`), and
    `{{ segments|length }}`.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, segment: Any) -> bool:
        with heard():
            return visitor_in_segment(self._user(), segment)

    def __getitem__(self, name: Any) -> Any:
        return name in self if isinstance(name, str) else self._all()[name]

    def _all(self) -> UserSegments:
        with heard():
            return segments_of_visitor(self._user())

    def _user(self) -> Any:
        if not hasattr(self._request, "user"):
            raise ImproperlyConfigured(
                "This needs a user: add AuthenticationMiddleware to MIDDLEWARE."
            )
        return self._request.user


def segments(request: HttpRequest) -> dict[str, VisitorSegments]:
    """Return the variable `segments` for templates: the user's. One query, if it is read."""
    return {"segments": VisitorSegments(request)}
