"""Views on an alias of their own: they follow once the row is committed."""

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import transaction

from segments import sync
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Membership, Segment, SegmentRefresh, Status
from tests.conftest import EVEN, USERS, forget
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


def test_instance__that_was_saved_answers_as_of_its_refresh(staff, users, make):
    segment = make(definition=EVEN)
    staff(1)
    assert segment.has_member(users[0])
    assert not segment.has_member_live(users[0])


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


def test_segment__that_is_made_and_renamed_in_one_transaction(users, make):
    with transaction.atomic():
        segment = make("first", definition=FEW)
        rename(segment, "second")
        rename(segment, "third")
    assert segment.status == Status.REFRESHED
    assert users[0].is_member("third")
    assert not users[9].is_member("third")
    assert sync.check() == []


def test_segment__may_have_its_name_back_in_one_transaction(users, make):
    segment = make(definition=FEW)
    with transaction.atomic():
        for slug in ("gold", "vip", "gold", "vip"):
            rename(segment, slug)
    assert len(segment) == 3
    assert sync.check() == []


def rename(segment, slug="other"):
    segment.slug = slug
    segment.save()


@pytest.mark.parametrize("give_up", [rename, Segment.delete], ids=["rename", "delete"])
@pytest.mark.parametrize("take", ["rename", "make"])
def test_name__is_taken_only_once_the_views_of_before_are_gone(give_up, take, users, make):
    """Else one who asks before the views have followed gets the members of the other segment."""
    segment, second = make(), make("second", definition=FEW)

    def have_the_name():
        rename(second, "vip") if take == "rename" else make(definition=FEW)

    with transaction.atomic():
        give_up(segment)
        with pytest.raises(SegmentDefinitionError, match="still exists(?s:.*)commit") as caught:
            have_the_name()
    assert caught.value.field == "slug"
    assert not Segment.objects.filter(slug="vip").exists()
    have_the_name()
    assert users[0].is_member("vip")
    assert not users[9].is_member("vip")
    assert sync.check() == []


def test_name__that_was_new_in_this_transaction_is_not_taken_either(users, make):
    with transaction.atomic():
        rename(make(definition=FEW))
        with pytest.raises(SegmentDefinitionError, match="is there still"):
            make()
        make("gone", definition=FEW).delete()
        make("gone")
    assert len(Segment.objects.get(slug="other")) == 3
    assert len(Segment.objects.get(slug="gone")) == 10
    assert sync.check() == []


def test_orphan__has_its_name_until_it_is_pruned(users, make):
    make(definition=FEW)
    forget(Segment.objects.all())
    with pytest.raises(SegmentDefinitionError, match="sync_segments --prune"):
        make()
    list(sync.sync(prune=True))
    assert len(make()) == 10


def test_failure_to_follow__stops_no_other_segment_of_the_transaction(users, make, dba, relation):
    gone, moved = make("gone"), make("moved")
    dba("CREATE TABLE segments.vip (note text)")
    dba("CREATE TABLE segments.bad (note text)")
    with pytest.raises(SegmentExecutionError, match='(?s)segment "vip".*segment "bad"'):
        with transaction.atomic():
            make()
            make("bad")
            gone.delete()
            rename(moved)
            make("good")
    found = dict(Segment.objects.values_list("slug", "status"))
    assert found == {"vip": "failed", "bad": "failed", "other": "refreshed", "good": "refreshed"}
    assert users[0].is_member("good")
    assert users[0].is_member("other")
    assert relation("segments.gone") is None
    dba("DROP TABLE segments.vip, segments.bad")
    assert [entry.error for entry in sync.sync()] == [None, None]


def test_failure_to_follow__is_told_though_a_savepoint_after_it_is_rolled_back(users, make, dba):
    dba("CREATE TABLE segments.vip (note text)")
    with pytest.raises(SegmentExecutionError, match='"vip"'), transaction.atomic():
        make()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            make("undone")
            1 / 0  # noqa: B018
    dba("DROP TABLE segments.vip")


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
