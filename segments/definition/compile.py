"""Compile the row of a segment into the SELECT of its members."""

from typing import TYPE_CHECKING

from django.db.backends.base.base import BaseDatabaseWrapper

from segments.definition.kinds import StaticList, check_one_kind, kind_of
from segments.definition.select import Compiled, Definition, compile_definition
from segments.rows import static_member_rows

if TYPE_CHECKING:
    from segments.models import Segment


def compile_segment(
    connection: BaseDatabaseWrapper, segment: "Segment", known_fingerprint: str | None = None
) -> Compiled:
    """Compile the definition of a segment, saved or not. Must be called in a transaction.

    Args:
        known_fingerprint: The fingerprint of its live view. A SELECT with the same fingerprint is
            not parsed again.

    Raises:
        SegmentDefinitionError: when the definition is not valid.
    """
    return compile_definition(connection, definition_of(connection, segment), known_fingerprint)


def definition_of(connection: BaseDatabaseWrapper, segment: "Segment") -> Definition:
    """Return what is to be compiled for a segment. Calls its manager method, if it has one.

    Raises:
        SegmentDefinitionError: when there is no such definition.
    """
    check_one_kind(segment)
    kind = kind_of(segment)
    text, stable_text = kind.query(connection, segment)
    static_ids_of = _static_ids_of(connection, segment)
    return Definition(segment.slug, text, kind.error_field, stable_text, static_ids_of)


def _static_ids_of(connection: BaseDatabaseWrapper, segment: "Segment") -> int | None:
    """Return the segment whose static ids count, or None if there is no list.

    A segment that is only a list remains one when the list becomes empty.
    """
    listed: bool | None = kind_of(segment) is StaticList or segment.unsaved_static_ids is not None
    if not listed:
        listed = getattr(segment, "listed", None)  # `rows` looks it up together with the row.
    if listed is None:
        listed = static_member_rows(connection.alias).filter(segment=segment.pk).exists()
    return (segment.pk or 0) if listed else None
