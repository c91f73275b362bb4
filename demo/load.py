"""From the data set into the shop's tables, with COPY."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import connection, transaction

from demo.cdnow import Purchase

COPY_CUSTOMERS = """
    COPY shop_customer (id, username, date_joined, password, first_name, last_name, email,
        is_active, is_staff, is_superuser)
    FROM STDIN
"""
COPY_ORDERS = "COPY shop_order (customer_id, placed_on, quantity, amount) FROM STDIN"

SKIP_IDS = """
    SELECT setval(pg_get_serial_sequence('shop_customer', 'id'), max(id)) FROM shop_customer
"""
"""So that the next customer, made in the admin, gets an id that is free."""


@dataclass(frozen=True)
class Loaded:
    """What one load has brought."""

    customers: int
    orders: int
    newest: date


def load(purchases: Sequence[Purchase], after: date, until: date) -> Loaded:
    """Insert what was bought in a period, and those who bought for the first time in it.

    Args:
        purchases: The whole data set, by customer and day.
        after, until: The period; its first day is the one after `after`.
    """
    joined: dict[int, date] = {}
    for purchase in purchases:
        joined.setdefault(purchase.customer, purchase.day)
    customers = {id_: day for id_, day in joined.items() if after < day <= until}
    orders = [purchase for purchase in purchases if after < purchase.day <= until]
    with transaction.atomic(), connection.cursor() as cursor:
        _copy(cursor, COPY_CUSTOMERS, _rows(customers))
        _copy(cursor, COPY_ORDERS, orders)
        cursor.execute(SKIP_IDS)
        cursor.execute("ANALYZE shop_customer, shop_order")
    return Loaded(len(customers), len(orders), max(order.day for order in orders))


def _rows(customers: dict[int, date]) -> Iterator[tuple[Any, ...]]:
    """Give the rows of customers who cannot log in, from when each of them joined."""
    password = make_password(None)
    for id_, day in customers.items():
        name = f"customer-{id_}"
        names = ("", "", f"{name}@example.com")
        yield id_, name, f"{day} 00:00+00", password, *names, True, False, False


def _copy(cursor: Any, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
