"""What a segment knows of its definition besides its fields."""

from typing import Any

from django.db import models

from segments.definition.kinds import kind_of
from segments.definition.static_ids import StaticIds, checked
from segments.rows import static_member_rows


class DefinitionMixin(models.Model):
    """The kind of a segment, its list of ids, and what the next `save()` is to do with them."""

    unsaved_static_ids: StaticIds | None = None
    """The static ids that were assigned and are not saved yet."""

    rewrite_readers = False
    """Whether the next `save()` with another slug rewrites the definitions that read this segment.

    As `rename(slug, rewrite=True)` does. Not stored.
    """

    slug: Any

    _allow_cost = False

    class Meta:
        abstract = True

    @property
    def kind(self) -> str:
        """`sql`, `manager` or `static`."""
        return kind_of(self).word  # type: ignore[arg-type]

    @property
    def static_ids(self) -> StaticIds:
        """The ids that are in the segment whatever its definition says, one a line.

        Takes text or an iterable of ids or users, which `save()` streams into the database. Until
        then, this is what was assigned; bytes are read as text in UTF-8, and an iterator is read
        into a tuple.
        """
        if self.unsaved_static_ids is not None:
            return self.unsaved_static_ids
        stored = static_member_rows().filter(segment_id=self.pk).order_by("user_id")
        return "\n".join(map(str, stored.values_list("user_id", flat=True).iterator()))

    @static_ids.setter
    def static_ids(self, ids: StaticIds | bytes | None) -> None:
        self.unsaved_static_ids = None if ids is None else checked(ids, self.slug)

    @property
    def allow_cost(self) -> bool:
        """Whether the next `save()` takes a definition above `SEGMENTS_MAX_COST`; not stored."""
        return self._allow_cost

    @allow_cost.setter
    def allow_cost(self, allow: bool) -> None:
        self._allow_cost = allow

    def discard_unsaved(self) -> None:
        """Forget the static ids that were assigned, and what was allowed for one save."""
        self.unsaved_static_ids, self._allow_cost, self.rewrite_readers = None, False, False

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Reload the fields, and discard static ids that were assigned and not saved."""
        super().refresh_from_db(*args, **kwargs)
        # Django loads a deferred field like this, too.
        if kwargs.get("fields", args[1] if len(args) > 1 else None) is None:
            self.unsaved_static_ids = None
