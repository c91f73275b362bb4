"""The gate sees a call at any place in a definition."""

import pytest
from django.db import transaction

from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from tests.gate.positions import ALLOWED_CALL, ONLY_SINCE_17, POSITIONS, REFUSED_CALLS

pytestmark = pytest.mark.django_db


def called(sql, call):
    """Return the error of the gate for a definition, or None if it accepts it."""
    segment = Segment(name="x", slug="x", definition=sql.replace("{call}", call))
    try:
        with transaction.atomic():
            segment.save()
            transaction.set_rollback(True)
    except SegmentDefinitionError as error:
        return error.message
    return None


@pytest.fixture
def there(query):
    """Create the objects that hostile calls name."""
    query("CREATE SEQUENCE calls")


@pytest.mark.parametrize("sql", [*POSITIONS.values()], ids=POSITIONS)
def test_call__is_seen_wherever_it_stands(sql, orders, there):
    assert called(sql, ALLOWED_CALL) is None
    assert "calls set_config()" in called(sql, REFUSED_CALLS["set_config"])


@pytest.mark.parametrize("sql", [*ONLY_SINCE_17.values()], ids=ONLY_SINCE_17)
def test_call__is_seen_in_json(sql, orders, there, query):
    if query("SELECT current_setting('server_version_num')::int < 170000") == [(True,)]:
        pytest.skip("Postgres 17 has these.")
    assert called(sql, ALLOWED_CALL) is None
    assert "calls set_config()" in called(sql, REFUSED_CALLS["set_config"])


@pytest.mark.parametrize("name", REFUSED_CALLS)
def test_call__is_named(name, orders, there, make):
    make()
    found = called("SELECT user_id FROM shop_order WHERE {call} = 1", REFUSED_CALLS[name])
    assert found.startswith(f"the definition calls {name}(), which ")
