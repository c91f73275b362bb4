"""forget_user: lists, index, views and texts, and the reasons for what remains."""

import logging
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from segments import sync
from segments.models import Membership, Segment, SegmentChange, SegmentRefresh, StaticMember
from segments.sync.forget import FORGOTTEN
from tests.conftest import EVEN, USERS, forget
from tests.waiting import STUCK

pytestmark = pytest.mark.django_db

NOWHERE = "No list, no membership and no view of a segment has them.\n"


@pytest.fixture
def forget_user(db):
    """Run the command; return its output, including errors."""

    def call(*keys):
        out, call.failed = StringIO(), False
        try:
            call_command("forget_user", *map(str, keys), stdout=out, stderr=out)
        except CommandError as error:
            out.write(f"{error}\n")
            call.failed = True
        return out.getvalue()

    return call


@pytest.fixture
def holds(query):
    """Return the names of the views that contain a user."""

    def look(key):
        names = query("SELECT matviewname::text FROM pg_matviews WHERE schemaname = 'segments'")
        has = "SELECT count(*) FROM segments.{} WHERE user_id = %s"
        return {name for (name,) in names if query(has.format(name), key) == [(1,)]}

    return look


@pytest.mark.slow
def test_deleted_user__leaves_every_view_in_the_order_of_reading(forget_user, users, make, holds):
    make("z-base")
    make("a-reader", definition="SELECT user_id FROM segments.z_base")
    make("off", is_active=False)
    make("few", definition=f"SELECT id FROM {USERS} WHERE username > 'u5'")
    key = users[0].pk
    users[0].delete()
    assert holds(key) == {"z_base", "a_reader", "off"}
    lines = forget_user(key).splitlines()
    told = [line.partition(": refreshed without them")[0] for line in lines]
    assert sorted(told[:3]) == ["a-reader", "off", "z-base"]
    assert told.index("z-base") < told.index("a-reader")
    assert told[3:] == [NOWHERE.rstrip()]
    assert holds(key) == set()
    assert Segment.objects.get(slug="few").refreshes.count() == 1


def test_user_deleted_in_sql__leaves_list_and_index(forget_user, users, make, query, holds):
    make(static_ids=users[:3])
    query(f"DELETE FROM {USERS} WHERE id = ANY(%s)", [user.pk for user in users[:2]])
    assert StaticMember.objects.count() == Membership.objects.count() == 3
    assert forget_user(users[0].pk, users[1].pk).endswith(NOWHERE)
    assert StaticMember.objects.count() == Membership.objects.count() == 1
    assert holds(users[0].pk) == holds(users[1].pk) == set()


def test_existing_user__leaves_lists_and_stays_in_definitions(forget_user, users, make, holds):
    make("pilot", static_ids=users[:3])
    make()
    key = users[0].pk
    told = forget_user(key)
    assert forget_user.failed
    assert "pilot: refreshed without them" in told
    assert 'segment "vip": its definition selects them' in told
    assert f"Still in the table of users: {key}." in told
    assert told.endswith("Could not remove the users from: vip\n")
    assert holds(key) == {"vip"}
    users[0].delete()
    assert forget_user(key).endswith(NOWHERE)


def test_failure__does_not_stop_the_others(forget_user, failing, users, make, holds):
    make()
    make("gone")
    forget(Segment.objects.filter(slug="gone"))
    key = users[3].pk
    users[3].delete()
    told = forget_user(key)
    assert forget_user.failed
    assert 'segment "failing": division by zero' in told
    assert 'segment "gone": no segment has this view' in told
    assert told.endswith("Could not remove the users from: failing, gone\n")
    assert holds(key) == {"failing", "gone"}


def test_detached_segment__cannot_be_refreshed(forget_user, users, make):
    make()
    key = users[0].pk
    users[0].delete()
    list(sync.detach())
    assert "it was not refreshed, because it is detached" in forget_user(key)
    assert forget_user.failed


@pytest.mark.parametrize("key", ["ada", "1.5", "", str(2**63)])
def test_key__that_is_none_is_refused(key, forget_user, users, make):
    make(static_ids=users)
    assert "not a whole number of at most 64 bits" in forget_user(users[0].pk, key)
    assert forget_user.failed
    assert StaticMember.objects.count() == 10


def test_texts__that_name_the_user_are_cleared(forget_user, users, make):
    segment, key = make(static_ids=users[1:]), users[0].pk
    texts = {
        f"new row violates\nKey (user_id)=({key}) already exists.": FORGOTTEN,
        f'invalid input syntax: "{key}"': FORGOTTEN,
        f"no such column (line {key}, column {key})": None,
        f"Key (user_id)=({key}1) already exists.": None,
    }
    for text in texts:
        segment.refreshes.create(
            started_at=timezone.now(), duration=timezone.timedelta(), status="failed", error=text
        )
    Segment.objects.update(last_error=next(iter(texts)))
    users[0].delete()
    forget_user(key)
    left = SegmentRefresh.objects.filter(status="failed").values_list("error", flat=True)
    assert sorted(left) == sorted(new or old for old, new in texts.items())
    assert Segment.objects.get().last_error == FORGOTTEN


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_refresh__that_is_under_way_is_waited_for(forget_user, users, make, holds, session):
    """It has read the users before their deletion, and would bring one back."""
    segment = make()
    type(users[0]).objects.filter(pk=users[0].pk).update(is_staff=True)
    other = session()
    key = users[0].pk
    other.execute("BEGIN")
    other.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"segments:{segment.pk}"]
    )
    other.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY segments.vip")
    users[0].delete()
    told = []

    def run():
        told.append(forget_user(key))
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    watcher = session()
    while not watcher.execute(STUCK).fetchone():
        assert thread.is_alive()
    other.execute("COMMIT")
    thread.join()
    assert told[0].endswith(NOWHERE)
    assert holds(key) == set()


def test_logs__hold_no_values_of_rows(users, make, query, caplog):
    query("CREATE TABLE letter (id bigint, address text)")
    query("INSERT INTO letter VALUES (1, 'ada@example.com')")
    make(definition="SELECT id FROM letter WHERE id < 5")
    Segment.objects.update(definition="SELECT address::bigint AS id FROM letter")
    query("DROP MATERIALIZED VIEW segments.vip")
    with caplog.at_level(logging.INFO, "segments"):
        from segments.sync.migrate import after_migrate

        after_migrate("default", stdout=None)
    assert 'segment "vip": an error of Postgres, SQLSTATE 22P02' in caplog.text
    assert "ada" not in caplog.text


def test_forgotten_user__leaves_changes_that_consumers_then_miss(forget_user, staff, make, users):
    segment = make(definition=EVEN)
    with segment.consumer("crm") as delivery:
        assert len(list(delivery)) == 5
    staff(1, 4)
    segment.refresh(force=True)
    keys = [users[0].pk, users[1].pk, users[2].pk]
    for user in users[:3]:
        user.delete()
    assert forget_user(*keys).endswith(NOWHERE)
    assert not SegmentChange.objects.filter(user_id__in=keys).exists()
    with segment.consumer("crm") as delivery:
        assert {change.user for change in delivery} == {users[6].pk, users[8].pk}
