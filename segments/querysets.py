"""Asking for segments and memberships."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models, transaction

from segments.membership import existing_keys, key_of

if TYPE_CHECKING:
    from segments.models import Membership, Segment  # noqa: F401  # mypy needs the names below.


class SegmentQuerySet(models.QuerySet["Segment"]):
    """Segments, by priority."""

    def for_user(self, user: Any) -> "SegmentQuerySet":
        """Return the segments that the user is in as of their last refresh, by priority.

        Args:
            user: A user or the primary key of one.
        """
        membership: Any = apps.get_model("segments", "Membership")
        return self.filter(
            pk__in=membership.objects.of_user(key_of(user)).values("segment_id")
        ).order_by("-priority", "slug")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the segments and their views, those that read others first.

        Raises:
            SegmentExecutionError: when anything else reads one of them; none is deleted then.
        """
        from segments import order

        self._for_write = True  # So that self.db is not that of a replica.
        total, by_model = 0, dict[str, int]()
        with transaction.atomic(using=self.db):
            for segment in reversed(order.ordered(self)):
                count, each = segment.delete(using=self.db)
                total += count
                for label, number in each.items():
                    by_model[label] = by_model.get(label, 0) + number
        return total, by_model

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships."""

    def of_user(self, key: Any) -> "MembershipQuerySet":
        """Return those of one user; none of one whose row was deleted past Django, in SQL."""
        return self.filter(user_id=key, user_id__in=existing_keys(pk=key))
