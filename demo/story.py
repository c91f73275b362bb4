"""What the demo does with segments, and what comes of it; `demo.show` tells it.

Three months of purchases come in late: segments are defined and refreshed on what the shop knew on
1998-03-31, and refreshed again when the rest is there.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import QuerySet

from demo.shop.models import Customer
from segments.models import Membership, Segment

CUT = date(1998, 3, 31)
"""The last day of the first load."""

BIG_SPENDERS = """\
SELECT customer_id FROM shop_order
GROUP BY customer_id HAVING sum(amount) >= 200"""

WIN_BACK = """\
SELECT user_id FROM segments.big_spenders
INTERSECT
SELECT user_id FROM segments.lapsed"""

PILOT = range(900, 22_501, 900)
"""The ids of 25 customers."""

MAX_SHOWN = 2
"""How many customers are named as examples."""


@dataclass(frozen=True)
class Members:
    """Who is in a segment."""

    slug: str
    kind: str
    count: int
    some: list[str]


@dataclass(frozen=True)
class Answers:
    """What a customer says about one segment, and about all."""

    customer: str
    is_member: bool
    is_member_live: bool
    segments: list[str]
    segment_ids: list[int]


@dataclass(frozen=True)
class Change:
    """What a refresh has changed in a segment."""

    slug: str
    before: int | None
    after: int
    entered: int
    left: int
    some_entered: list[str]
    some_left: list[str]


def define() -> list[Segment]:
    """Save segments of each kind; saving one creates its views and fills them."""
    create = Segment.objects.create
    return [
        create(
            slug="big-spenders",
            name="Big spenders",
            description="Spent 200 dollars or more.",
            definition=BIG_SPENDERS,
        ),
        create(
            slug="lapsed",
            name="Lapsed",
            description="Ordered nothing in the last 180 days.",
            manager_method="lapsed",
        ),
        create(
            slug="pilot",
            name="Pilot",
            description="See the new shop first.",
            static_ids=PILOT,
        ),
        create(
            slug="win-back",
            name="Win back",
            description="Big spenders who lapsed.",
            definition=WIN_BACK,
            priority=10,
        ),
    ]


def members() -> list[Members]:
    """Return who is in each segment."""
    return [
        Members(segment.slug, segment.kind, len(segment), _some(segment.members))
        for segment in Segment.objects.order_by("slug")
    ]


def ask(customer: Customer, slug: str) -> Answers:
    """Ask a customer about one segment, and about all."""
    return Answers(
        customer=customer.username,
        is_member=customer.is_member(slug),
        is_member_live=customer.is_member_live(slug),
        segments=[segment.slug for segment in customer.segments],
        segment_ids=customer.segment_ids,
    )


def examples() -> list[Customer]:
    """Return a customer in several segments, one in the pilot, and one in none."""
    return [
        Segment.objects.get(slug="win-back").members.order_by("id")[0],
        Segment.objects.get(slug="pilot").members.order_by("id")[0],
        Customer.objects.exclude(pk__in=Membership.objects.values("user_id")).order_by("id")[0],
    ]


def returned() -> Customer:
    """Return a customer who is lapsed as of the last refresh, and is not any more."""
    lapsed = Segment.objects.get(slug="lapsed")
    back = lapsed.members.exclude(pk__in=lapsed.members_live.values("pk"))
    customer: Customer = back.order_by("id")[0]
    return customer


def changes() -> list[Change]:
    """Return what the last refresh has changed in each segment."""
    return [_change(segment) for segment in Segment.objects.order_by("slug")]


def _change(segment: Segment) -> Change:
    before = segment.refreshes.all()[1]
    entered, left = segment.entered(since=before), segment.left(since=before)
    return Change(
        slug=segment.slug,
        before=before.members_count,
        after=len(segment),
        entered=entered.count(),
        left=left.count(),
        some_entered=_some(entered.users()),
        some_left=_some(left.users()),
    )


def _some(customers: QuerySet[Any]) -> list[str]:
    return list(customers.order_by("id").values_list("username", flat=True)[:MAX_SHOWN])
