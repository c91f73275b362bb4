"""Loading the list of a segment that is new: it is saved with its list, or not at all."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentExecutionError,
    SegmentListError,
)
from segments.models import Segment, SegmentChange, SegmentRefresh, StaticMember
from tests.conftest import EVEN, USERS
from tests.lists.test_load import keys, members, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def pilot():
    return Segment(name="Pilot", slug="pilot")


@pytest.fixture
def nothing(pilot):
    """Assert in the end that the segment is as new as before, and that nothing is left of it."""
    yield pilot
    assert (pilot.pk, pilot._state.adding, pilot.unsaved_static_ids) == (None, True, None)
    assert not Segment.objects.filter(name="Pilot").exists()
    assert not StaticMember.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('segments.pilot'), to_regclass('segments_live.pilot')")
        assert cursor.fetchone() == (None, None)


def unread():
    """Yield a user as a list that must not be read."""
    raise AssertionError("the list was read")
    yield


def test_load__saves_the_segment_with_its_list(pilot, users):
    report = pilot.load_ids(text([*users[:3], users[2]]))
    assert (report.lines, report.added, report.removed, report.duplicates) == (4, 3, 0, 1)
    stored = Segment.objects.get()
    assert members(stored) == keys(users[:3])
    assert (stored.name, stored.kind, stored.status) == ("Pilot", "static", "refreshed")
    assert (pilot.pk, pilot.members_count, pilot.refreshed_at) == (
        stored.pk,
        3,
        stored.refreshed_at,
    )
    assert pilot.unsaved_static_ids is None
    assert pilot.has_member(users[0])
    assert not pilot.has_member(users[5])


def test_load__goes_on_as_with_any_list(pilot, users):
    pilot.load_ids("u0\nu1\n", by="username")
    report = pilot.load_ids(text(users[1:4]))
    assert (report.added, report.removed, report.already_there) == (2, 1, 1)
    assert members(pilot) == keys(users[1:4])


def test_load__is_a_first_population(pilot, users):
    """One row of the history; nobody has entered, since there was nothing to enter."""
    pilot.load_ids(text(users))
    (row,) = SegmentRefresh.objects.all()
    assert (row.segment_id, row.members_count, row.added, row.removed) == (pilot.pk, 10, 10, 0)
    assert not SegmentChange.objects.exists()
    pilot.remove(users[0])
    assert [change.user_id for change in SegmentChange.objects.all()] == [users[0].pk]


def test_load__refreshes_at_once_whatever_the_settings_are(pilot, users, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE, settings.SEGMENTS_REFRESH_ASYNC = False, True
    pilot.load_ids(text(users[:3]))
    assert members(pilot) == keys(users[:3])


def test_load__compares_members_with_none(pilot, users):
    with CaptureQueriesContext(connection) as captured:
        pilot.load_ids(text(users))
    said = "\n".join(each["sql"] for each in captured)
    assert 'INSERT INTO "segments_membership"' in said
    assert "WITH change AS" not in said


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_load__of_no_line_is_an_empty_list(pilot, mode):
    assert pilot.load_ids("", mode=mode).added == 0
    assert members(pilot) == set()
    assert pilot.refreshed_at


def test_add__saves_it_as_well(pilot, users):
    assert pilot.add(users[:2]).added == 2
    assert members(pilot) == keys(users[:2])


def test_load__beside_a_definition(pilot, users, staff):
    staff(7)
    pilot.definition = f"SELECT id FROM {USERS} WHERE is_staff"
    pilot.load_ids(text(users[:2]))
    assert pilot.kind == "sql"
    assert members(pilot) == keys([*users[:2], users[7]])


def test_load__skips_bad_lines(pilot, users):
    report = pilot.load_ids(f"x\n{users[0].pk}\n0\n", skip_bad=True)
    assert (report.malformed, report.unknown, report.added) == (1, 1, 1)
    assert members(pilot) == keys(users[:1])


@pytest.mark.parametrize(
    ("source", "options", "error"),
    [
        ("u0\nx\n", {"by": "username"}, "cannot be used, and nothing was loaded"),
        ("x\n0\n", {"skip_bad": True}, "no line of the list names a user"),
        ("", {"allow_empty": False}, "has no line"),
        ("1\n", {"by": "email"}, "is not unique"),
        ("id,id\n1,1\n", {}, "twice"),
    ],
)
def test_load__that_is_refused_saves_nothing(users, nothing, source, options, error):
    with pytest.raises(SegmentListError, match=error):
        nothing.load_ids(source, **options)


def test_load__may_be_tried_again(pilot, users):
    with pytest.raises(SegmentListError):
        pilot.load_ids("x\n")
    pilot.load_ids(text(users[:1]))
    assert members(pilot) == keys(users[:1])


def test_load__leaves_an_outer_transaction_usable(nothing, users):
    with transaction.atomic():
        with pytest.raises(SegmentListError):
            nothing.load_ids("x\n")
        assert Segment.objects.count() == 0


def test_remove__needs_a_list(nothing):
    with pytest.raises(SegmentExecutionError, match="not saved yet"):
        nothing.remove(unread())


def test_load__beside_ids_that_were_assigned(pilot, users):
    pilot.static_ids = users[:1]
    with pytest.raises(SegmentListError, match="static ids that are not saved yet") as caught:
        pilot.add(unread())
    assert "Save it before" in caught.value.hint
    pilot.save()
    assert members(pilot) == keys(users[:1])


@pytest.mark.parametrize(
    ("slug", "why"), [("Not a slug", "slug"), ("a-b", "already has the view")]
)
def test_slug__is_checked_before_the_list_is_read(make, nothing, slug, why):
    make("a_b", definition=EVEN)
    nothing.slug = slug
    with pytest.raises(SegmentDefinitionError, match=why):
        nothing.load_ids(unread())


def test_definition__that_is_refused_saves_nothing(nothing, users, settings):
    settings.SEGMENTS_MAX_COST = 1
    nothing.definition = f"SELECT id FROM {USERS}"
    with pytest.raises(SegmentCostError):
        nothing.load_ids(text(users[:2]))
    nothing.definition = "SELECT id FROM nowhere"
    with pytest.raises(SegmentDefinitionError, match="nowhere"):
        nothing.load_ids(text(users[:2]))


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_load__with_a_connection_of_its_own_for_views(pilot, users, exec_alias, clean_views):
    pilot.load_ids(text(users[:4]))
    assert members(pilot) == keys(users[:4])
    assert pilot.members_count == 4
