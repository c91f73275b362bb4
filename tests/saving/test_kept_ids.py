"""What else than `save()` and a commit does to a list: rollbacks, chosen fields, other writers."""

import pickle
from copy import copy, deepcopy

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction

from segments import sync
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Membership, Segment, StaticMember
from segments.users.querysets import SegmentUserQuerySet
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db


class RollbackError(Exception):
    """Ends a transaction."""


def rolled_back(function):
    with pytest.raises(RollbackError), transaction.atomic():
        function()
        raise RollbackError


def ids_of_list(segment):
    found = StaticMember.objects.filter(segment=segment.pk)
    return sorted(found.values_list("user_id", flat=True))


def ids(segment):
    found = ids_of_list(segment)
    assert found == sorted(segment.member_ids())
    return found


def keys(users):
    return sorted(user.pk for user in users)


# Rollbacks.


@pytest.mark.parametrize("kind", [tuple, "\n".join, "queryset"])
def test_save__after_a_rollback_saves_the_list_again(kind, users, make):
    segment = make(static_ids=users[:1])
    chosen = type(users[0]).objects.filter(pk__in=keys(users[2:4]))
    segment.static_ids = chosen if kind == "queryset" else kind(map(str, keys(users[2:4])))
    rolled_back(segment.save)
    assert ids(segment) == keys(users[:1])
    segment.save()
    assert ids(segment) == keys(users[2:4])
    segment.add(users[5])
    segment.save()  # Nothing is assigned any more.
    assert ids(segment) == keys([*users[2:4], users[5]])


def test_save__of_a_new_segment_after_a_rollback(users):
    segment = Segment(name="New", slug="new", static_ids=users[:2])
    rolled_back(segment.save)
    segment.save()
    assert ids(segment) == keys(users[:2])


def test_save__in_the_same_transaction_saves_the_list_once(users, make):
    segment = make(definition=EVEN)
    segment.static_ids = users[:2]
    with transaction.atomic():
        segment.save()
        segment.add(users[3])
        segment.name = "Other"
        segment.save()
        assert ids_of_list(segment) == keys([*users[:2], users[3]])


@pytest.mark.parametrize("how", ["assigned", "loaded"])
def test_save__after_a_rollback_takes_the_list_given_since(how, users, make):
    segment = make(static_ids=users[:1])
    segment.static_ids = users[1:3]
    rolled_back(segment.save)
    if how == "assigned":
        segment.static_ids = users[4:6]
    else:
        segment.load_ids(users[4:6])
    segment.save()
    assert ids(segment) == keys(users[4:6])


def test_refresh_from_db__forgets_what_was_rolled_back(users, make):
    segment = make(static_ids=users[:1])
    segment.static_ids = users[1:3]
    rolled_back(segment.save)
    segment.refresh_from_db()
    segment.save()
    assert ids(segment) == keys(users[:1])


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies__of_a_segment_have_saved_nothing(copied, users, make):
    with transaction.atomic():
        segment = make(static_ids=users[:1])
        other = copied(segment)
        segment.add(users[1])
        other.save()
    assert ids(segment) == keys(users[:2])


@pytest.mark.django_db(transaction=True)
def test_commit__lets_go_of_the_list(users, make, clean_views):
    segment = make(static_ids=users[:1])
    with transaction.atomic():
        segment.static_ids = users[1:3]
        segment.save()
    segment.add(users[5])
    segment.save()
    assert ids(segment) == keys([*users[1:3], users[5]])


# Chosen fields.


def test_update_fields__leaves_the_list_to_the_next_save(users, make):
    segment = make(static_ids=users[:1])
    segment.name, segment.static_ids = "Other", users[1:3]
    segment.save(update_fields=["name"])
    assert (Segment.objects.get().name, ids(segment)) == ("Other", keys(users[:1]))
    segment.save(update_fields=["static_ids"])
    assert ids(segment) == keys(users[1:3])
    segment.static_ids = users[:2]
    segment.save(update_fields=[])
    assert ids(segment) == keys(users[1:3])
    segment.save()
    assert ids(segment) == keys(users[:2])


