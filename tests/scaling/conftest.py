"""What the suites share; each runs in a process of its own, on servers of its own."""

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command


@pytest.fixture(scope="session")
def people(django_db_blocker):
    """Migrate the database of this process, and return twenty users with the names u0 to u19."""
    users = get_user_model().objects
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)
        users.bulk_create([users.model(username=f"u{n}") for n in range(20)])
        yield list(users.using("default").order_by("pk"))
