"""A shop: its customers, who are the users of the site, and what they ordered."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Max, Subquery, Value

from segments.models import SegmentMixin

LAPSED_AFTER = timedelta(days=180)


class CustomerManager(UserManager["Customer"]):
    """Customers, and groups of them that the shop has names for."""

    def lapsed(self) -> models.QuerySet["Customer"]:
        """Return those whose last order is more than 180 days older than the newest of all.

        Not older than today: the shop's data ends in 1998.
        """
        newest = Order.objects.order_by("-placed_on").values("placed_on")[:1]
        lapsed: models.QuerySet[Customer] = self.annotate(last=Max("orders__placed_on")).filter(
            last__lt=Subquery(newest) - Value(LAPSED_AFTER)
        )
        return lapsed


class Customer(AbstractUser, SegmentMixin):
    """A user of the site."""

    email = models.EmailField("email address", unique=True)

    objects: ClassVar[CustomerManager] = CustomerManager()

    class Meta:
        verbose_name = "customer"


class Order(models.Model):
    """One purchase."""

    objects: ClassVar[models.Manager["Order"]]

    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="orders"
    )
    placed_on = models.DateField(db_index=True)
    quantity = models.PositiveIntegerField()
    amount = models.DecimalField(max_digits=10, decimal_places=2, help_text="In dollars.")

    def __str__(self) -> str:
        return f"{self.placed_on}: {self.quantity} for ${self.amount}"
