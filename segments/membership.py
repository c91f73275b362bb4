"""Asking a segment: is a user in it, which users are?"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import django.db
from django.contrib.auth import get_user_model
from django.db import models, router

from segments.exceptions import SegmentExecutionError, from_driver, translated
from segments.sql import members, session, view_models


def key_of(user: Any) -> Any:
    """Return the primary key of a user; anything else is taken for such a key."""
    return getattr(user, "pk", user)


def existing_keys(**lookups: Any) -> "models.QuerySet[Any, Any]":
    """Return the keys of the rows in the table of users, as a query for others to be made with."""
    return get_user_model()._base_manager.filter(**lookups).values("pk")


class HasMembers(models.Model):
    """What `Segment` answers about its members.

    Reads follow the database routers, so one may send them to a streaming replica.
    """

    slug: Any
    refreshed_at: Any

    class Meta:
        abstract = True

    @property
    def view(self) -> type[view_models.SegmentView]:
        """The materialized view as a Django model with the one field `user`."""
        return view_models.segment_view(self.slug)

    @property
    def view_as_read(self) -> type[view_models.SegmentView]:
        """The view that answers: the live one as long as the segment was never populated."""
        return view_models.segment_view(self.slug, live=self.refreshed_at is None)

    @property
    def members(self) -> "models.QuerySet[Any]":
        """The users in the segment as of its last refresh; a queryset of the user model."""
        return _users_in(self.view_as_read)

    @property
    def members_live(self) -> "models.QuerySet[Any]":
        """The users in the segment now. Evaluates the definition as part of each query."""
        return _users_in(view_models.segment_view(self.slug, live=True))

    def count_members(self) -> int:
        """Return the number of members as of the last refresh, without users deleted since.

        One count over the view and the keys of users.
        """
        with translated(SegmentExecutionError, self.slug):
            return self._of_existing(self._rows).count()

    def member_ids(self) -> Iterator[Any]:
        """Stream the primary keys of the members from a server-side cursor, in constant memory."""
        with translated(SegmentExecutionError, self.slug):
            keys = self._of_existing(self._rows).values_list("user_id", flat=True)
            yield from keys.iterator(chunk_size=10_000)

    def has_member(self, user: Any) -> bool:
        """Return whether the user is in the segment as of its last refresh. One query.

        A segment that was never populated answers from its live view.

        Args:
            user: A user or the primary key of one; one without a key is in no segment. A key
                whose user was deleted since the refresh is in none at once; an instance that is
                still in memory then gets the answer of the refresh.

        Raises:
            SegmentExecutionError: when the database does not answer.
        """
        key = key_of(user)
        if key is None:
            return False
        if self.refreshed_at is None:
            return self.has_member_live(key)
        try:
            # An instance was loaded, so there was such a user; a bare key may be anybody's.
            exists = isinstance(user, models.Model)
            return members.is_member(self._read_from, self.slug, key, exists=exists)
        except django.db.Error as error:
            raise from_driver(error, SegmentExecutionError, self.slug) from error

    def has_member_live(self, user: Any) -> bool:
        """Return whether the user is in the segment now.

        Evaluates the definition for this user, under `SEGMENTS_STATEMENT_TIMEOUT`. Costs whatever
        Postgres needs for that, and four round trips.
        """
        key = key_of(user)
        if key is None:
            return False
        with (
            translated(SegmentExecutionError, self.slug),
            session.limited(self._read_from, self.slug, writes=False),
        ):
            return members.is_member(self._read_from, self.slug, key, live=True)

    def has_members(self, users: Iterable[Any]) -> set[Any]:
        """Return the primary keys of those users that are in the segment. One query.

        Args:
            users: Users, primary keys or a queryset of users, which is not fetched.
        """
        if isinstance(users, models.QuerySet):
            if users._fields is None:  # type: ignore[attr-defined]  # values() was not called
                rows = self._rows.filter(user_id__in=users.values("pk"))
            else:
                rows = self._of_existing(self._rows.filter(user_id__in=users))
            with translated(SegmentExecutionError, self.slug):
                return set(rows.values_list("user_id", flat=True))
        wanted = [key for key in map(key_of, users) if key is not None]
        with translated(SegmentExecutionError, self.slug):
            return members.among(self._read_from, self.slug, wanted, self.refreshed_at is None)

    @property
    def _rows(self) -> "models.QuerySet[Any]":
        """The rows of the view that answers."""
        return self.view_as_read.objects.using(self._read_from)

    def _of_existing(self, rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        """Leave out users that were deleted since the last refresh; a live view has none."""
        return rows if self.refreshed_at is None else rows.filter(user_id__in=existing_keys())

    @property
    def _read_from(self) -> str:
        return router.db_for_read(type(self))


def _users_in(view: type[view_models.SegmentView]) -> "models.QuerySet[Any]":
    users = get_user_model()._default_manager
    return cast("models.QuerySet[Any]", users.filter(pk__in=view.objects.values("user_id")))
