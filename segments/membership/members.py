"""Ask a segment: is a user in it, and which users are?"""

from collections.abc import Iterable, Iterator
from typing import Any

import django.db
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router
from django.db.models.expressions import RawSQL
from django.db.models.manager import BaseManager

from segments import conf
from segments.exceptions import SegmentExecutionError, from_driver, translated
from segments.pgviews import probe
from segments.pgviews.members import check, is_live_member, live_query, members_among
from segments.pgviews.models import SegmentView, segment_view
from segments.rows import segment_rows
from segments.sql import names, session
from segments.sql.keys import in_words, known_keys, user_key, user_keys

NOT_MANY = (str, bytes, bytearray, memoryview, models.Model)
"""What is one thing, although Python may iterate over it."""


def every_user() -> "models.Manager[Any]":
    """Return the manager of all rows in the table of users."""
    return get_user_model()._base_manager


def shown_users() -> "models.Manager[Any]":
    """Return the manager of the users that lists and counts of members show.

    It is the default manager of the user model, or the one that `SEGMENTS_USER_MANAGER` names. It
    may hide rows, as that of a model with soft deletion does.

    Raises:
        ImproperlyConfigured: when the user model has no such manager.
    """
    model, name = get_user_model(), conf.user_manager()
    if name is None:
        return model._default_manager
    manager = getattr(model, name, None)
    if not isinstance(manager, BaseManager):
        existing = ", ".join(manager.name for manager in model._meta.managers)
        raise ImproperlyConfigured(
            f'SEGMENTS_USER_MANAGER is "{name}", but {model._meta.label} has no such manager; it '
            f"has: {existing}."
        )
    return manager  # type: ignore[return-value]


class MembersMixin(models.Model):
    """The methods of `Segment` that ask about its members.

    Reads follow the database routers, which may send them to a streaming replica. If the segment
    was renamed since it was loaded, `has_member` goes by its current slug, and the others raise an
    error. No method answers for another segment that has the slug now.
    """

    slug: Any
    refreshed_at: Any
    members_count: Any
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

        Until the first refresh, these are the live members. Users that `shown_users` hides are
        left out here, in counts and in `member_ids`. Checks answer for every row of users.
        """
        if self.refreshed_at is None:
            return self.members_live
        return shown_users().filter(pk__in=self._rows().values("user_id"))

    @property
    def members_live(self) -> "models.QuerySet[Any]":
        """The users who are currently in the segment. Each query evaluates the definition."""
        return self._live(shown_users())

    def count_members(self) -> int:
        """Return the number of `members`.

        Costs one count over the view and the keys of users.
        """
        with translated(SegmentExecutionError, self.slug):
            return self._ids(shown_users()).count()

    def member_ids(self) -> Iterator[Any]:
        """Stream the primary keys of the members from a server-side cursor, in constant memory."""
        with translated(SegmentExecutionError, self.slug):
            yield from self._ids(shown_users()).iterator(chunk_size=10_000)

    def has_member(self, user: Any) -> bool:
        """Return whether the user was in the segment at its last refresh. One query.

        A segment that was never populated answers from its live view.

        Args:
            user: A user or a user's primary key. Visitors and users without a key are in no
                segment, nor are users who were deleted since the refresh, even in SQL.

        Raises:
            SegmentExecutionError: when the database does not answer, or the segment was deleted.
            TypeError, ValueError: when it is neither; see `segments.sql.keys.user_key`.
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
            return is_live_member(alias, self._key, self.slug, key)

    def has_members(self, users: Iterable[Any]) -> set[Any]:
        """Return the primary keys of the users who are in the segment. One query.

        Args:
            users: Users, primary keys, or a queryset of users or of their keys, which becomes
                part of the query.

        Raises:
            SegmentExecutionError: when the database does not answer.
            TypeError, ValueError: when one is neither; see `segments.sql.keys.user_key`.
        """
        if isinstance(users, models.QuerySet):
            asked = user_keys(users)
            with translated(SegmentExecutionError, self.slug):
                return set(self._ids(every_user()).filter(pk__in=asked))
        if isinstance(users, NOT_MANY) or not isinstance(users, Iterable):
            raise TypeError(f"has_members takes users or their keys, not {in_words(users)}")
        keys = known_keys(users)
        with translated(SegmentExecutionError, self.slug):
            return members_among(
                self._read_from,
                self._key,
                self.slug,
                keys,
                live=self.refreshed_at is None,
                count=self.members_count or 0,
            )

    def _live(self, users: "models.Manager[Any]") -> "models.QuerySet[Any]":
        query = live_query(self._key, self.slug)
        return users.filter(pk__in=RawSQL(query, ()))  # noqa: S611  # The SQL is ours.

    def _ids(self, users: "models.Manager[Any]") -> "models.QuerySet[Any, Any]":
        """Return the keys of the members that are among the users of a manager."""
        if self.refreshed_at is None:
            return self._live(users).using(self._read_from).values_list("pk", flat=True)
        rows = self._rows().using(self._read_from).filter(user_id__in=users.values("pk"))
        return rows.values_list("user_id", flat=True)

    def _rows(self) -> "models.QuerySet[Any, Any]":
        """Return the rows of the view, or an error if it is another segment's by now."""
        condition = check(self._key, names.members_view(self.slug)).as_string()
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

    @property
    def _key(self) -> Any:
        if self.pk is None:
            raise SegmentExecutionError("it is not saved yet", slug=self.slug)
        return self.pk
