"""The table of memberships."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from segments.membership.querysets import MembershipQuerySet


class Membership(models.Model):
    """A user's membership at the segment's last refresh; an index over the views.

    There are no foreign keys in the database: their triggers would cost more than a refresh. The
    rows of a deleted user stay until the next refresh, which then finds that the user left. No
    answer counts them until then.
    """

    pk = models.CompositePrimaryKey("user_id", "segment_id")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    segment = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    entered_at = models.DateTimeField(_("entered"))

    objects = MembershipQuerySet.as_manager()

    class Meta:
        # With this, the cost of reconciling depends on the segment, not on the table.
        indexes = (models.Index(fields=["segment", "user"], name="segments_membership_segment"),)

    def __str__(self) -> str:
        return f"{self.user_id} in {self.segment_id}"
