"""From a segment's row to the SELECT of its members."""

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from segments.exceptions import SegmentDefinitionError
from segments.models import Segment, StaticMember
from segments.sql.definition import Compiled, Source, compile_source
from segments.sql.queryset import QuerySource


def compile_segment(
    connection: BaseDatabaseWrapper, segment: Segment, known: str | None = None
) -> Compiled:
    """Compile what a segment is defined by, saved or not. Must be called in a transaction.

    Args:
        known: The fingerprint of its live view; what gives the same needs no second look.

    Raises:
        SegmentDefinitionError: when it is not valid.
    """
    if segment.definition and segment.manager_method:
        raise SegmentDefinitionError(
            "a segment has a definition in SQL or a manager method, not both",
            slug=segment.slug,
            field="manager_method",
        )
    static_of = _static_of(connection, segment)
    if segment.kind != "manager":
        definition = segment.definition or None
        source = Source(segment.slug, definition, static_of=static_of)
        return compile_source(connection, source, known)
    model: type[Model] | None = get_user_model()
    if segment.model_id is not None:
        # By the application's own connection: that of the views may read no table of Django's.
        kind = ContentType.objects.get_for_id(segment.model_id)
        model = kind.model_class()
    if model is None:
        raise SegmentDefinitionError(
            f"the model {kind} is not installed", slug=segment.slug, field="model"
        )
    query = QuerySource(segment.slug, model, segment.manager_name, segment.manager_method)
    text, shape = query.compile(connection.alias)
    source = Source(segment.slug, text, "manager_method", shape, static_of)
    return compile_source(connection, source, known)


def _static_of(connection: BaseDatabaseWrapper, segment: Segment) -> int | None:
    """Return the segment whose static ids count, or None where there is no list.

    A segment that is no more than a list stays defined by it when the list has become empty.
    """
    listed: bool | None = segment.kind == "static" or segment.unsaved_static_ids is not None
    if not listed:
        listed = getattr(segment, "listed", None)  # As `locking` has looked up with the row.
    if listed is None:
        rows = StaticMember.objects.using(connection.alias).filter(segment=segment.pk)
        listed = rows.exists()
    return (segment.pk or 0) if listed else None
