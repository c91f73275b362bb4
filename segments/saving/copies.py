"""Segments that are copies of another one: of its members, of its definition, or of a part."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain, count
from typing import TYPE_CHECKING, Any, cast

from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.definition.derive import sampled
from segments.definition.kinds import StaticList, kind_of
from segments.definition.static_ids import SelectedIds
from segments.exceptions import SegmentExecutionError
from segments.membership.given import check_populated
from segments.rows import STATE, locked, segment_rows, static_member_rows, write_alias
from segments.sql import names
from segments.sql.owned import STATIC_MEMBER
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment

NOT_COPIED = {"slug", "name", *STATE}
"""The fields that a clone has of its own, besides its key and its times."""


class CopiesMixin(models.Model):
    """The methods of `Segment` that create another segment from it, as it is in the database.

    The ids of users do not pass through Python. Each method locks the segment: refreshes of it
    are left out until the transaction ends. On any failure nothing is saved.
    """

    class Meta:
        abstract = True

    def freeze(self, slug: str, name: str | None = None) -> "Segment":
        """Create a list of the members that the segment had at its last refresh.

        The list never changes by itself, whatever becomes of this segment. Its description has
        the time of that refresh. Users who were deleted since are left out.

        Args:
            slug, name: Of the new segment. Without a name, it is this one's with the date.

        Raises:
            SegmentDefinitionError: when the slug is not valid, or another segment has it.
            SegmentExecutionError: when the segment was never populated, or was deleted.
            SegmentLockedError: when another session locks the segment for too long.
        """
        with _source(self) as (connection, row):
            check_populated([row], "freeze")
            moment = cast(datetime, row.refreshed_at).astimezone(UTC)
            copy = _new(row, slug, name, f"{moment:%Y-%m-%d}")
            copy.description = f"{row.slug} at its refresh of {moment:%Y-%m-%d %H:%M} UTC"
            members = compose("define_members", view=names.members_view(row.slug))
            copy.unsaved_static_ids = SelectedIds(members)
            copy.save(using=connection.alias)
        return copy

    def clone(self, slug: str, name: str | None = None) -> "Segment":
        """Create a segment with the same definition, list of ids and settings.

        Args:
            slug, name: Of the new segment. Without a name, it is this one's with "copy".

        Raises:
            SegmentDefinitionError: when the slug is not valid, or another segment has it, or the
                definition is no longer valid.
            SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
            SegmentLockedError: when another session locks the segment for too long.
        """
        with _source(self) as (connection, row):
            copy = _new(row, slug, name, "copy")
            for field in row._meta.concrete_fields:
                if field.editable and not field.primary_key and field.name not in NOT_COPIED:
                    setattr(copy, field.attname, getattr(row, field.attname))
            listed = static_member_rows(connection.alias).filter(segment=row.pk)
            if kind_of(row) is StaticList or listed.exists():
                ids = compose(
                    "select_listed_ids",
                    static=sql.Identifier(STATIC_MEMBER),
                    segment=sql.Literal(row.pk),
                )
                copy.unsaved_static_ids = SelectedIds(ids)
            copy.allow_cost = cast("Segment", self).allow_cost
            copy.save(using=connection.alias)
        return copy

    def sample(
        self, slug: str, percent: float | Decimal = 10, seed: int = 7, name: str | None = None
    ) -> "Segment":
        """Create a segment of a part of the users in this one, which follows its refreshes.

        Whether a user is in the part depends on the user's key, the seed and the percentage. So
        the same users stay in it as the segment grows, those of 10 % are among those of 20 %, and
        the parts of two seeds are independent.

        Args:
            slug, name: Of the new segment. Without a name, it is this one's with the percentage.
            percent: Above 0, and at most 100. May have decimals.
            seed: Any whole number.

        Raises:
            SegmentDefinitionError: also a ValueError; when there is no such part, the slug is not
                valid, or another segment has it.
            SegmentExecutionError: when the segment was never populated, or was deleted.
            SegmentLockedError: when another session locks the segment for too long.
        """
        with _source(self) as (connection, row):
            check_populated([row], "sample")
            copy = _new(row, slug, name, f"{percent} %")
            copy.definition = sampled(row.slug, percent, seed)
            copy.save(using=connection.alias)
        return copy


@contextmanager
def _source(instance: models.Model) -> "Iterator[tuple[BaseDatabaseWrapper, Segment]]":
    """Lock the segment that is copied; yield the connection and its current row."""
    segment = cast("Segment", instance)
    if segment.pk is None:
        raise SegmentExecutionError("it is not saved yet", slug=segment.slug)
    using = router.db_for_write(type(segment), instance=segment)
    with locked(using, segment.pk, segment.slug, translate=False) as (connection, row):
        if row is None:
            raise SegmentExecutionError("it has been deleted", slug=segment.slug)
        yield connection, row


def _new(row: "Segment", slug: str, name: str | None, remark: str) -> "Segment":
    """Return an unsaved segment. Without a name it has that of the source, with a remark."""
    return type(row)(slug=slug, name=_free_name(row, remark) if name is None else name)


def _free_name(row: "Segment", remark: str) -> str:
    """Return a name that no segment has: with a remark, and a number if that is taken."""
    field: Any = row._meta.get_field("name")
    numbers = chain([""], (f", {number}" for number in count(2)))
    ends = (f" ({remark}{number})" for number in numbers)
    candidates = (row.name[: field.max_length - len(end)] + end for end in ends)
    rows = segment_rows(write_alias())
    return next(name for name in candidates if not rows.filter(name=name).exists())
