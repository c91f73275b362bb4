"""Querysets of segments and of memberships."""

from typing import TYPE_CHECKING, Any

from django.db import models, transaction

from segments.membership.algebra import AlgebraQuerySet
from segments.membership.members import every_user
from segments.refreshing.order import ordered
from segments.rows import membership_rows
from segments.sql.keys import user_key

if TYPE_CHECKING:
    from segments.models import Membership, Segment  # noqa: F401  # For mypy.


class SegmentQuerySet(AlgebraQuerySet["Segment"]):
    """Segments, by priority."""

    def for_user(self, user: Any) -> "SegmentQuerySet":
        """Return the segments that the user was in at their last refresh, by priority.

        Args:
            user: A user or a user's primary key. Visitors are in no segment.

        Raises:
            TypeError, ValueError: when it is neither; see `segments.sql.keys.user_key`.
        """
        memberships = membership_rows().of_user(user)
        return self.filter(pk__in=memberships.values("segment_id")).order_by("-priority", "slug")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the segments and their views, in reverse order of dependency.

        Raises:
            SegmentExecutionError: when anything else reads one of them. None is deleted then.
        """
        self._for_write = True  # Otherwise self.db may be a replica.
        total, by_model = 0, dict[str, int]()
        with transaction.atomic(using=self.db):
            for segment in reversed(ordered(self)):
                count, counts = segment.delete(using=self.db)
                total += count
                for label, number in counts.items():
                    by_model[label] = by_model.get(label, 0) + number
        return total, by_model

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships."""

    def of_user(self, user: Any) -> "MembershipQuerySet":
        """Return the memberships of a user or a user's primary key.

        There are none for a visitor, or if the user was deleted, even in SQL.
        """
        key = user_key(user)
        if key is None:
            return self.none()
        return self.filter(user_id=key, user_id__in=every_user().filter(pk=key).values("pk"))
