"""Compare segments: how many users, and which, are in one and in others."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Exists, OuterRef
from psycopg import sql

from segments.exceptions import SegmentDefinitionError
from segments.membership.given import LEAST, check_populated, given, several
from segments.membership.members import shown_users
from segments.pgviews.members import check
from segments.rows import read_alias
from segments.sql import names, session
from segments.sql.statements import compose, selected

if TYPE_CHECKING:
    from segments.models import Segment

MOST = 50
"""How many segments one statement compares. A row of Postgres has room for this many pairs."""


@dataclass(frozen=True)
class Pair:
    """Two segments, by their slugs, and how many users they share.

    Attributes:
        both: How many users are in both.
        only_first, only_second: How many users are in one, but not in the other.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int

    @property
    def jaccard(self) -> float | None:
        """The users in both as a share of those in any: 0 to 1; None if there are none in any."""
        either = self.both + self.only_first + self.only_second
        return self.both / either if either else None


@dataclass(frozen=True)
class Overlap:
    """How many users each of some segments has, and how many each two of them share.

    Attributes:
        counts: The number of members of each, by slug, in the order given.
        pairs: Every two of them.
    """

    counts: dict[str, int]
    pairs: tuple[Pair, ...]

    def pair(self, first: "Segment | str", second: "Segment | str") -> Pair:
        """Return two of the segments, in this order.

        Raises:
            KeyError: when they are not two of those that were compared.
        """
        slugs = [each if isinstance(each, str) else each.slug for each in (first, second)]
        wanted = tuple(map(names.view_name, slugs))
        for pair in self.pairs:
            found = (names.view_name(pair.first), names.view_name(pair.second))
            if found == wanted:
                return pair
            if found == wanted[::-1]:
                return Pair(pair.second, pair.first, pair.both, pair.only_second, pair.only_first)
        raise KeyError(f"{slugs[0]} and {slugs[1]} were not compared")


def overlap(segments: "Iterable[Segment | str]") -> Overlap:
    """Count the members of segments, and those that each two of them share, in one statement.

    The counts are those of `count_members`: of the last refresh of each segment, without users who
    were deleted since, and without those that `shown_users` hides. Costs one pass over the members
    of each segment and the keys of users, in constant memory. Takes `SEGMENTS_STATEMENT_TIMEOUT`
    at most.

    Args:
        segments: From 2 to 50 segments or slugs.

    Raises:
        Segment.DoesNotExist: when no segment has a slug, naming the nearest one.
        SegmentDefinitionError: when there are fewer or more, or one of them twice.
        SegmentExecutionError: when one was never populated, or the database does not answer.
    """
    alias = read_alias()
    rows = given(segments, alias, "a comparison")
    check_populated(rows, "compare")
    if len(rows) > MOST:
        raise SegmentDefinitionError(
            f"a comparison takes {MOST} segments or fewer, not {len(rows)}"
        )
    with session.transaction(alias, "", task="overlap", read_only=True) as connection:
        (numbers,) = session.fetch_all(connection, _query(rows, alias))
    slugs = [row.slug for row in rows]
    shared = dict(zip(combinations_with_replacement(slugs, 2), numbers, strict=True))
    counts = {slug: shared[slug, slug] for slug in slugs}
    pairs = tuple(
        Pair(first, second, both, counts[first] - both, counts[second] - both)
        for first, second in combinations(slugs, 2)
        for both in [shared[first, second]]
    )
    return Overlap(counts, pairs)


def users_in(
    inside: "Iterable[Segment | str]", outside: "Iterable[Segment | str]" = ()
) -> "models.QuerySet[Any]":
    """Return the users who are in all of some segments, and in none of others, as a queryset.

    They are those that `overlap` counts: `users_in([a, b])` are in both, and `users_in([a], [b])`
    only in the first.

    Args:
        inside: At least one segment or slug; one may be given by itself.
        outside: Segments or slugs; one may be given by itself.

    Raises:
        Segment.DoesNotExist, SegmentDefinitionError, SegmentExecutionError: as for `overlap`.
        TypeError: when they are something else.
    """
    within, without = several(inside, "users_in"), several(outside, "users_in")
    if not within:
        raise SegmentDefinitionError("users_in takes a segment that the users are in")
    rows = given([*within, *without], read_alias(), "users_in", least=1)
    check_populated(rows, "compare")
    users = shown_users().all()
    for number, row in enumerate(rows):
        if number < len(within):
            users = users.filter(pk__in=row._rows().values("user_id"))
        else:  # NOT IN would be slow, as NULL could be among the ids.
            users = users.filter(~Exists(row._rows().filter(user_id=OuterRef("pk"))))
    return users


def _query(rows: "list[Segment]", alias: str) -> sql.Composed:
    members = [
        compose(
            "select_with_bit",
            view=names.members_view(row.slug),
            bit=sql.Literal(1 << number),
            check=check(row.pk, names.members_view(row.slug)),
        )
        for number, row in enumerate(rows)
    ]
    counts = [
        compose("count_with_bits", bits=sql.Literal(1 << first | 1 << second))
        for first, second in combinations_with_replacement(range(len(rows)), 2)
    ]
    users = _shown_keys(alias)
    if len(members) == LEAST:
        first, second = members
        bits = compose("select_bits_of_two", first=first, second=second, users=users)
    else:
        union = sql.SQL("\nUNION ALL\n").join(members)
        bits = compose("select_bits_of_many", members=union, users=users)
    query: sql.Composed = compose("select_overlap", counts=sql.SQL(", ").join(counts), bits=bits)
    return query


def _shown_keys(alias: str) -> sql.SQL:
    """Return a SELECT of the keys of the users that counts show."""
    return selected(shown_users().using(alias).order_by().values("pk"))
