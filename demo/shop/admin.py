"""The admin of the shop; segments brings its own."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from demo.shop.models import Customer, Order
from segments.admin import SegmentMembershipInline


@admin.register(Customer)
class CustomerAdmin(UserAdmin):  # type: ignore[type-arg]
    """Customers, each with the segments they are in."""

    list_display = ("username", "date_joined", "is_staff")
    ordering = ("id",)
    inlines = (SegmentMembershipInline,)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Orders by day."""

    list_display = ("placed_on", "customer", "quantity", "amount")
    list_select_related = ("customer",)
    raw_id_fields = ("customer",)
    date_hierarchy = "placed_on"
    ordering = ("-placed_on", "-id")
