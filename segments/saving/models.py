"""The tables of versions: what segments were before each change, and how their lists changed."""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from segments.saving import diffs, versions

if TYPE_CHECKING:
    from segments.models import Segment


class SegmentVersion(models.Model):
    """What defined a segment until a change of its definition, list, model or method.

    Attributes:
        segment: The segment.
        replaced_at, replaced_by: When it was replaced by the next version, and by whom, if known.
        fields: The fields that define a segment, by name.
        ids_count: How many ids were in its list.
        ids_added, ids_removed: How many ids the change has added to the list, and removed.
        members_before: How many members the segment had when it was replaced.
        members_after, entered, left: What the refresh that followed the change resulted in; None
            before that, and if the next change came earlier.
    """

    segment: Any = models.ForeignKey(
        "segments.Segment", models.CASCADE, db_index=False, related_name="versions"
    )
    replaced_at = models.DateTimeField(_("replaced"), auto_now_add=True)
    # Without a constraint in the database, so that users can be deleted there.
    replaced_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("replaced by"),
    )
    fields = models.JSONField(_("fields"))
    ids_count = models.BigIntegerField(_("ids"), default=0)
    ids_added = models.BigIntegerField(_("ids added"), default=0)
    ids_removed = models.BigIntegerField(_("ids removed"), default=0)
    members_before = models.BigIntegerField(_("members before"), null=True)
    members_after = models.BigIntegerField(_("members after"), null=True)
    entered = models.BigIntegerField(_("entered"), null=True)
    left = models.BigIntegerField(_("left"), null=True)

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["segment", "-id"], name="segments_version_segment"),)
        verbose_name = _("version")
        verbose_name_plural = _("versions")

    def __str__(self) -> str:
        return f"{self.segment} until {self.replaced_at:%Y-%m-%d %H:%M}"

    @property
    def text(self) -> str:
        """The definition, and a line for each other field that is set and for the list."""
        return diffs.text(self.fields, self.ids_count)

    def diff(self, other: "SegmentVersion | None" = None) -> str:
        """Return how the text of another version differs from this one, as a unified diff.

        Args:
            other: A later or an earlier version of the same segment; None means what defines the
                segment now.

        Raises:
            ValueError: for a version of another segment.
        """
        return diffs.diff(self, other)

    def restore(self, *, allow_cost: bool = False) -> "Segment":
        """Save this version as a new change, and return the segment; see `versions.restore`."""
        return versions.restore(self, allow_cost)


class ListChange(models.Model):
    """A user whom a change has added to the list of ids, or removed from it."""

    pk = models.CompositePrimaryKey("version_id", "user_id")
    version = models.ForeignKey(
        SegmentVersion, models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_constraint=False, related_name="+"
    )
    added = models.BooleanField(_("added"))

    def __str__(self) -> str:
        return f"{'+' if self.added else '-'}{self.user_id}"
