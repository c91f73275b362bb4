"""Segments that are combined and compared."""

import pytest

from tests.conftest import EVEN, USERS

LATE = f"SELECT id FROM {USERS} WHERE username > 'u5'"
"""The users u6 to u9; the fixture `staff` makes a member of every second user."""


@pytest.fixture
def even(staff, make):
    return make("is-even", definition=EVEN)


@pytest.fixture
def late(users, make):
    return make("late", definition=LATE)


@pytest.fixture
def pilot(users, make):
    return make("pilot", static_ids=users[:2])
