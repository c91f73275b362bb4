"""A pytest plugin for a set-up: it skips tests of others and keeps the database clean.

A test about roles has the marker `roles`, and runs again in each set-up. The arguments of the
marker are the set-ups that can run the test, and `reason` says why the others cannot.
"""

import pytest
from django.conf import settings

from tests.isolated.role_setups.restored import prepared, restored  # noqa: F401


def pytest_collection_modifyitems(items):
    """Skip tests of other set-ups; commit and restore if views follow on commit."""
    for item in items:
        marker = item.get_closest_marker("roles")
        if marker and marker.args and settings.SETUP not in marker.args:
            item.add_marker(pytest.mark.skip(reason=marker.kwargs["reason"]))
        if settings.SETUP == "exec_alias" and item.get_closest_marker("django_db"):
            committed = pytest.mark.django_db(transaction=True, databases=["default", "exec"])
            item.add_marker(committed, append=False)
            item.fixturenames.insert(0, "restored")
