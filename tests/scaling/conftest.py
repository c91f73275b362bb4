"""A server and twenty users for each module; a test deletes what it commits."""

import pytest
from django.contrib.auth import get_user_model

from tests.own_server import own_server
from tests.scaling.growth import SETTINGS


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker):
    """A server for the module, with autovacuum; its tests need no mark django_db."""
    with django_db_blocker.unblock(), own_server(SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def people(server):
    """Twenty users with the names u0 to u19."""
    users = get_user_model().objects
    users.bulk_create([users.model(username=f"u{n}") for n in range(20)])
    return list(users.using("default").order_by("pk"))
