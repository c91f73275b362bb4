"""Querysets of users: those who are in segments, and those who are in none."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import django.db
from django.apps import apps
from django.contrib.auth.models import UserManager
from django.db import models
from django.db.models import Exists, F, Func, OuterRef
from django.db.models.expressions import RawSQL

from segments import conf
from segments.exceptions import SegmentExecutionError, from_driver
from segments.membership.members import MembersMixin
from segments.pgviews.shared import function
from segments.rows import membership_rows, no_segment
from segments.sql.keys import in_words, user_key_of
from segments.sql.names import shown, view_name
from segments.sql.statements import compose
from segments.users.mixin import SegmentMixin

UNKNOWN_SLUG, NOT_POPULATED = "SG001", "SG002"
"""The SQLSTATEs of the shared function `populated`."""


class SegmentUserQuerySet(models.QuerySet[Any]):
    """Users, who may be filtered by segments: a queryset for the user model.

    It is also a base for a project's own: `class UserQuerySet(SegmentUserQuerySet)`. A manager is
    made of it with `SegmentUserQuerySet.as_manager()` or with `from_queryset`, as
    `SegmentUserManager` is.

    Each method takes segments or slugs, where `-` and `_` are the same, and may be followed by any
    other filter, used in a subquery, or counted. All of it is one statement. In it, the function
    `segments.populated` looks slugs up, and raises an error for a slug that no segment has, and
    for a segment that was deleted or never populated. So a wrong name is never taken for an empty
    segment. The error comes when the queryset is evaluated. As with every error of Postgres, a
    transaction around it must then be rolled back.

    The members are those of the last refreshes, from the index that `user.segments` reads.

    Raises, when it is evaluated:
        Segment.DoesNotExist: when no segment has one of the slugs, naming the nearest one. In a
            subquery of another queryset it is a `django.db.DatabaseError` of the same words.
        SegmentExecutionError: when a segment was never populated, or was deleted.
    """

    def in_segment(self, segment: Any) -> Any:
        """Return the users who were in the segment at its last refresh.

        Raises:
            TypeError: when it is neither a segment nor a slug, or the model is not that of users.
        """
        return self.in_any(segment)

    def in_any(self, *segments: Any) -> Any:
        """Return the users who are in at least one of the segments: nobody, if none is given."""
        if not segments:
            return self.none()
        return self.filter(**{f"{self._key}__in": _members(segments).values("user_id")})

    def in_all(self, *segments: Any) -> Any:
        """Return the users who are in each of the segments: everybody, if none is given."""
        users = self.all()
        for segment in segments:
            users = users.in_any(segment)
        return users

    def not_in(self, *segments: Any) -> Any:
        """Return the users who are in none of the segments: everybody, if none is given."""
        if not segments:
            return self.all()
        return self.filter(~Exists(_members(segments).filter(user_id=OuterRef(self._key))))

    def prefetch_segments(self) -> Any:
        """Return these users with their segments, for one query more.

        It is `prefetch_related("segments")`; see `segments.users.prefetching.prefetch_segments`.

        Raises:
            TypeError: when the model has no `SegmentMixin`.
        """
        if not issubclass(self.model, SegmentMixin):
            raise TypeError(
                f"{self.model._meta.label} needs segments.models.SegmentMixin for this"
            )
        return self.prefetch_related("segments")

    @property
    def _key(self) -> str:
        key = user_key_of(self.model)
        if key is None:
            raise TypeError(f"a queryset of users is needed, not {in_words(self)}")
        return str(key.name)

    def _fetch_all(self) -> None:
        with segment_errors():
            super()._fetch_all()

    def iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Stream the users; see Django."""
        return _streamed(super().iterator(*args, **kwargs))

    async def aiterator(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the users; see Django."""
        with segment_errors():
            async for user in super().aiterator(*args, **kwargs):
                yield user

    def count(self) -> int:
        """Return the number of users."""
        with segment_errors():
            return super().count()

    def exists(self) -> bool:
        """Return whether there are such users."""
        with segment_errors():
            return super().exists()

    def aggregate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return aggregates over the users; see Django."""
        with segment_errors():
            return super().aggregate(*args, **kwargs)

    def update(self, **values: Any) -> int:
        """Update the users; see Django."""
        with segment_errors():
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the users; see Django."""
        with segment_errors():
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class SegmentUserManager(UserManager.from_queryset(SegmentUserQuerySet)):  # type: ignore[misc]
    """Django's manager of users, with the methods of `SegmentUserQuerySet`.

    Migrations name it, as they name the `UserManager` that it replaces, so `makemigrations` writes
    one, which changes no table.
    """


def _streamed(users: Iterator[Any]) -> Iterator[Any]:
    with segment_errors():
        yield from users


@contextmanager
def segment_errors() -> Iterator[None]:
    """Raise the errors of the shared function `populated` as those of a segment, and no others."""
    try:
        yield
    except django.db.Error as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if state == UNKNOWN_SLUG:
            raise _unknown(error) from error
        missing = (f"function {conf.schema()}.populated(", f'schema "{conf.schema()}"')
        if state == NOT_POPULATED or any(name in str(error) for name in missing):
            raise from_driver(error, SegmentExecutionError) from error
        raise


def _unknown(error: django.db.Error) -> Exception:
    """Return the error for a slug that no segment has, with the nearest of the similar slugs."""
    cause: Any = error.__cause__
    slug = re.findall('"(.*)"', cause.diag.message_primary, re.DOTALL)[0]
    similar = (cause.diag.message_detail or "").partition(": ")[2].split(", ")
    message = no_segment(slug, {view_name(each): each for each in similar if each})
    return apps.get_model("segments", "Segment").DoesNotExist(message)


def _members(segments: tuple[Any, ...]) -> Any:
    """Return the memberships in segments, each given by itself or its slug."""
    slugs = [shown(each) for each in segments if isinstance(each, str)]
    keys = [_saved_key(each) for each in segments if not isinstance(each, str)]
    call = compose("call_populated", function=_populated()).as_string()
    populated = RawSQL(call, (slugs, keys))  # noqa: S611  # The SQL is ours.
    return membership_rows().filter(
        Func(
            F("segment_id"),
            populated,
            template="%(expressions)s)",
            arg_joiner=" = ANY(",
            output_field=models.BooleanField(),
        )
    )


def _saved_key(segment: Any) -> int:
    if not isinstance(segment, MembersMixin):
        several = isinstance(segment, Iterable) and not isinstance(segment, bytes)
        hint = "; name several one by one: in_any(*segments)" if several else ""
        raise TypeError(f"a segment or its slug is needed, not {in_words(segment)}{hint}")
    if segment.pk is None:
        raise ValueError(f'segment "{segment.slug}" is not saved')
    key: int = segment.pk
    return key


def _populated() -> Any:
    return function("populated")
