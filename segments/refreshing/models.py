"""The table of refreshes."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from segments.rows import Status


class SegmentRefresh(models.Model):
    """A refresh of a segment, and its result."""

    segment = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_index=False, related_name="refreshes"
    )
    started_at = models.DateTimeField(_("started"))
    duration = models.DurationField(_("duration"))
    status = models.CharField(
        _("status"),
        max_length=20,
        choices=[choice for choice in Status.choices if choice[0] != Status.OUTDATED],
    )
    members_count = models.BigIntegerField(_("members"), null=True)
    added = models.BigIntegerField(_("added"), null=True)
    removed = models.BigIntegerField(_("removed"), null=True)
    error = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ("-started_at",)
        get_latest_by = "started_at"
        indexes = (
            models.Index(fields=["segment", "-started_at"], name="segments_refresh_started"),
        )

    def __str__(self) -> str:
        return f"{self.segment} {self.started_at:%Y-%m-%d %H:%M} {self.status}"
