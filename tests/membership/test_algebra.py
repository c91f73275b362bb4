"""Segments that combine others, and Django's own methods of the same names."""

import pytest

from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Segment
from tests.membership.conftest import LATE


def members(segment):
    return sorted(user.username for user in segment.members)


@pytest.mark.django_db
@pytest.mark.roles
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("union", "u0 u1 u2 u4 u6 u7 u8 u9"),
        ("intersection", ""),
        ("difference", "u2 u4"),
    ],
)
def test_combine__three_segments(method, expected, even, late, pilot):
    combined = getattr(Segment.objects, method)("mixed", even, "late", "pilot")
    assert members(combined) == expected.split()
    assert (combined.name, combined.kind) == ("mixed", "sql")
    assert Segment.objects.get(slug="mixed").members_count == len(expected.split())


@pytest.mark.django_db
def test_combine__takes_slugs_in_both_spellings_and_fields(even, late):
    combined = Segment.objects.intersection(
        "both", "is_even", late, name="Both", description="Late and even.", refresh_every=60
    )
    assert members(combined) == ["u6", "u8"]
    assert (combined.name, combined.description) == ("Both", "Late and even.")
    assert combined.refresh_every.total_seconds() == 60


@pytest.mark.django_db
def test_combine__follows_a_refresh_of_what_it_reads(even, late, staff):
    combined = Segment.objects.union("either", even, late)
    staff(1)
    even.refresh()
    assert members(combined) == ["u0", "u2", "u4", "u6", "u7", "u8", "u9"]
    combined.refresh()
    assert members(combined) == ["u1", "u6", "u7", "u8", "u9"]


@pytest.mark.django_db
def test_combine__is_refreshed_with_what_it_reads(even, late, staff):
    combined = Segment.objects.difference("early", even, late)
    staff(3, 7)
    result = even.refresh(with_dependents=True)
    assert [each.slug for each in result.dependents] == ["early"]
    assert members(combined) == ["u3"]


@pytest.mark.django_db
def test_combine__keeps_what_it_reads_from_being_deleted(even, late):
    combined = Segment.objects.union("either", even, late)
    with pytest.raises(SegmentExecutionError, match="either"):
        even.delete()
    assert len(even) == 5
    combined.delete()
    even.delete()


@pytest.mark.slow
@pytest.mark.django_db
def test_combine__is_rewritten_when_what_it_reads_is_renamed(even, late):
    combined = Segment.objects.union("either", even, late)
    even.rename("all", rewrite=True)  # A word of SQL.
    again = Segment.objects.intersection("again", "all", combined)
    assert members(again) == members(even)
    combined.refresh_from_db()
    assert combined.refresh(force=True).members_count == 7


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["union", "intersection", "difference"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("mixed", "late"), SegmentDefinitionError, "takes 2 segments or more, not 1"),
        (("mixed",), SegmentDefinitionError, "takes 2 segments or more, not 0"),
        (("mixed", "late", "late"), SegmentDefinitionError, '"late".*takes each segment once'),
        (("mixed", "late", "pilod"), Segment.DoesNotExist, 'Did you mean "pilot"'),
        (("mixed", "late", 17), TypeError, "segments or their slugs are needed, not 17"),
        (("mixed", "late", Segment(slug="new")), SegmentExecutionError, "not saved yet"),
        (("pilot", "late", "pilot"), SegmentDefinitionError, '"pilot" already has the view'),
        (("Bad slug", "late", "pilot"), SegmentDefinitionError, "a slug starts with"),
    ],
)
def test_combine__refuses(method, arguments, error, message, late, pilot):
    before = set(Segment.objects.values_list("slug", flat=True))
    with pytest.raises(error, match=message):
        getattr(Segment.objects, method)(*arguments)
    assert set(Segment.objects.values_list("slug", flat=True)) == before


@pytest.mark.django_db
def test_combine__refuses_another_definition(late, pilot):
    with pytest.raises(TypeError, match="definition"):
        Segment.objects.union("mixed", late, pilot, definition=LATE)
    with pytest.raises(TypeError, match="all"):
        Segment.objects.union("mixed", late, pilot, all=True)
    assert Segment.objects.count() == 2


@pytest.mark.django_db
def test_combine__refuses_a_deleted_segment(late, pilot):
    deleted = Segment.objects.get(slug="late")
    late.delete()
    with pytest.raises(SegmentExecutionError, match='"late": it has been deleted'):
        Segment.objects.union("either", deleted, pilot)


@pytest.mark.django_db
def test_combine__refuses_a_segment_that_was_never_populated(late):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=LATE)])
    words = '"new": it was never populated, so .*\n.*Refresh it first: .*refresh_segments new'
    for method in ("union", "intersection", "difference"):
        with pytest.raises(SegmentExecutionError, match=words):
            getattr(Segment.objects, method)("either", late, "new")
    assert not Segment.objects.filter(slug="either").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["is-even", "is_even"])
def test_clone__refuses_the_slug_of_another_in_either_spelling(slug, even, late):
    for copy in (late.clone, late.freeze, late.sample):
        with pytest.raises(SegmentDefinitionError, match='"is-even" already has the view'):
            copy(slug)
    with pytest.raises(SegmentDefinitionError, match='"is-even" already has the view'):
        Segment.objects.union(slug, even, late)
    assert Segment.objects.count() == 2


@pytest.mark.django_db
def test_django__querysets_are_combined_as_ever(even, late, pilot):
    first, second = Segment.objects.filter(slug="late"), Segment.objects.exclude(slug="pilot")
    slugs = {each.slug for each in first.union(Segment.objects.filter(slug="pilot"))}
    assert slugs == {"late", "pilot"}
    assert len(first.union(second, all=True)) == 3
    assert [each.slug for each in first.intersection(second)] == ["late"]
    assert [each.slug for each in Segment.objects.difference(second)] == ["pilot"]
    assert Segment.objects.none().union(first).get() == late
    assert set(first.union()) == {late}
    assert Segment.objects.count() == 3
