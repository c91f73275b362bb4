"""A program that prepares an empty database for the application, before the tests run."""

import io
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from tests.databases import PASSWORD

READABLE = ("accounts_segmentableuser", "shop_order", "shop_offer", "stock_plan", "stock_visit")
"""The tables that definitions may read; django_session is not one of them."""


def prepare():
    """Migrate as the application, set up the owner of the views, create a first segment."""
    from django.contrib.auth import get_user_model

    from segments.models import Segment

    call_command("migrate", run_syncdb=True, verbosity=0, stdout=io.StringIO())
    if settings.SETUP != "one_role":
        call_command(
            "grant_segments", "--role", settings.OWNER, "--app-role", settings.APP,
            *(f"--read={table}" for table in READABLE), "--using=privileged", "--apply",
        )  # fmt: skip
        with connections["privileged"].cursor() as cursor:
            cursor.execute(f"ALTER ROLE {settings.OWNER} PASSWORD '{PASSWORD}'")
    user = get_user_model().objects.create(username="first")
    table = user._meta.db_table
    # Without a sync before, the first segment creates what all segments share.
    segment = Segment.objects.create(name="x", slug="x", definition=f"SELECT id FROM {table}")
    assert user.is_member("x")
    assert user.is_member_live("x")
    segment.delete()
    user.delete()
    for alias in ("default", "exec"):
        call_command("check", "--database", alias, fail_level="WARNING")


if __name__ == "__main__":
    django.setup()
    sys.exit(prepare())
