"""The segments of many users in one query, kept on the users."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.auth import get_user_model

from segments.exceptions import SegmentExecutionError, translated
from segments.membership.members import NOT_MANY, MembersMixin
from segments.membership.querysets import NOT_IN_LISTS, USERS, SegmentQuerySet, keys_of
from segments.rows import segment_rows
from segments.sql.keys import in_words, not_users, user_key
from segments.sql.names import view_name

if TYPE_CHECKING:
    from segments.models import Segment

CACHE = "segments"
"""The name in Django's cache of prefetched objects, which `refresh_from_db` empties."""

VISIT = "segments of this visit"
"""The name in the same cache of what views have asked; see `segments.users.access`."""


class Known(NamedTuple):
    """The populated segments of that moment: the names of their views, and their keys."""

    names: frozenset[str]
    keys: frozenset[int]


class UserSegments(SegmentQuerySet):
    """The segments of one user, which `prefetch_related` takes like a related manager.

    Attributes:
        known: The segments that existed when this was prefetched; None if it was not, or if it is
            not complete because a `Prefetch` has a queryset of its own.
    """

    known: Known | None = None

    def all(self) -> Any:
        """Return these segments; what is prefetched is not asked for again."""
        return self if self.known is not None else super().all()

    def get_queryset(self) -> "UserSegments":
        """Return the queryset that Django is to fill. Part of its protocol."""
        return self

    def _apply_rel_filters(self, queryset: SegmentQuerySet) -> "UserSegments":
        rows = _unsliced(queryset).filter(pk__in=self.order_by().values("pk"))
        return _as_segments_of_user(rows)

    def get_prefetch_querysets(
        self, instances: list[Any], querysets: "list[SegmentQuerySet] | None" = None
    ) -> tuple[Any, Callable[[Any], Any], Callable[[Any], Any], bool, str, bool]:
        """Return the segments of these users as Django wants them. One query.

        A slice of a queryset is, as for Django's relations, that of the segments of each user.
        """
        if querysets:
            (rows,) = querysets
            part = slice(rows.query.low_mark, rows.query.high_mark)
            by_user = _unsliced(rows).for_users(instances)
            by_user = {key: segments[part] for key, segments in by_user.items()}
        else:
            by_user = remember(instances, CACHE)
        pairs = [(key, segment) for key, segments in by_user.items() for segment in segments]
        # Django calls the second function once for each of the first list, in its order.
        keys = iter([key for key, _ in pairs])
        return [each for _, each in pairs], lambda _: next(keys), user_key, False, CACHE, False

    def answer(self, segment: Any) -> bool | None:
        """Return whether the user is in a segment; None if Postgres has to be asked."""
        if self.known is None:
            return None
        if isinstance(segment, str):
            name = view_name(segment)
            if name not in self.known.names:
                return None
            return any(view_name(each.slug) == name for each in self)
        if isinstance(segment, MembersMixin) and segment.pk in self.known.keys:
            return any(each.pk == segment.pk for each in self)
        return None


def prefetch_segments(users: Iterable[Any]) -> None:
    """Ask once for the segments of many users, and keep the answer on each of them.

    Afterwards `user.segments`, `user.segment_ids`, `user.segment_slugs` and `user.is_member` cost
    no query. They tell what was true at that moment, until `user.refresh_from_db()` or
    `user.refresh_segments()` drops it, or the users are prefetched again. What that query cannot
    tell is still asked: an unknown slug, and a segment that was never populated. The function
    `segments.users.is_member` always asks.

    `User.objects.prefetch_related("segments")` does the same, also with a `Prefetch`, and through
    relations, as in `Order.objects.prefetch_related("user__segments")`.

    Costs one query with a row for each segment. The users share the instances of segments.

    Args:
        users: Users. A queryset of them is evaluated, unless it was before. Visitors are ignored.

    Raises:
        SegmentExecutionError: when the database does not answer.
        TypeError: when one of them is no user.
    """
    if isinstance(users, NOT_MANY) or not isinstance(users, Iterable):
        raise TypeError(f"prefetch_segments takes users, not {in_words(users)}")
    remember(list(users), CACHE)


def remember(users: list[Any], name: str) -> "dict[Any, list[Segment]]":
    """Ask for the segments of users, and keep them under a name; return them by key. One query."""
    for user in users:
        if not isinstance(user, get_user_model()) and not hasattr(user, "is_authenticated"):
            raise not_users(user)
    by_user, known = _ask(keys_of(users))
    for user in users:
        segments: Any = of_user(user)
        segments._result_cache = by_user.get(user_key(user), [])
        segments._prefetch_done = True
        segments.known = known
        if not hasattr(user, "_prefetched_objects_cache"):
            user._prefetched_objects_cache = {}
        user._prefetched_objects_cache[name] = segments
    return by_user


def share(source: Any, target: Any) -> None:
    """Keep what views have asked for a user on another object of the same user as well."""
    answer = complete(source, VISIT)
    if answer is None or source is target or user_key(source) != user_key(target):
        return
    if not hasattr(target, "_prefetched_objects_cache"):
        target._prefetched_objects_cache = {}
    target._prefetched_objects_cache.setdefault(VISIT, answer)


def _as_segments_of_user(rows: Any) -> UserSegments:
    return UserSegments(rows.model, rows.query, rows._db)


def _unsliced(rows: SegmentQuerySet) -> SegmentQuerySet:
    rows = rows._chain()  # type: ignore[attr-defined]  # As .all() would, without a filter.
    rows.query.clear_limits()
    return rows


def of_user(user: Any) -> UserSegments:
    """Return the queryset of a user's segments."""
    rows = segment_rows().for_user(user)
    return _as_segments_of_user(rows)


def kept(user: Any, name: str = CACHE) -> Any:
    """Return what is prefetched of a user's segments, or None."""
    return getattr(user, "_prefetched_objects_cache", {}).get(name)


def complete(user: Any, name: str = CACHE) -> UserSegments | None:
    """Return all segments of a user, if they are prefetched."""
    segments = kept(user, name)
    return segments if getattr(segments, "known", None) is not None else None


def drop(user: Any) -> None:
    """Forget what is prefetched of a user's segments."""
    for name in (CACHE, VISIT):
        getattr(user, "_prefetched_objects_cache", {}).pop(name, None)


def _ask(keys: list[Any]) -> "tuple[dict[Any, list[Segment]], Known]":
    """Return the segments of each key, by priority, and all segments that are populated."""
    rows = segment_rows().with_users(keys)
    fields = [f for f in rows.model._meta.concrete_fields if f.name not in NOT_IN_LISTS]
    names = [field.attname for field in fields]
    slug, refreshed_at = names.index("slug"), names.index("refreshed_at")
    by_user: dict[Any, list[Segment]] = {key: [] for key in keys}
    populated = {}
    with translated(SegmentExecutionError):
        for *values, users in rows.values_list("pk", *names, USERS):
            key, *values = values
            if values[refreshed_at] is not None:
                populated[view_name(values[slug])] = key
            if users:
                segment = rows.model.from_db(rows.db, names, values)
                for user in users:
                    by_user[user].append(segment)
    return by_user, Known(frozenset(populated), frozenset(populated.values()))
