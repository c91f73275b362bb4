"""What uses a segment: other segments, views of others, and rows of the project's models."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.pgviews import views
from segments.rows import slugs_by_view
from segments.sql import names
from segments.sql.session import fetch_all

if TYPE_CHECKING:
    from segments.models import Segment


@dataclass(frozen=True)
class ForeignView:
    """A view that this package has not created.

    Attributes:
        name: Its name, with its schema unless that is on the search path.
        owner: The role that owns it.
    """

    name: str
    owner: str


@dataclass(frozen=True)
class PointingRows:
    """Rows of a model that point to a segment.

    Attributes:
        field: The field that points: `shop.Offer.segment`.
        count: How many rows.
    """

    field: str
    count: int


@dataclass(frozen=True)
class Usage:
    """What uses a segment. It is false if nothing does.

    Attributes:
        segments: The slugs of the segments that read it, directly or through other views.
        views: The views of others that read it, directly or through other views.
        rows: The rows of the project's models that point to it, by field.
    """

    segments: tuple[str, ...] = ()
    views: tuple[ForeignView, ...] = ()
    rows: tuple[PointingRows, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.segments or self.views or self.rows)


def usage_of(segment: "Segment") -> Usage:
    """Return what uses a segment, as the database and the models know.

    Neither knows what functions, programs and generic foreign keys read. Costs one query of
    Postgres' catalog, and one for each field that points to segments. Locks nothing.

    Raises:
        SegmentExecutionError: when the segment is not saved yet, or the database does not answer.
    """
    if segment.pk is None:
        raise SegmentExecutionError("it is not saved yet", slug=segment.slug)
    with translated(SegmentExecutionError, segment.slug):
        slugs, foreign = _readers(segment.slug)
        return Usage(slugs, foreign, tuple(_pointing(segment)))


def _readers(slug: str) -> tuple[tuple[str, ...], tuple[ForeignView, ...]]:
    connection, own_name = connections[conf.exec_connection()], names.view_name(slug)
    current = views.state(connection, slug)
    if not current.ours:
        return (), ()
    # The members' view reads the live one, so this finds the readers of both.
    view = names.live_view(slug) if current.live else names.members_view(slug)
    rows = fetch_all(connection, "select_using", table=view.as_string(), column=None)
    slug_of = slugs_by_view()
    segments = {slug_of.get(name, name) for name, _, live, _, _ in rows if live}
    foreign = {ForeignView(view, owner) for _, view, _, own, owner in rows if not own}
    others = segments - {slug_of.get(own_name, own_name)}
    return tuple(sorted(others)), tuple(sorted(foreign, key=lambda found: found.name))


def _pointing(segment: "Segment") -> Iterator[PointingRows]:
    """Yield the rows that point to a segment, except those of this package."""
    own = segment._meta.app_label
    for relation in segment._meta.get_fields(include_hidden=True):
        if not relation.auto_created or relation.concrete:
            continue
        field: Any = relation.remote_field
        model = field.model
        # The rows between two models count with the field that has created them.
        if model._meta.app_label == own or model._meta.auto_created:
            continue
        count = model._base_manager.filter(**{field.name: segment}).count()
        if count:
            yield PointingRows(f"{model._meta.label}.{field.name}", count)
