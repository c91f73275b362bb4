"""What the demo does with segments, and what comes of it; `demo.show` tells it.

Three months of purchases come in late: segments are defined and refreshed on what the shop knew on
1998-03-31, and refreshed again when the rest is there.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db import connection
from django.db.models import Max, QuerySet
from django.db.models.expressions import RawSQL

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

WHO_LEFT = """
    SELECT user_id FROM before WHERE segment_id = %s
    EXCEPT SELECT user_id FROM segments.membership WHERE segment_id = %s
"""


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
class Snapshot:
    """How things stood before a refresh; who was where is in the temporary table `before`."""

    counts: dict[str, int | None]
    last_entry: datetime


@dataclass(frozen=True)
class Change:
    """What a refresh has changed in a segment."""

    slug: str
    before: int | None
    after: int
    entered: int | None
    left: int | None
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


def snapshot() -> Snapshot:
    """Keep who is in which segment, in Postgres, to compare with after a refresh."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE before AS TABLE segments.membership")
    last_entry: datetime = Membership.objects.aggregate(last=Max("entered_at"))["last"]
    return Snapshot(dict(Segment.objects.values_list("slug", "members_count")), last_entry)


def changes(since: Snapshot) -> list[Change]:
    """Return what the refresh after a snapshot has changed in each segment."""
    return [_change(segment, since) for segment in Segment.objects.order_by("slug")]


def _change(segment: Segment, since: Snapshot) -> Change:
    refresh = segment.refreshes.latest()
    entered = Membership.objects.filter(segment=segment, entered_at__gt=since.last_entry)
    left = RawSQL(WHO_LEFT, [segment.pk, segment.pk])
    return Change(
        slug=segment.slug,
        before=since.counts[segment.slug],
        after=len(segment),
        entered=refresh.added,
        left=refresh.removed,
        some_entered=_some(Customer.objects.filter(pk__in=entered.values("user_id"))),
        some_left=_some(Customer.objects.filter(pk__in=left)),
    )


def _some(customers: QuerySet[Any]) -> list[str]:
    return list(customers.order_by("id").values_list("username", flat=True)[:MAX_SHOWN])
