"""The admin of the shop; segments brings its own."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.utils.translation import gettext_lazy as _

from demo.shop.models import Customer, Order


@admin.register(Customer)
class CustomerAdmin(UserAdmin):  # type: ignore[type-arg]
    """Customers, each with the segments they are in."""

    list_display = ("username", "date_joined", "is_staff")
    ordering = ("id",)
    readonly_fields = ("in_segments",)
    fieldsets = (*(UserAdmin.fieldsets or ()), (_("Segments"), {"fields": ("in_segments",)}))

    @admin.display(description=_("is in"))
    def in_segments(self, customer: Customer) -> str:
        """Name the segments that the customer was in at their last refresh."""
        return ", ".join(map(str, customer.segments)) or "-"


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Orders by day."""

    list_display = ("placed_on", "customer", "quantity", "amount")
    list_select_related = ("customer",)
    raw_id_fields = ("customer",)
    date_hierarchy = "placed_on"
    ordering = ("-placed_on", "-id")
