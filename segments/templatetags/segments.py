"""The template library `segments`: `{% load segments %}`."""

from typing import TYPE_CHECKING, Any

from django import template

from segments.users.access import heard, visitor_in_segment

if TYPE_CHECKING:
    from segments.models import Segment

register = template.Library()


@register.filter
def in_segment(user: Any, segment: "Segment | str") -> bool:
    """Return whether a user was in a segment: `{% if user|in_segment:"vip" %}`.

    Within `and`, `or`, `not` and `in`, `{% if %}` takes every error for false, so an unknown slug
    is also logged as an error. The tag `in_segment` raises it everywhere.
    """
    with heard():
        return visitor_in_segment(user, segment)


@register.simple_tag(name="in_segment")
def in_segment_tag(user: Any, segment: "Segment | str") -> bool:
    """Return whether a user was in a segment: `{% in_segment user "vip" as is_vip %}`."""
    return visitor_in_segment(user, segment)
