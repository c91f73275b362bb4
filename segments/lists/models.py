"""The table of static ids."""

from django.conf import settings
from django.db import models


class StaticMember(models.Model):
    """A user in a segment's list of ids, who is in the segment in any case."""

    pk = models.CompositePrimaryKey("segment_id", "user_id")
    segment = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_constraint=False, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.user_id} in {self.segment_id}"
