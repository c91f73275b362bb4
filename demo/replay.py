"""The shop's past, month by month, so that the charts of the admin have a shape.

The end of the data becomes today: what a month has brought is dated as many days ago as the month
is before that.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise

from django.core.management import call_command
from django.db.models import F, Model
from django.utils import timezone

from demo.cdnow import Purchase
from demo.load import Loaded, load
from demo.shop.models import Customer
from segments.models import Membership, Segment, SegmentChange, SegmentRefresh, SegmentVersion
from segments.saving import acting

FIRST = date(1997, 3, 31)
"""The last day of the first load, which has all customers and the pilot's ids."""

END = date(1998, 6, 30)
"""The last day of the data, which becomes today."""

LOWERED, RESTORED = date(1997, 9, 30), date(1997, 12, 31)
"""When the marketer took more customers for big spenders, and when he undid that."""

DATED: tuple[tuple[type[Model], str], ...] = (
    (SegmentRefresh, "started_at"),
    (SegmentChange, "at"),
    (SegmentVersion, "replaced_at"),
    (Membership, "entered_at"),
)
"""The dates that a refresh or a change of a definition writes."""


def replay(purchases: Sequence[Purchase], until: date, marketer: Customer) -> Loaded:
    """Load each month after the first load, and refresh the segments after each.

    Args:
        purchases: The whole data set, by customer and day.
        until: The last day of the last month.
        marketer: Who changes a definition on the way.
    """
    _date_back(FIRST)
    orders = 0
    for before, end in pairwise(month_ends(FIRST, until)):
        loaded = load(purchases, after=before, until=end)
        orders += loaded.orders
        call_command("refresh_segments", verbosity=0)
        with acting(marketer):
            _change_definition(end)
        _date_back(end)
    return Loaded(0, orders, loaded.newest)


def month_ends(first: date, last: date) -> Iterator[date]:
    """Yield the last day of each month."""
    end = first
    while end <= last:
        yield end
        end = (end + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def _change_definition(month: date) -> None:
    segment = Segment.objects.get(slug="big-spenders")
    if month == LOWERED:
        segment.definition = segment.definition.replace("200", "150")
        segment.save()
    elif month == RESTORED:
        segment.versions.latest("pk").restore()


def _date_back(month: date) -> None:
    """Date what was written today as if it had been written at the end of a month."""
    now = timezone.now()
    days = END - month
    for model, name in DATED:
        rows = model._default_manager.filter(**{f"{name}__gt": now - timedelta(days=1)})
        rows.update(**{name: F(name) - days})
