"""The kinds of definitions, one class each: the fields that hold one, and how it becomes SQL."""

from typing import TYPE_CHECKING, ClassVar

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from segments.definition.manager import ManagerMethod
from segments.exceptions import SegmentDefinitionError

if TYPE_CHECKING:
    from segments.models import Segment


class Kind:
    """A way to say who is in a segment.

    Attributes:
        word: What the catalog and `Segment.kind` call it.
        field: The field of a segment that is set if it is of this kind; None for the kind that
            is left when none is set.
        fields: All fields that a definition of this kind consists of.
        error_field: The field beside which its errors are shown.
    """

    word: ClassVar[str]
    field: ClassVar[str | None] = None
    fields: ClassVar[tuple[str, ...]] = ()
    error_field: ClassVar[str] = "definition"

    @classmethod
    def query(
        cls, connection: BaseDatabaseWrapper, segment: "Segment"
    ) -> tuple[str | None, str | None]:
        """Return the SELECT that an author means, and what identifies it if its text varies.

        The first is None for a list of ids alone; the second is None where the text is always the
        same.

        Raises:
            SegmentDefinitionError: when there is no such query.
        """
        return None, None


class StaticList(Kind):
    """A list of ids, and nothing besides."""

    word = "static"


class Sql(Kind):
    """SQL that somebody has written."""

    word = "sql"
    field = "definition"
    fields = ("definition",)

    @classmethod
    def query(
        cls, connection: BaseDatabaseWrapper, segment: "Segment"
    ) -> tuple[str | None, str | None]:
        """Return the text as it is."""
        return segment.definition, None


class Manager(Kind):
    """A manager method of a model."""

    word = "manager"
    field = "manager_method"
    fields = ("model", "manager_name", "manager_method")
    error_field = "manager_method"

    @classmethod
    def query(
        cls, connection: BaseDatabaseWrapper, segment: "Segment"
    ) -> tuple[str | None, str | None]:
        """Call the method; return the SQL of its queryset, and that without its parameters."""
        model: type[Model] | None = get_user_model()
        if segment.model_id is not None:
            # On the application's own connection: the views' owner may read no table of Django's.
            content_type = ContentType.objects.get_for_id(segment.model_id)
            model = content_type.model_class()
        if model is None:
            raise SegmentDefinitionError(
                f"the model {content_type} is not installed", slug=segment.slug, field="model"
            )
        method = ManagerMethod(segment.slug, model, segment.manager_name, segment.manager_method)
        return method.compile(connection.alias)


QUERY_KINDS: tuple[type[Kind], ...] = (Manager, Sql)
"""The kinds that evaluate a query, in the order in which `kind_of` asks for them."""

KINDS: tuple[type[Kind], ...] = (*QUERY_KINDS, StaticList)

DEFINING_FIELDS = (*Sql.fields, *Manager.fields)
"""The fields that say who is in a segment, besides its list of ids."""


def kind_of(segment: "Segment") -> type[Kind]:
    """Return the kind of a segment's definition."""
    return next((kind for kind in QUERY_KINDS if getattr(segment, kind.field or "")), StaticList)


def check_one_kind(segment: "Segment") -> None:
    """Raise SegmentDefinitionError for a segment with more than one query."""
    if segment.definition and segment.manager_method:
        raise SegmentDefinitionError(
            "a segment has a definition in SQL or a manager method, not both",
            slug=segment.slug,
            field="manager_method",
        )
