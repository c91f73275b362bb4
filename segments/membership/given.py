"""Segments that a caller gives by themselves or by their slugs, as they are stored now."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.apps import apps

from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, translated
from segments.membership.members import MembersMixin
from segments.rows import no_segment, segment_rows, with_slugs
from segments.sql.keys import in_words
from segments.sql.names import view_name

if TYPE_CHECKING:
    from segments.models import Segment


LEAST = 2
"""How many segments can be combined or compared."""


def given(
    segments: "Iterable[Segment | str]", alias: str, purpose: str, least: int = LEAST
) -> "list[Segment]":
    """Return the current rows of segments, in the order given. At most two queries.

    Args:
        segments: Segments or slugs, where `-` and `_` are the same.
        alias: The database that the rows are read from.
        purpose: What takes them, for messages.
        least: How many there must be.

    Raises:
        Segment.DoesNotExist: when no segment has a slug, naming the nearest one.
        SegmentDefinitionError: when there are fewer, or one of them is given twice.
        SegmentExecutionError: when a segment is not saved, or has been deleted.
        TypeError: when one is neither a segment nor a slug.
    """
    wanted = several(segments, purpose)
    if len(wanted) < least:
        raise SegmentDefinitionError(
            f"{purpose} takes {least} segments or more, not {len(wanted)}"
        )
    with translated(SegmentExecutionError):
        found = _find(wanted, alias)
    rows = [found[_key(each)] for each in wanted]
    for number, row in enumerate(rows):
        if row in rows[:number]:
            raise SegmentDefinitionError(f"{purpose} takes each segment once", slug=row.slug)
    return rows


def several(segments: "Iterable[Segment | str]", purpose: str) -> "list[Segment | str]":
    """Return segments or slugs as a list; one of them as a list of one.

    Raises:
        TypeError: when they are neither.
    """
    if isinstance(segments, str | MembersMixin):
        return [segments]
    if not isinstance(segments, Iterable):
        raise TypeError(f"{purpose} takes segments or their slugs, not {in_words(segments)}")
    return [*segments]


def check_populated(rows: "list[Segment]", purpose: str) -> None:
    """Raise SegmentExecutionError if one of the segments was never populated.

    Args:
        purpose: What its members are needed for, as an infinitive.
    """
    for row in rows:
        if row.refreshed_at is None:
            raise SegmentExecutionError(
                f"it was never populated, so it has no members to {purpose}",
                slug=row.slug,
                hint=f"Refresh it first: manage.py refresh_segments {row.slug}",
            )


def _find(wanted: "list[Segment | str]", alias: str) -> "dict[Any, Segment]":
    """Return the rows by the keys of segments and by the names of the views of slugs."""
    model, rows = apps.get_model("segments", "Segment"), segment_rows(alias)
    keys = [each.pk for each in wanted if isinstance(each, model)]
    slugs = [each for each in wanted if isinstance(each, str)]
    for each in wanted:
        if not isinstance(each, str | model):
            raise TypeError(f"segments or their slugs are needed, not {in_words(each)}")
        if isinstance(each, model) and each.pk is None:
            raise SegmentExecutionError("it is not saved yet", slug=each.slug)
    found: dict[Any, Segment] = {}
    if keys:
        found |= {row.pk: row for row in rows.filter(pk__in=keys)}
    if slugs:
        found |= {view_name(row.slug): row for row in with_slugs(rows, slugs)}
    if unknown := [slug for slug in slugs if view_name(slug) not in found]:
        raise model.DoesNotExist("\n".join(map(no_segment, unknown)))
    for each in wanted:
        if not isinstance(each, str) and each.pk not in found:
            raise SegmentExecutionError("it has been deleted", slug=each.slug)
    return found


def _key(segment: "Segment | str") -> Any:
    return view_name(segment) if isinstance(segment, str) else segment.pk
