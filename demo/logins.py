"""Who may log in to the admin."""

from django.contrib.auth.models import Permission

from demo.shop.models import Customer

ADMINISTRATOR, MARKETER = "demo", "marketer"
"""User names, which are the passwords as well."""

OF_MARKETER = (
    "view_segment",
    "add_segment",
    "change_segment",
    "change_definition",
    "refresh_segment",
    "view_members",
    "view_customer",
)
"""What the marketer may do: everything with segments but delete them, and look at customers."""


def create_logins() -> Customer:
    """Create an administrator and a marketer; return the marketer."""
    create = Customer.objects.create_user
    create(
        ADMINISTRATOR, "demo@example.com", ADMINISTRATOR, is_staff=True, is_superuser=True
    )  # fmt: skip
    marketer = create(MARKETER, "marketer@example.com", MARKETER, is_staff=True)
    marketer.user_permissions.set(Permission.objects.filter(codename__in=OF_MARKETER))
    return marketer
