"""The kinds of definitions, a class for each: its fields, and how it becomes SQL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from segments.definition.manager import ManagerMethod
from segments.definition.text import clean_sql
from segments.exceptions import SegmentDefinitionError

if TYPE_CHECKING:
    from segments.models import Segment


class Kind:
    """A way to define a segment.

    Attributes:
        word: Its name in the catalog and in `Segment.kind`.
        field: The field that is set on a segment of this kind; None for a segment without any.
        fields: All fields of a definition of this kind.
        error_field: The field that errors of the definition belong to.
    """

    word: ClassVar[str]
    field: ClassVar[str | None] = None
    fields: ClassVar[tuple[str, ...]] = ()
    error_field: ClassVar[str] = "definition"

    @classmethod
    def query(
        cls, connection: BaseDatabaseWrapper, segment: "Segment"
    ) -> tuple[str | None, str | None]:
        """Return the SELECT of a definition, and the text that identifies it if the SELECT varies.

        The SELECT is None if there is only a list of ids. The text is None if the SELECT is always
        the same.

        Raises:
            SegmentDefinitionError: when there is no such query.
        """
        return None, None


class StaticList(Kind):
    """Only a list of ids."""

    word = "static"


class Sql(Kind):
    """SQL that an author wrote."""

    word = "sql"
    field = "definition"
    fields = ("definition",)

    @classmethod
    def query(
        cls, connection: BaseDatabaseWrapper, segment: "Segment"
    ) -> tuple[str | None, str | None]:
        """Return the SQL, with ordinary spaces in place of characters that nobody sees."""
        return clean_sql(segment.slug, segment.definition), None


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
        """Call the method and return the SQL of its queryset, with and without its parameters."""
        model: type[Model] | None = get_user_model()
        if segment.model_id is not None:
            # Read on the application's connection: the views' owner may not read Django's tables.
            content_type = ContentType.objects.get_for_id(segment.model_id)
            model = content_type.model_class()
        if model is None:
            raise SegmentDefinitionError(
                f"the model {content_type} is not installed", slug=segment.slug, field="model"
            )
        method = ManagerMethod(segment.slug, model, segment.manager_name, segment.manager_method)
        return method.compile(connection.alias)


QUERY_KINDS: tuple[type[Kind], ...] = (Manager, Sql)
"""The kinds that have a query, in the order in which `kind_of` looks for them."""

KINDS: tuple[type[Kind], ...] = (*QUERY_KINDS, StaticList)

DEFINING_FIELDS = (*Sql.fields, *Manager.fields)
"""The fields that define a segment, besides its list of ids."""


def defining(segment: "Segment") -> dict[str, Any]:
    """Return the fields that define a segment, a model by its name."""
    fields = {name: getattr(segment, name) for name in DEFINING_FIELDS}
    return {
        name: ".".join(value.natural_key()) if isinstance(value, ContentType) else value
        for name, value in fields.items()
    }


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


@dataclass(frozen=True)
class Choice:
    """A way to define a segment, as people choose it in a form.

    Attributes:
        word: Its name in forms.
        label: What people read.
        kind: The kind of such a segment.
        listed: Whether it has a list of ids.
    """

    word: str
    label: str | Promise
    kind: type[Kind]
    listed: bool = False


CHOICES = (
    Choice("sql", _("SQL"), Sql),
    Choice("static", _("A list of users"), StaticList, listed=True),
    Choice("sql_and_list", _("SQL and a list"), Sql, listed=True),
    Choice("manager", _("A method of a model"), Manager),
    Choice("manager_and_list", _("A method and a list"), Manager, listed=True),
)
"""All ways to define a segment, the most common first."""


def choice_of(segment: "Segment", listed: bool) -> Choice:
    """Return how a segment is defined.

    Args:
        listed: Whether it has ids in its list.
    """
    kind = kind_of(segment)
    listed = listed or kind is StaticList
    return next(choice for choice in CHOICES if (choice.kind, choice.listed) == (kind, listed))
