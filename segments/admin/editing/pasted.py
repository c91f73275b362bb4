"""What a form changes in a list of ids that it does not carry."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from segments.definition.static_ids import BATCH
from segments.definition.text import strip_blanks
from segments.rows import static_member_rows
from segments.sql import keys

ADD, REMOVE, REPLACE = "add", "remove", "replace"

MODES = (
    (ADD, _("Add these users")),
    (REMOVE, _("Remove these users")),
    (REPLACE, _("Replace the whole list")),
)
"""What becomes of the ids in the list when others are pasted."""


class PastedIds:
    """The ids of a list after some were pasted, in any number of passes over constant memory.

    Args:
        segment: The key of the segment; None if it is new.
        text: The pasted ids, one a line.
        mode: What becomes of the ids in the list, as in `MODES`.

    Raises:
        ValidationError: when ids are to be removed, and a line is none.
    """

    def __init__(self, segment: int | None, text: str, mode: str) -> None:
        self.segment, self.mode = segment, mode
        self.lines = [strip_blanks(line) for line in text.split("\n")]
        self.removed = [*_keys(self.lines)] if mode == REMOVE else []

    def __iter__(self) -> Iterator[Any]:
        """Yield the pasted ids first, so that their numbers in messages are those of the lines."""
        if self.mode != REMOVE:
            yield from self.lines
        if self.mode == REPLACE or self.segment is None:
            return
        stored = _stored(self.segment).exclude(user__in=self.removed)
        yield from stored.values_list("user_id", flat=True).iterator(BATCH)


def _keys(lines: list[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        try:
            if line:
                yield keys.cast_key(line)
        except ValueError as error:
            text = _("line %(number)d: %(reason)s") % {"number": number, "reason": error}
            raise ValidationError(text) from error


def list_size(segment: Any) -> int:
    """Return how many ids the list of a saved segment has."""
    return static_member_rows().filter(segment_id=segment.pk).count() if segment.pk else 0


def _stored(segment: int) -> Any:
    """Return the rows of a list whose users still exist."""
    users = get_user_model()._base_manager.all()
    return static_member_rows().filter(segment_id=segment, user__in=users)
