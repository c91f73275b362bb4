"""Views on another alias: they follow once the row is committed."""

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


@pytest.mark.roles
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


def test_instance__that_was_saved_shows_its_refresh(staff, users, make):
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


@pytest.mark.roles
def test_views__follow_on_commit(users, make, relation):
    with transaction.atomic():
        segment = make()
        assert relation("segments.vip") is None
    assert relation("segments.vip") is not None
    with transaction.atomic():
        segment.delete()
        assert relation("segments.vip") is not None
    assert relation("segments.vip") is None


def test_segment__may_be_created_and_renamed_in_one_transaction(users, make):
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
    """Otherwise a read before the views follow returns the members of another segment."""
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


def test_name__that_was_new_in_this_transaction_may_be_taken(users, make):
    with transaction.atomic():
        rename(make(definition=FEW))
        make()
        make("gone", definition=FEW).delete()
        make("gone")
    assert len(Segment.objects.get(slug="other")) == 3
    assert len(Segment.objects.get(slug="vip")) == 10
    assert len(Segment.objects.get(slug="gone")) == 10
    assert sync.check() == []


def test_orphan__has_its_name_until_it_is_pruned(users, make):
    make(definition=FEW)
    forget(Segment.objects.all())
    with pytest.raises(SegmentDefinitionError, match="sync_segments --prune"):
        make()
    list(sync.sync(prune=True))
    assert len(make()) == 10


@pytest.mark.roles
def test_failure_to_follow__stops_no_other_segment(users, make, dba, relation, caplog):
    gone, moved = make("gone"), make("moved")
    dba("CREATE TABLE segments.vip (note text)")
    dba("CREATE TABLE segments.bad (note text)")
    with transaction.atomic():
        failed = make()
        make("bad")
        gone.delete()
        rename(moved)
        make("good")
    statuses = dict(Segment.objects.values_list("slug", "status"))
    assert statuses == {
        "vip": "failed",
        "bad": "failed",
        "other": "refreshed",
        "good": "refreshed",
    }
    assert failed.status == "failed"
    assert '"vip" already exists' in failed.last_error
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert 'segment "bad": relation "bad" already exists' in caplog.text
    assert users[0].is_member("good")
    assert users[0].is_member("other")
    assert relation("segments.gone") is None
    dba("DROP TABLE segments.vip, segments.bad")
    assert [result.error for result in sync.sync()] == [None, None]


def test_failure_to_follow__outlives_a_rolled_back_savepoint(users, make, dba):
    dba("CREATE TABLE segments.vip (note text)")
    with transaction.atomic():
        make()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            make("undone")
            1 / 0  # noqa: B018
    assert [segment.status for segment in Segment.objects.all()] == ["failed"]
    dba("DROP TABLE segments.vip")


def test_failure_to_drop__is_logged_and_found_by_a_sync(users, make, dba, caplog, settings):
    segment = make()
    with transaction.atomic():
        segment.delete()
        dba("CREATE VIEW public.foreign_view AS SELECT * FROM segments.vip")
    assert "The views of segment vip were not dropped" in caplog.text
    assert [result.slug for result in sync.check()] == ["vip"]
    dba("DROP VIEW public.foreign_view")
    assert [result.error for result in sync.sync(prune=True)] == [None]


@pytest.mark.roles
def test_rollback__leaves_no_views(users, make, relation):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        make()
        1 / 0  # noqa: B018
    assert relation("segments.vip") is None


@pytest.mark.roles
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


@pytest.mark.roles
def test_views__that_cannot_follow_are_repaired_by_a_sync(users, make, dba):
    dba("CREATE TABLE segments.vip (note text)")
    make()
    segment = Segment.objects.get()
    assert (segment.status, segment.members_count) == (Status.FAILED, None)
    assert "vip" in segment.refreshes.get().error
    with pytest.raises(SegmentExecutionError, match="does not exist"):
        users[0].is_member(segment)
    dba("DROP TABLE segments.vip")
    assert [result.error for result in sync.sync()] == [None]
    segment.refresh_from_db()
    assert users[0].is_member(segment)
    assert segment.status == Status.REFRESHED


@pytest.mark.roles
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


@pytest.mark.roles
def test_save_and_delete__in_one_transaction(users, make, relation):
    segment = make()
    with transaction.atomic():
        segment.slug = "gold"
        segment.save()
        segment.delete()
    assert relation("segments.vip") is None
    assert relation("segments.gold") is None


@pytest.mark.roles
def test_deletion__is_refused_before_the_row_is_gone(users, make):
    segment = make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    with pytest.raises(SegmentExecutionError, match="depends on"):
        segment.delete()
    assert Segment.objects.count() == 2


def test_deletion__of_a_segment_together_with_its_reader(users, make, names):
    before = names()
    make()
    make("reader", definition="SELECT user_id FROM segments.vip")
    make("other")
    Segment.objects.all().delete()
    assert names() == before
    assert not Segment.objects.exists()
