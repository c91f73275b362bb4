"""Querysets of segments and of memberships."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.postgres.expressions import ArraySubquery
from django.db import models, transaction
from django.db.models import F, OuterRef
from django.db.models.expressions import RawSQL

from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, translated
from segments.membership.algebra import AlgebraQuerySet
from segments.membership.members import NOT_MANY, every_user
from segments.pgviews.probe import query_of_segments
from segments.refreshing.order import ordered
from segments.rows import FEED_STATE, membership_rows
from segments.sql.keys import in_words, known_keys, user_key

if TYPE_CHECKING:
    from segments.models import Membership, Segment  # noqa: F401  # For mypy.

NOT_IN_LISTS = ("definition", "last_error", "read_digest", "ids_from", *FEED_STATE)
"""What the segments of a user are loaded without: it may be long, or is for refreshes alone."""

ALL_COLUMNS = (frozenset[str](), True)
"""What Django has for a queryset that loads every field."""

USERS = "users_among_those_asked"
"""The annotation of `with_users`."""


def _without_lists(segments: "Iterable[Segment]") -> "list[Segment]":
    """Return segments; raise an error if ids were assigned to one, which only `save()` saves."""
    found = [*segments]
    for segment in found:
        if segment.unsaved_static_ids is not None:
            raise SegmentDefinitionError(
                "its list would not be saved",
                slug=segment.slug,
                field="static_ids",
                hint="Use save() or load_ids().",
            )
    return found


class _IsAnyOf(models.Func):
    """Whether a value is in an array. Unlike IN with a subquery, it can use an index."""

    arg_joiner = " = ANY("
    template = "%(expressions)s::bigint[])"
    output_field = models.BooleanField()


class SegmentQuerySet(AlgebraQuerySet["Segment"]):
    """Segments, by priority."""

    def bulk_create(self, objs: "Iterable[Segment]", *args: Any, **kwargs: Any) -> "list[Segment]":
        """Insert rows, as Django does. Their views are created by `sync_segments`.

        Raises:
            SegmentDefinitionError: when a segment has a list, which this would not save.
        """
        return super().bulk_create(_without_lists(objs), *args, **kwargs)

    def bulk_update(self, objs: "Iterable[Segment]", *args: Any, **kwargs: Any) -> int:
        """Update rows, as Django does; raise the same as `bulk_create`."""
        return super().bulk_update(_without_lists(objs), *args, **kwargs)

    def for_user(self, user: Any) -> "SegmentQuerySet":
        """Return the segments that the user was in at their last refresh, by priority.

        They are loaded without the text of their definitions and what refreshes store for later.
        Reading one of these fields costs one query more; `defer(None)` loads all of them at once.

        Args:
            user: A user or a user's primary key. Visitors are in no segment.

        Raises:
            TypeError, ValueError: when it is neither; see `segments.sql.keys.user_key`. A
                TypeError also for a queryset with a slice.
        """
        self._check_whole("for_user(user)[:3]")
        segments = self.order_by("-priority", "slug")
        chosen = segments._fields is not None  # type: ignore[attr-defined]  # By values().
        if not chosen and segments.query.deferred_loading == ALL_COLUMNS:
            segments = segments.defer(*NOT_IN_LISTS)
        key = user_key(user)
        if key is None:
            return segments.none()
        query = query_of_segments(self.db, "call_segment_ids")
        ids = RawSQL(query, (key,))  # noqa: S611  # The SQL is ours.
        return segments.filter(_IsAnyOf(F("pk"), ids))

    def for_users(self, users: Iterable[Any]) -> "dict[Any, list[Segment]]":
        """Return the segments that each of the users was in at their last refresh. One query.

        They are those of this queryset, in its order, which is by priority unless it has another.
        An instance is shared between the users who are in the segment, and lacks the text of its
        definition until that is read.

        Args:
            users: Users or primary keys. A queryset of them is evaluated, unless it was before.

        Returns:
            A list for each user by primary key, as the user model has it. It is empty for users
            who are in no segment, or were deleted; visitors are left out.

        Raises:
            SegmentExecutionError: when the database does not answer.
            TypeError, ValueError: when one is neither; see `segments.sql.keys.user_key`. A
                TypeError also for a queryset with a slice, or after `values()`.
        """
        self._check_whole("for_users(users)[key][:3]")
        if self._fields is not None:  # type: ignore[attr-defined]
            raise TypeError(
                "for_users returns segments, so it cannot follow values() or values_list(): read "
                "the fields of the segments that it returns"
            )
        keys = keys_of(users)
        by_user: dict[Any, list[Segment]] = {key: [] for key in keys}
        among = membership_rows().filter(user_id__in=keys).values("segment_id")
        rows = self.filter(pk__in=among).with_users(keys)
        if not rows.query.deferred_loading[0]:
            rows = rows.defer(*NOT_IN_LISTS)
        with translated(SegmentExecutionError):
            for segment in rows:
                for key in segment.__dict__.pop(USERS) or ():
                    by_user[key].append(segment)
        return by_user

    async def afor_users(self, users: Iterable[Any]) -> "dict[Any, list[Segment]]":
        """Return the segments of each of the users; see `for_users`."""
        return await sync_to_async(self.for_users)(users)

    def with_users(self, keys: list[Any]) -> "SegmentQuerySet":
        """Return the segments, each with those of the keys that are in it, as a list or None."""
        members = membership_rows().filter(segment_id=OuterRef("pk"), user_id__in=keys)
        existing = members.filter(user_id__in=every_user().values("pk"))
        return self.annotate(**{USERS: ArraySubquery(existing.values("user_id"))})

    def _check_whole(self, instead: str) -> None:
        if self.query.is_sliced:
            raise TypeError(
                "the segments of users are looked up among all of a queryset, so it cannot have a "
                f"slice: take that of the result, as in {instead}"
            )

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the segments and their views, in reverse order of dependency.

        Raises:
            SegmentExecutionError: when anything else reads one of them. None is deleted then.
        """
        self._for_write = True  # Otherwise self.db may be a replica.
        total, by_model = 0, dict[str, int]()
        with transaction.atomic(using=self.db):
            for segment in reversed(ordered(self)):
                count, counts = segment.delete(using=self.db)
                total += count
                for label, number in counts.items():
                    by_model[label] = by_model.get(label, 0) + number
        return total, by_model

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships."""

    def of_user(self, user: Any) -> "MembershipQuerySet":
        """Return the memberships of a user or a user's primary key.

        There are none for a visitor, or if the user was deleted, even in SQL.
        """
        key = user_key(user)
        if key is None:
            return self.none()
        return self.filter(user_id=key, user_id__in=every_user().filter(pk=key).values("pk"))


def keys_of(users: Iterable[Any]) -> list[Any]:
    """Return the primary keys of users, given by themselves or their keys; visitors have none.

    Raises:
        TypeError, ValueError: when one is neither; see `segments.sql.keys.user_key`.
    """
    if isinstance(users, NOT_MANY) or not isinstance(users, Iterable):
        raise TypeError(f"users or their keys are needed, not {in_words(users)}")
    return known_keys(users)
