"""The pages of many segments, and of a long list: they answer in a moment.

The bound is for busy machines, and so is the least time of several.
"""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.conftest import USERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("server"),
    pytest.mark.django_db(transaction=True),  # One transaction has no locks for so many views.
]

BOUND = 0.9
"""How many seconds a page may take."""

ADD_USERS = f"""
    INSERT INTO {USERS} (username, email, password, first_name, last_name, is_active, is_staff,
        is_superuser, date_joined)
    SELECT name, name || '@example.com', '', '', '', true, false, false, now()
    FROM generate_series(1, %s) AS n, format('buyer-%%s', n) AS name
"""

ADD_TO_LIST = f"""
    INSERT INTO segments_staticmember (segment_id, user_id)
    SELECT %s, id FROM {USERS} WHERE username LIKE 'buyer-%%'
"""


def measured(client, url):
    """Return the least time of five requests after a first one, and the number of queries."""
    client.get(url)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert client.get(url).status_code == 200
        times.append(time.perf_counter() - started)
    with CaptureQueriesContext(connection) as queries:
        client.get(url)
    return min(times), len(queries)


def test_list__of_a_thousand_real_segments(users, make, admin_client, query):
    def grow(numbers):
        for n in numbers:
            kind = {"static_ids": users[:3]} if n % 10 == 0 else {}
            make(f"s-{n}", description=f"About #tag{n % 7}", refresh_every=3600, **kind)
        query("ANALYZE")
        return measured(admin_client, reverse("admin:segments_segment_changelist"))

    _, queries = grow(range(100))
    assert grow(range(100, 1000)) == (pytest.approx(0, abs=BOUND), queries)


def test_list__of_a_million(make, admin_client, query):
    segment = make("large", static_ids=[])
    query(ADD_USERS, 1_000_000)
    query(ADD_TO_LIST, segment.pk)
    query(f"ANALYZE segments_staticmember, {USERS}")
    for name in ("list", "change", "overview"):
        url = reverse(f"admin:segments_segment_{name}", args=[segment.pk])
        assert measured(admin_client, url)[0] < BOUND
        if name != "overview":
            assert "1,000,000 users" in admin_client.get(url).content.decode()