def test_update_fields__that_fail_keep_the_list(users, make):
    segment = make(static_ids=users[:1])
    segment.static_ids = users[1:3]
    with pytest.raises(ValueError, match="nonsense"):
        segment.save(update_fields=["nonsense"])
    assert segment.static_ids == users[1:3]


# Other writers.


@pytest.mark.parametrize("write", ["bulk_create", "bulk_update"])
def test_bulk__refuses_a_list_that_it_would_not_save(write, users, make):
    segment = make(definition=EVEN) if write == "bulk_update" else Segment(name="B", slug="b")
    segment.static_ids = users[:2]
    fields = [["name"]] if write == "bulk_update" else []
    with pytest.raises(SegmentDefinitionError, match="its list would not be saved"):
        getattr(Segment.objects, write)(iter([segment]), *fields)
    assert Segment.objects.count() == (1 if fields else 0)


def answers(user):
    """Yield functions that ask whether a user is in the segment."""
    users = SegmentUserQuerySet(type(user))
    yield lambda: user.is_member("vip")
    yield lambda: users.in_segment("vip").filter(pk=user.pk).exists()
    yield lambda: not users.not_in("vip").filter(pk=user.pk).exists()
    yield lambda: users.prefetch_segments().get(pk=user.pk).is_member("vip")
    yield lambda: len(Segment.objects.get(slug="vip")) > 0


def test_loaddata__is_an_error_until_the_sync(users, make, tmp_path):
    """A fixture says that the segment was refreshed, which was in another database."""
    segment = make(static_ids=users[:3])
    rows = [*Segment.objects.all(), *StaticMember.objects.all()]
    file = tmp_path / "segments.json"
    file.write_text(serializers.serialize("json", rows))
    segment.delete()
    call_command("loaddata", str(file), verbosity=0)
    for ask in answers(users[0]):
        with pytest.raises(SegmentExecutionError), transaction.atomic():
            ask()
    loaded = Segment.objects.get()
    assert (loaded.status, loaded.members_count, loaded.refreshed_at) == (
        "unpopulated",
        None,
        None,
    )
    assert [result.error for result in sync.sync()] == [None]
    assert [ask() for ask in answers(users[0])] == [True] * 5
    assert Membership.objects.count() == 3


def test_loaddata__over_a_segment_keeps_its_state(users, make, tmp_path):
    segment = make(static_ids=users[:3])
    file = tmp_path / "segments.json"
    file.write_text(serializers.serialize("json", Segment.objects.all()))
    segment.add(users[5])
    call_command("loaddata", str(file), verbosity=0)
    assert Segment.objects.get().members_count == 4
    assert all(ask() for ask in answers(users[5]))


class ElsewhereRouter:
    """Puts segments on another alias than that of the other models."""

    def db_for_write(self, model, **hints):
        return "exec" if model._meta.app_label == "segments" else None


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_segment__of_another_database_is_refused(users, exec_alias, clean_views, settings):
    settings.DATABASE_ROUTERS = ["tests.saving.test_kept_ids.ElsewhereRouter"]
    for write in (
        lambda: Segment.objects.using("default").create(name="A", slug="a", definition=EVEN),
        lambda: Segment(name="A", slug="a").save(using="default"),
    ):
        with pytest.raises(SegmentExecutionError, match='segments are in the database "exec"'):
            write()
    assert not Segment.objects.exists()


# What can be no segment.


@pytest.mark.parametrize("definition", [None, b"SELECT 1", 7, ["SELECT 1"]], ids=str)
def test_definition__is_text(definition):
    with pytest.raises(SegmentDefinitionError, match="the definition is text, not") as caught:
        Segment(name="A", slug="a", definition=definition).save()
    assert "manager_method" in caught.value.hint


def test_definition__is_no_queryset(users):
    chosen = type(users[0]).objects.filter(is_staff=True)
    with pytest.raises(SegmentDefinitionError, match="the definition is text, not"):
        Segment(name="A", slug="a", definition=chosen).save()


def test_timeout__below_zero(users, make, settings):
    for settings.SEGMENTS_MAX_TIMEOUT in (None, 60):
        with pytest.raises(SegmentDefinitionError, match="its timeout is below zero"):
            make(definition=f"SELECT id FROM {USERS}", timeout=-1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")  # The transaction is usable.
