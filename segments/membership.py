"""Ask a segment: is a user in it, and which users are?"""

from collections.abc import Iterable, Iterator
from typing import Any

import django.db
from django.contrib.auth import get_user_model
from django.db import models, router
from django.db.models.expressions import RawSQL

from segments.exceptions import SegmentExecutionError, from_driver, translated
from segments.pgviews import probe
from segments.pgviews.members import check, is_live_member, live_query, members_among
from segments.pgviews.models import SegmentView, segment_view
from segments.rows import segment_rows
from segments.sql import names, session


def user_key(user: Any) -> Any:
    """Return the primary key of a user. Anything else is a key already."""
    return getattr(user, "pk", user)


def existing_keys(**lookups: Any) -> "models.QuerySet[Any, Any]":
    """Return the keys in the table of users, as a queryset for use in other queries."""
    return get_user_model()._base_manager.filter(**lookups).values("pk")


class MembersMixin(models.Model):
    """The methods of `Segment` that ask about its members.

    Reads follow the database routers, which may send them to a streaming replica. If the segment
    was renamed since it was loaded, `has_member` goes by its current slug, and the others raise an
    error. No method answers for another segment that has the slug now.
    """

    slug: Any
    refreshed_at: Any
    timeout: Any

    class Meta:
        abstract = True

    @property
    def view(self) -> type[SegmentView]:
        """The materialized view, as a Django model with the single field `user`."""
        return segment_view(self.slug)

    @property
    def members(self) -> "models.QuerySet[Any]":
        """The users in the segment at its last refresh, as a queryset of the user model.

        Until the first refresh, these are the live members.
        """
        if self.refreshed_at is None:
            return self.members_live
        return _users().filter(pk__in=self._rows().values("user_id"))

    @property
    def members_live(self) -> "models.QuerySet[Any]":
        """The users who are currently in the segment. Each query evaluates the definition."""
        query = live_query(self.pk, self.slug)
        return _users().filter(pk__in=RawSQL(query, ()))  # noqa: S611  # The SQL is ours.

    def count_members(self) -> int:
        """Return the number of members at the last refresh, without users deleted since.

        Costs one count over the view and the keys of users.
        """
        with translated(SegmentExecutionError, self.slug):
            return self._ids().count()

    def member_ids(self) -> Iterator[Any]:
        """Stream the primary keys of the members from a server-side cursor, in constant memory."""
        with translated(SegmentExecutionError, self.slug):
            yield from self._ids().iterator(chunk_size=10_000)

    def has_member(self, user: Any) -> bool:
        """Return whether the user was in the segment at its last refresh. One query.

        A segment that was never populated answers from its live view.

        Args:
            user: A user or a user's primary key. Users without a key are in no segment, nor are
                users who were deleted since the refresh, even in SQL.

        Raises:
            SegmentExecutionError: when the database does not answer, or the segment was deleted.
        """
        key = user_key(user)
        if key is None:
            return False
        if self.refreshed_at is None:
            return self.has_member_live(key)
        alias = self._read_from
        try:
            answer = probe.is_member(alias, self.pk, self.slug, key)
            if answer is None:  # The segment was renamed since it was loaded.
                answer = probe.is_member(alias, self.pk, self._current_slug(alias), key)
        except django.db.Error as error:
            raise from_driver(error, SegmentExecutionError, self.slug) from error
        if answer is None:
            raise SegmentExecutionError(
                "it was renamed since this transaction began", slug=self.slug
            )
        return answer

    def has_member_live(self, user: Any) -> bool:
        """Return whether the user is currently in the segment.

        Costs one evaluation of the definition for this user, up to `SEGMENTS_STATEMENT_TIMEOUT`,
        and four round trips.
        """
        key = user_key(user)
        if key is None:
            return False
        alias = self._read_from
        with session.transaction(alias, self.slug, read_only=True, timeout=self.timeout):
            return is_live_member(alias, self.pk, self.slug, key)

    def has_members(self, users: Iterable[Any]) -> set[Any]:
        """Return the primary keys of the users who are in the segment. One query.

        Args:
            users: Users, primary keys, or a queryset of users, which becomes part of the query.
        """
        if isinstance(users, models.QuerySet):
            if users._fields is None:  # type: ignore[attr-defined]  # values() was not called
                users = users.values("pk")
            with translated(SegmentExecutionError, self.slug):
                return set(self._ids().filter(pk__in=users))
        keys = [key for key in map(user_key, users) if key is not None]
        with translated(SegmentExecutionError, self.slug):
            return members_among(
                self._read_from, self.pk, self.slug, keys, self.refreshed_at is None
            )

    def _ids(self) -> "models.QuerySet[Any, Any]":
        """Return the keys of the members, without users deleted since the refresh."""
        if self.refreshed_at is None:
            return self.members_live.using(self._read_from).values_list("pk", flat=True)
        rows = self._rows().using(self._read_from).filter(user_id__in=existing_keys())
        return rows.values_list("user_id", flat=True)

    def _rows(self) -> "models.QuerySet[Any, Any]":
        """Return the rows of the view, or an error if it is another segment's by now."""
        condition = check(self.pk, names.members_view(self.slug)).as_string()
        checked = RawSQL(condition, (), models.BooleanField())  # noqa: S611  # The SQL is ours.
        return self.view.objects.filter(checked)

    def _current_slug(self, alias: str) -> str:
        rows = segment_rows(alias).filter(pk=self.pk)
        slug = rows.order_by().values_list("slug", flat=True).first()
        if slug is None:
            raise SegmentExecutionError("it has been deleted", slug=self.slug)
        return slug

    @property
    def _read_from(self) -> str:
        return router.db_for_read(type(self))


def _users() -> "models.Manager[Any]":
    return get_user_model()._default_manager
