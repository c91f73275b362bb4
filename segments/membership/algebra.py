"""Segments that combine others: who is in any, in all, or in the first but in no other."""

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

from segments.definition.derive import Operator, combined
from segments.membership.given import check_populated, given

if TYPE_CHECKING:
    from segments.models import Segment

S = TypeVar("S", bound=models.Model)


class AlgebraQuerySet(models.QuerySet[S]):
    """Creates combined segments. With querysets as arguments, the methods are those of Django.

    A combined segment is an ordinary one in SQL, which reads the members that the others had at
    their last refresh. Runs over several segments refresh the others first.

    The methods take the slug of the new segment, two or more segments or slugs, and other fields
    of the new segment; without a `name` it is named by its slug.

    Raises:
        Segment.DoesNotExist: when no segment has a slug, naming the nearest one.
        SegmentDefinitionError: when there are fewer than two, or for a slug that is not valid or
            that another segment has.
        SegmentExecutionError: when one of them was never populated.
    """

    def union(self, *arguments: Any, **options: Any) -> Any:
        """Create a segment of the users who are in any of the others."""
        if _is_slug(arguments):
            return self._combine("UNION", *arguments, **options)
        return super().union(*arguments, **options)

    def intersection(self, *arguments: Any, **options: Any) -> Any:
        """Create a segment of the users who are in all of the others."""
        if _is_slug(arguments):
            return self._combine("INTERSECT", *arguments, **options)
        return super().intersection(*arguments, **options)

    def difference(self, *arguments: Any, **options: Any) -> Any:
        """Create a segment of the users who are in the first of the others, and in no other."""
        if _is_slug(arguments):
            return self._combine("EXCEPT", *arguments, **options)
        return super().difference(*arguments, **options)

    def _combine(
        self, operator: Operator, slug: str, *segments: "Segment | str", **fields: Any
    ) -> S:
        self._for_write = True  # Otherwise self.db may be a replica.
        rows = given(segments, self.db, "a combined segment")
        check_populated(rows, "combine")
        definition = combined(operator, (row.slug for row in rows))
        return self.create(slug=slug, definition=definition, **{"name": slug} | fields)


def _is_slug(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments) and isinstance(arguments[0], str)
