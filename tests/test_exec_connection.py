"""Views on an alias of their own: they follow once the row is committed."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import transaction

from segments import sync
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Membership, Segment, SegmentRefresh, Status
from tests.conftest import USERS
from tests.shop.models import Order

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "exec"]),
    pytest.mark.usefixtures("clean_views", "exec_alias"),
]

FEW = f"SELECT id FROM {USERS} WHERE username < 'u3'"


def test_segment__lives_as_on_one_alias(users, make, query):
    segment = make(static_ids=users[8:], definition=FEW)
    assert (segment.members_count, segment.status) == (5, Status.REFRESHED)
    assert users[0].is_member(segment)
    assert users[9].is_member("vip")
    segment.slug, segment.definition = "gold", f"{FEW} LIMIT 1"
    segment.static_ids = []
    segment.save()
    assert query("SELECT count(*) FROM segments.gold") == [(1,)]
    assert segment.refresh().members_count == 1
    assert sync.check() == []
    segment.delete()
    assert query("SELECT to_regclass('segments.gold')") == [(None,)]
    assert not Membership.objects.exists()


def test_instance__that_was_saved_knows_what_came_of_it(users, make, query):
    segment = make(definition=FEW)
    assert segment.refreshed_at is not None
    users[0].delete()
    assert segment.has_member(users[0]) is segment.has_member_live(users[0]) is False
    assert query("SELECT count(*) FROM segments.vip") == [(3,)]  # As of the last refresh.


def test_manager_method__of_a_model_needs_no_table_of_django(make):
    orders = ContentType.objects.get_for_model(Order)
    make(manager_method="all", model=orders)
    segment = Segment.objects.using("exec").get()
    assert segment.refresh(force=True).members_count == 0
    assert "model" not in segment._state.fields_cache


def test_views__follow_on_commit(users, make, relation):
    with transaction.atomic():
        segment = make()
        assert relation("segments.vip") is None
    assert relation("segments.vip") is not None
    with transaction.atomic():
        segment.delete()
        assert relation("segments.vip") is not None
    assert relation("segments.vip") is None


def test_rollback__leaves_no_views(users, make, relation):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        make()
        1 / 0  # noqa: B018
    assert relation("segments.vip") is None


@pytest.mark.parametrize(
    ("definition", "error"),
    [
        ("SELECT id FROM nowhere", SegmentDefinitionError),
        ("SELECT 1; SELECT 2", SegmentDefinitionError),
        (f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1", SegmentExecutionError),
    ],
)
def test_bad_definition__is_refused_before_anything_is_saved(
    definition, error, users, make, names
):
    segment = make(definition=FEW)
    before = names()
    with pytest.raises(error):
        make("bad", definition=definition)
    segment.definition = definition
    with pytest.raises(error):
        segment.save()
    assert names() == before
    assert Segment.objects.get().definition == FEW
    assert SegmentRefresh.objects.count() == 1


def test_views__that_cannot_follow_say_so_and_are_healed_by_a_sync(users, make, dba):
    dba("CREATE TABLE segments.vip (note text)")
    with pytest.raises(SegmentExecutionError, match='"vip"'):
        make()
    segment = Segment.objects.get()
    assert (segment.status, segment.members_count) == (Status.FAILED, None)
    assert "vip" in segment.refreshes.get().error
    with pytest.raises(SegmentExecutionError, match="does not exist"):
        users[0].is_member(segment)
    dba("DROP TABLE segments.vip")
    assert [entry.error for entry in sync.sync()] == [None]
    segment.refresh_from_db()
    assert users[0].is_member(segment)
    assert segment.status == Status.REFRESHED


def test_migrate__of_the_alias_of_the_rows_syncs_the_views(users, make, dba, relation):
    make()
    dba("DROP MATERIALIZED VIEW segments.vip")
    call_command("migrate", database="default", verbosity=0)
    assert relation("segments.vip") is not None


def test_static_segment__may_be_saved_twice_in_one_transaction(users, make):
    with transaction.atomic():
        segment = make(static_ids=users[:2])
        segment.name = "Other"
        segment.save()
    assert len(Segment.objects.get()) == 2


def test_save_and_delete__in_one_transaction(users, make, relation):
    segment = make()
    with transaction.atomic():
        segment.slug = "gold"
        segment.save()
        segment.delete()
    assert relation("segments.vip") is None
    assert relation("segments.gold") is None


def test_deletion__that_is_refused_says_so_before_the_row_is_gone(users, make):
    segment = make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    with pytest.raises(SegmentExecutionError, match="depends on"):
        segment.delete()
    assert Segment.objects.count() == 2


def test_deletion__of_what_is_read_by_what_goes_along(users, make, names):
    before = names()
    make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    make("other")
    Segment.objects.all().delete()
    assert names() == before
    assert not Segment.objects.exists()
