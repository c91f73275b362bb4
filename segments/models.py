"""The models: the segment itself, and the tables of the rooms below."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, router
from django.db.models.functions import Replace
from django.utils.translation import gettext_lazy as _

from segments import refresh as refresh_module
from segments import saving
from segments.changes.mixin import ChangesMixin
from segments.changes.models import ChangeConsumer as ChangeConsumer
from segments.changes.models import SegmentChange as SegmentChange
from segments.definition.mixin import DefinitionMixin
from segments.exceptions import SegmentDefinitionError, SegmentError
from segments.lists.mixin import ListsMixin
from segments.lists.models import StaticMember as StaticMember
from segments.membership.asynchronous import AsyncMixin
from segments.membership.models import Membership as Membership
from segments.membership.querysets import SegmentQuerySet as SegmentQuerySet
from segments.pgviews.comments import Label
from segments.refreshing.durations import SecondsField
from segments.refreshing.history import RefreshResult
from segments.refreshing.many import refresh_with_dependents
from segments.refreshing.models import SegmentRefresh as SegmentRefresh
from segments.rows import Status as Status
from segments.saving.copies import CopiesMixin
from segments.saving.models import ListChange as ListChange
from segments.saving.models import SegmentVersion as SegmentVersion
from segments.sql import names
from segments.sync.usage import Usage, usage_of
from segments.users import SegmentMixin as SegmentMixin
from segments.validation.checks import validate
from segments.validation.checks import validate_slug as validate_slug
from segments.validation.preview import Preview, preview


class Segment(AsyncMixin, ChangesMixin, DefinitionMixin, ListsMixin, CopiesMixin):
    """A named set of users.

    Its definition is SQL, a list of ids (`static_ids`), SQL and a list, or a manager method. Its
    members are in a materialized view. `save()` and `delete()` change the views as well.
    """

    Status = Status

    name = models.CharField(_("name"), max_length=255)
    slug = models.CharField(
        _("slug"),
        max_length=names.MAX_BYTES,
        unique=True,
        validators=[validate_slug],
        help_text=_(
            "Names the segment in code, and its view: a-z, digits, hyphens and underscores."
        ),
    )
    description = models.TextField(_("description"), blank=True)
    definition = models.TextField(
        _("definition"), blank=True, help_text=_("One SELECT that returns user ids.")
    )
    model = models.ForeignKey(
        ContentType,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("model"),
        help_text=_("The model that has the manager. Empty means the user model."),
    )
    manager_name = models.CharField(_("manager"), max_length=100, default="objects", blank=True)
    manager_method = models.CharField(
        _("manager method"),
        max_length=100,
        blank=True,
        help_text=_("Takes no arguments and returns a queryset of users, or of their ids."),
    )
    priority = models.IntegerField(
        _("priority"), default=0, help_text=_("Segments with a higher priority come first.")
    )
    refresh_every = SecondsField(
        _("refresh every"),
        null=True,
        blank=True,
        help_text=_("The time between scheduled refreshes, such as 1 06:00:00 for 30 hours."),
    )
    timeout = SecondsField(
        _("timeout"),
        null=True,
        blank=True,
        validators=[MinValueValidator(timedelta(milliseconds=1))],
        help_text=_(
            "How long its queries may run, such as 00:05:00. Empty means the setting's value."
        ),
    )
    max_loss = models.PositiveSmallIntegerField(
        _("largest loss"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_(
            "How many percent of its members one refresh may remove; a refresh that would remove "
            "more is refused. Empty means the setting's value, and 100 means no limit."
        ),
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_("Inactive segments are skipped by bulk refreshes and keep their members."),
    )
    track_changes = models.BooleanField(
        _("track changes"),
        default=True,
        db_default=True,
        help_text=_("Each refresh writes who entered and who left."),
    )
    members_count = models.BigIntegerField(_("members"), null=True, editable=False)
    refreshed_at = models.DateTimeField(_("refreshed"), null=True, editable=False)
    status = models.CharField(
        _("status"),
        max_length=20,
        choices=[choice for choice in Status.choices if choice[0] != Status.UNCHANGED],
        default=Status.UNPOPULATED,
        editable=False,
    )
    last_error = models.TextField(_("last error"), blank=True, editable=False)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    # When the last refresh started, successful or not; None makes the segment due.
    attempted_at = models.DateTimeField(_("attempted"), null=True, editable=False)
    # The digest of what the last refresh read; see refreshing/unchanged.py. Empty if unknown.
    read_digest = models.CharField(max_length=32, default="", editable=False)
    # The column that the members of the last refresh came from; see definition/origins.py.
    ids_from = models.TextField(_("ids from"), default="", blank=True, editable=False)
    # From where on its changes are complete: None while they are not tracked; and the last id and
    # time of those that were deleted for their age.
    tracked_since = models.DateTimeField(null=True, editable=False)
    changes_kept_after = models.BigIntegerField(default=0, db_default=0, editable=False)
    changes_kept_from = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    objects = SegmentQuerySet.as_manager()

    class Meta:
        ordering = ("-priority", "slug")
        constraints = (
            models.UniqueConstraint(
                Replace("slug", models.Value("-"), models.Value("_")),
                name="segments_segment_view_name",
                violation_error_message=_(
                    "Another segment has this slug. Hyphens and underscores count as the same."
                ),
            ),
        )
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        permissions = (
            ("change_definition", _("Can write definitions of segments")),
            ("refresh_segment", _("Can refresh segments")),
            ("view_members", _("Can see the members of segments")),
        )

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        """Return the number of members at the last refresh; see `count_members`."""
        return self.count_members()

    def __bool__(self) -> bool:
        return True  # Even without members.

    @property
    def label(self) -> Label:
        """The words of the segment that are in the comments on its views."""
        return Label(self.slug, self.name, self.description)

    def clean(self) -> None:
        """Validate the definition by evaluating it once, in a transaction that is rolled back."""
        super().clean()
        try:
            names.check_slug(self.slug)
        except SegmentDefinitionError:
            return  # The field's own validator reports it.
        try:
            validate(self)
        except SegmentError as error:
            raise ValidationError(str(error), code=error.field) from error

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Put the error of the only constraint, that of similar slugs, on the slug."""
        try:
            super().validate_constraints(exclude)
        except ValidationError as error:
            raise ValidationError({"slug": error.messages}) from error

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the segment and change its views, in one transaction.

        A new segment is refreshed at once; a segment with a changed definition is refreshed if
        `SEGMENTS_REFRESH_ON_SAVE` is on. On any failure nothing is saved, no view is changed, and
        a surrounding transaction stays usable. Waits up to `SEGMENTS_LOCK_TIMEOUT` for a running
        refresh of this segment.

        With `update_fields`, the list is saved only if `static_ids` is among them. If the
        transaction is rolled back, the next call saves the list that this one has.

        Raises:
            SegmentDefinitionError: when the definition, a static id or the slug is not valid.
            SegmentExecutionError: when Postgres cannot evaluate the definition.
            SegmentLockedError: when another session locks the segment for too long.
        """
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        key, adding = self.pk, self._state.adding
        fields = kwargs.get("update_fields")
        if fields is not None:
            kwargs["update_fields"] = [name for name in fields if name != "static_ids"]
        try:
            with self.saving_ids(using, fields), saving.saved(self, using, self.rewrite_readers):
                super().save(*args, **{**kwargs, "using": using})
        except BaseException:
            if adding:  # No row was saved, so the instance is new again.
                self.pk, self._state.adding = key, True
            raise

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the segment, its memberships and its views.

        Raises:
            SegmentExecutionError: when other segments or views read it. Nothing is deleted then.
        """
        using = using or router.db_for_write(type(self), instance=self)
        key = self.pk
        try:
            with saving.deleted(self, using):
                return super().delete(using=using, keep_parents=keep_parents)
        except BaseException:
            self.pk = key  # Django has reset it, but the row still exists.
            raise

    def rename(self, slug: str, *, rewrite: bool = False) -> None:
        """Save another slug; see `segments.saving.rename`."""
        saving.rename(self, slug, rewrite)

    def preview(self, limit: int = 10) -> Preview:
        """Return a preview of the segment, saved or not; see `segments.validation.preview`."""
        return preview(self, limit)

    def used_by(self) -> Usage:
        """Return what uses the segment; see `segments.sync.usage`."""
        return usage_of(self)

    def refresh(
        self,
        concurrently: bool = True,
        *,
        with_dependents: bool = False,
        force: bool = False,
        accept_loss: bool = False,
    ) -> RefreshResult:
        """Recompute the members; see `segments.refresh.refresh`.

        Args:
            with_dependents: Also refresh the active segments that read this one, directly or
                indirectly. Their results are in `dependents` of the result.
            force: Recompute the members even if nothing was written since the last refresh.
            accept_loss: Remove as many members as it takes, whatever `max_loss` says.
        """
        options = {"force": force, "accept_loss": accept_loss}
        if with_dependents:
            return refresh_with_dependents(self, concurrently, **options)
        return refresh_module.refresh(self, concurrently, **options)
