"""The tables of changes and of their consumers."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from segments.membership.members import shown_users

MAX_NAME = 100
"""How many characters the name of a consumer may have."""


class ChangeQuerySet(models.QuerySet["SegmentChange"]):
    """Changes, in the order in which refreshes have committed them."""

    def users(self) -> "models.QuerySet[Any]":
        """Return the users of these changes, each once. Those who were deleted are left out."""
        return shown_users().filter(pk__in=self.order_by().values("user_id"))


class SegmentChange(models.Model):
    """A user who entered or left a segment at a refresh.

    Only refreshes write rows, each in its own transaction and with the segment's lock, which it
    holds until its commit is visible. The ids are taken under that lock. So the ids of one segment
    are in the order of commits: whoever has seen a row never misses one with a smaller id,
    whatever else is open or rolled back. Between two segments, there is no such order.

    There are no foreign keys in the database, and rows stay when their user is deleted: whoever
    follows the changes has to learn that the user left. `forget_user` removes them.
    """

    id = models.BigAutoField(primary_key=True)
    segment = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    entered = models.BooleanField(_("entered"))
    at = models.DateTimeField(_("at"))
    refresh = models.ForeignKey(
        "segments.SegmentRefresh",
        models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )

    objects = ChangeQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=["segment", "id"], name="segments_change_segment"),)
        db_table = "segments_change"

    def __str__(self) -> str:
        return f"{self.user_id} {'entered' if self.entered else 'left'} {self.segment_id}"


class ChangeConsumer(models.Model):
    """Who follows the changes of a segment, and how far they were delivered."""

    segment = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_index=False, related_name="consumers"
    )
    name = models.CharField(_("name"), max_length=MAX_NAME)
    cursor = models.TextField(_("cursor"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    moved_at = models.DateTimeField(_("moved"), db_default=Now())

    class Meta:
        ordering = ("segment", "name")
        constraints = (
            models.UniqueConstraint(fields=["segment", "name"], name="segments_consumer_name"),
        )

    def __str__(self) -> str:
        return f"{self.name} of {self.segment_id}"
