"""A shop: the orders of users, and offers for them."""

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from segments.models import Segment


class OrderQuerySet(models.QuerySet):
    def large(self):
        return self.filter(amount__gte=100)

    def buyers(self):
        return self.values_list("user_id")

    def keys(self):
        return self.values_list("id")

    def two_columns(self):
        return self.values_list("user_id", "amount")

    def needs_an_argument(self, minimum):
        return self.filter(amount__gte=minimum)

    def since_a_while(self):
        """Orders of the last two hours, by the clock of the application."""
        return self.filter(placed_at__gt=timezone.now() - timedelta(hours=2))

    def raises(self):
        raise LookupError("no such tariff")

    def number(self):
        return 42


class Order(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    placed_at = models.DateTimeField()

    objects = OrderQuerySet.as_manager()


class Offer(models.Model):
    priority = models.IntegerField()
    discount = models.DecimalField(max_digits=5, decimal_places=2)
    segment = models.ForeignKey(Segment, on_delete=models.CASCADE)

    class Meta:
        ordering = ("priority",)

    @classmethod
    def get_offer_for_user(cls, user):
        return cls.objects.filter(segment__in=Segment.objects.for_user(user)).first()
