"""What a segment knows of its definition besides its fields."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, models, transaction

from segments.definition.kinds import kind_of
from segments.definition.static_ids import StaticIds, UnreadIds, checked
from segments.rows import static_member_rows


class WrittenIds:
    """Static ids that were saved in a transaction which may still be rolled back.

    Attributes:
        ids: The ids; None once they are committed, and if they can be read only once.
    """

    def __init__(self, ids: StaticIds, using: str) -> None:
        open_ = connections[using].in_atomic_block
        self.ids = ids if open_ and not isinstance(ids, UnreadIds) else None
        if self.ids is not None:
            transaction.on_commit(self._commit, using=using)

    def __reduce__(self) -> Any:
        return type(None), ()  # A copy of a segment has saved nothing.

    def lost(self, using: str) -> StaticIds | None:
        """Return the ids if they were rolled back, to a savepoint or all."""
        callbacks = (entry[1] for entry in connections[using].run_on_commit)
        if any(getattr(callback, "__self__", None) is self for callback in callbacks):
            return None
        return self.ids

    def _commit(self) -> None:
        self.ids = None


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
    _written_ids: WrittenIds | None = None

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

    @contextmanager
    def saving_ids(self, using: str, fields: Collection[str] | None) -> Iterator[None]:
        """Save the ids that were assigned in the block, which saves these fields; None means all.

        If they were saved before in a transaction that was rolled back, they are saved again.
        """
        lost = self._written_ids.lost(using) if self._written_ids else None
        if lost is not None and self.unsaved_static_ids is None:
            self.unsaved_static_ids = lost
        ids, chosen = self.unsaved_static_ids, fields is None or "static_ids" in fields
        if not chosen:
            self.unsaved_static_ids = None
        try:
            yield
            self.discard_unsaved()
        finally:
            if not chosen:
                self.unsaved_static_ids = ids
        if chosen and ids is not None:
            self._written_ids = WrittenIds(ids, using)

    def forget_written_ids(self) -> None:
        """Save no ids again that were rolled back, since the list has others by now."""
        self._written_ids = None

    def discard_unsaved(self) -> None:
        """Forget the static ids that were assigned, and what was allowed for one save."""
        self.unsaved_static_ids, self._allow_cost, self.rewrite_readers = None, False, False

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Reload the fields, and discard static ids that were assigned and not saved."""
        super().refresh_from_db(*args, **kwargs)
        # Django loads a deferred field like this, too.
        if kwargs.get("fields", args[1] if len(args) > 1 else None) is None:
            self.unsaved_static_ids = self._written_ids = None
