"""A program that fills an empty database with a shop and segments of each kind."""

from datetime import UTC, datetime

import django

django.setup()

from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402

from segments.models import Segment  # noqa: E402
from tests.accounts.models import SegmentableUser  # noqa: E402
from tests.shop.models import Order  # noqa: E402

MEMBERS = {
    "vip": [5, 6, 7, 8, 9, 10],
    "large": [3, 4, 5, 6, 7, 8, 9, 10],
    "pilot": [1, 5],
    "inner_circle": [5],
    "win_back": [3, 4],
}
"""View name -> ids of its members; user n has one order of 50 * (n - 1)."""


def fill() -> None:
    """Migrate, and create users, orders and segments."""
    call_command("migrate", verbosity=0)
    users = SegmentableUser.objects.bulk_create(
        [SegmentableUser(pk=n, username=f"u{n}") for n in range(1, 11)]
    )
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    Order.objects.bulk_create(
        [Order(user=user, amount=50 * n, placed_at=moment) for n, user in enumerate(users)]
    )
    create = Segment.objects.create
    create(
        slug="vip",
        name="Big spenders",
        description="Spent 200 or more.",
        definition="SELECT user_id FROM shop_order GROUP BY user_id HAVING sum(amount) >= 200",
    )
    create(
        slug="large",
        name="Large orders",
        model=ContentType.objects.get_for_model(Order),
        manager_method="large",
    )
    create(slug="pilot", name="Pilot", static_ids=[1, 5])
    create(
        slug="inner-circle",
        name="Inner circle",
        definition="SELECT user_id FROM segments.vip INTERSECT SELECT user_id FROM segments.pilot",
    )
    renamed = create(
        slug="winback",
        name="Win back",
        definition="SELECT user_id FROM segments.large EXCEPT SELECT user_id FROM segments.vip",
    )
    renamed.slug = "win-back"
    renamed.save()


if __name__ == "__main__":
    fill()
