"""drop_segments works where the lock table is smaller than the number of segments."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction

from segments import sync
from segments.models import Segment
from tests.own_server import SETTINGS, own_server
from tests.sync.test_uninstall import LAST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("server"),
    pytest.mark.django_db(transaction=True),
]

SMALL = {
    "max_locks_per_transaction": "10",
    "max_connections": "10",
    "max_prepared_transactions": "0",
    "max_wal_senders": "0",
    "max_worker_processes": "2",
    "autovacuum_max_workers": "1",
}

SLUGS = [f"s{n}" for n in range(300)]


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker):
    """A server for this module only, with a small lock table."""
    with django_db_blocker.unblock(), own_server(SETTINGS | SMALL) as started:
        with django_db_blocker.block():
            yield started


def test_drop__of_many_segments_does_not_exhaust_the_lock_table(query):
    list(sync.sync())
    Segment.objects.bulk_create(
        [Segment(name=s, slug=s, definition="SELECT 1 AS id") for s in SLUGS]
    )
    for s in SLUGS:
        query(f"CREATE VIEW segments_live.{s} AS SELECT 1::bigint AS user_id")
        query(f"CREATE MATERIALIZED VIEW segments.{s} AS TABLE segments_live.{s}")
        query(f"CREATE UNIQUE INDEX ON segments.{s} (user_id)")
    with pytest.raises(OperationalError, match="out of shared memory"):
        with transaction.atomic(), connection.cursor() as cursor:
            for s in SLUGS:
                cursor.execute(f"DROP MATERIALIZED VIEW segments.{s}")
    out = StringIO()
    call_command("drop_segments", "--yes", stdout=out)
    assert out.getvalue().endswith(LAST)
    assert query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^segments'") == []
    assert not Segment.objects.exists()
