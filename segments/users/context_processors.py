"""The context processor `segments.users.context_processors.segments`, for templates."""

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from segments.users.access import heard, segments_of_visitor, visitor_in_segment
from segments.users.prefetching import UserSegments

OF_QUERYSETS = {"all", "count", "exists", "first", "last"}
"""The methods of querysets that templates may use."""


class VisitorSegments:
    """The segments of the user of a request, by priority; none of a visitor. Asks when it is read.

    In a template: `{% for segment in segments %}`, `{% if segments.vip %}` (with `_` for `-`),
    `{{ segments|length }}`, and what querysets have: `{{ segments.first }}`, `last`, `count`,
    `exists`, `all`, and a number, as in `{{ segments.0.name }}`. A segment with such a slug comes
    first.
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
        if not isinstance(name, str):
            return list(self)[name]
        # With a KeyError, a template goes on to attributes, and then to numbers.
        if name.isdigit():
            raise KeyError(name)
        if name in OF_QUERYSETS and self._all().answer(name) is None:
            raise KeyError(name)
        return name in self

    def first(self) -> Any:
        """Return the segment with the highest priority, or None."""
        return next(iter(self), None)

    def last(self) -> Any:
        """Return the segment with the lowest priority, or None."""
        return next(reversed(list(self)), None)

    def count(self) -> int:
        """Return the number of segments."""
        return len(self)

    def exists(self) -> bool:
        """Return whether there are any."""
        return len(self) > 0

    def all(self) -> "VisitorSegments":
        """Return these segments."""
        return self

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
