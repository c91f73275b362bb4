"""The SQL of segments that are made from others: from several members, or from a part of them."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from psycopg import sql

from segments.exceptions import SegmentDefinitionError
from segments.sql import names
from segments.sql.statements import compose

Operator = Literal["UNION", "INTERSECT", "EXCEPT"]

HASHES = 2**32
"""How many values the hash of a user has."""


def combined(operator: Operator, slugs: Iterable[str]) -> str:
    """Return a definition that combines the members of segments, from left to right."""
    parts = [
        compose("define_members", view=names.members_view(slug)).as_string() for slug in slugs
    ]
    return f"\n{operator}\n".join(parts)


def in_all_but(inside: Iterable[str], outside: Iterable[str]) -> str:
    """Return a definition of the users who are in all of some segments, and in none of others.

    INTERSECT binds more closely than EXCEPT, and EXCEPT is read from left to right.
    """
    return "\nEXCEPT\n".join(
        [combined("INTERSECT", inside), *(combined("EXCEPT", [slug]) for slug in outside)]
    )


def sampled(slug: str, percent: float | Decimal, seed: int) -> str:
    """Return a definition that keeps a part of the members of a segment.

    A user is in the part if the first 32 bits of md5 of the seed, a colon and the user's key as
    text are below that percentage of 2^32. So the answer for a user depends on nothing else: not
    on the other members, nor on the server.

    Args:
        percent: Above 0, and at most 100. May have decimals.

    Raises:
        SegmentDefinitionError: when there is no such part.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SegmentDefinitionError(f"the seed of a sample is a whole number, not {seed!r}")
    share = _share(percent)
    return str(
        compose(
            "define_sample",
            view=names.members_view(slug),
            seed=sql.Literal(f"{seed}:"),
            limit=sql.Literal(int(share * HASHES / 100)),
            percent=sql.Literal(share),
        ).as_string()
    )


def _share(percent: float | Decimal) -> Decimal:
    """Return a percentage as a number without an exponent or zeros at its end."""
    number = Decimal("NaN")
    if isinstance(percent, int | float | Decimal) and not isinstance(percent, bool):
        number = Decimal(str(percent))
    if not (number.is_finite() and 0 < number <= 100 and int(number * HASHES / 100)):
        raise SegmentDefinitionError(
            f"a sample has a percentage above 0 and at most 100, not {percent!r}",
            hint="percent=10 keeps a tenth of the users, and percent=0.5 one of 200.",
        )
    return Decimal(f"{number.normalize():f}")
