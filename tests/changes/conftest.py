"""Fixtures for changes: a segment of the staff, and what changed in it."""

import pytest

from tests.conftest import EVEN


@pytest.fixture
def segment(staff, make):
    """A segment of u0, u2, u4, u6 and u8, after its first population."""
    return make(definition=EVEN)


@pytest.fixture
def move(staff, segment):
    """Choose the staff by the numbers in their names, and refresh; return the result."""

    def refresh(*numbers):
        staff(*numbers)
        return segment.refresh(force=True)

    return refresh


@pytest.fixture
def told(users):
    """Return changes as texts: `+0` for u0 who entered, `-2` who left, `=4` for a member."""
    numbers = {user.pk: n for n, user in enumerate(users)}

    def tell(changes):
        signs = {"entered": "+", "left": "-"}
        return [
            f"{'=' if change.snapshot else signs[change.change]}{numbers[change.user]}"
            for change in changes
        ]

    return tell
