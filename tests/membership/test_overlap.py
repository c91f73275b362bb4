"""How many users two segments share, and which."""

import pytest
from django.db import models

from segments import overlap
from segments.exceptions import SegmentDefinitionError, SegmentError, SegmentExecutionError
from segments.membership.overlap import MOST, Pair, users_in
from segments.models import Segment
from tests.conftest import USERS
from tests.membership.conftest import LATE


@pytest.mark.django_db
@pytest.mark.roles
def test_overlap__counts_every_pair(even, late, pilot):
    found = overlap([even, "late", "pilot"])
    assert found.counts == {"is-even": 5, "late": 4, "pilot": 2}
    assert found.pairs == (
        Pair("is-even", "late", 2, 3, 2),
        Pair("is-even", "pilot", 1, 4, 1),
        Pair("late", "pilot", 0, 4, 2),
    )
    assert [pair.jaccard for pair in found.pairs] == [2 / 7, 1 / 6, 0]


@pytest.mark.django_db
def test_overlap__finds_a_pair_in_either_order(even, late):
    found = overlap(["is_even", late])
    assert found.pair("late", "is_even") == Pair("late", "is-even", 2, 2, 3)
    assert found.pair(even, late) == found.pairs[0]
    for other in ("pilot", "late"):
        with pytest.raises(KeyError, match="were not compared"):
            found.pair("late", other)


@pytest.mark.django_db
def test_overlap__is_of_the_last_refresh(even, late, staff):
    staff(9)
    assert overlap([even, late]).counts == {"is-even": 5, "late": 4}
    even.refresh()
    assert overlap([even, late]).pairs == (Pair("is-even", "late", 1, 0, 3),)


@pytest.mark.django_db
def test_overlap__of_nobody_has_no_index(users, make):
    for slug in ("none", "nobody"):
        make(slug, definition=f"SELECT id FROM {USERS} WHERE false")
    (pair,) = overlap(["none", "nobody"]).pairs
    assert (pair.both, pair.jaccard) == (0, None)


@pytest.mark.django_db
def test_overlap__leaves_out_users_who_were_deleted(even, late, query):
    query(f"DELETE FROM {USERS} WHERE username IN ('u0', 'u6')")
    found = overlap([even, late])
    assert found.pairs == (Pair("is-even", "late", 1, 2, 2),)
    assert found.counts == {each.slug: each.count_members() for each in (even, late)}


@pytest.mark.django_db
def test_overlap__leaves_out_users_who_are_hidden(even, late, settings, django_user_model):
    class Shown(models.Manager):
        def get_queryset(self):
            queryset = super().get_queryset().exclude(username__contains="%")
            return queryset.exclude(username__startswith="u8").order_by("username")

    manager = Shown()
    manager.auto_created = True
    manager.contribute_to_class(django_user_model, "shown")
    try:
        settings.SEGMENTS_USER_MANAGER = "shown"
        found = overlap([even, late])
        assert found.pairs == (Pair("is-even", "late", 1, 3, 2),)
        assert found.counts == {each.slug: each.count_members() for each in (even, late)}
        assert users_in([even, late]).count() == 1
    finally:
        django_user_model._meta.local_managers.remove(manager)
        django_user_model._meta._expire_cache()
        del django_user_model.shown


@pytest.mark.slow
@pytest.mark.django_db
def test_overlap__of_twenty_segments_is_one_statement(users, make, django_assert_max_num_queries):
    slugs = [f"list-{n}" for n in range(20)]
    for n, slug in enumerate(slugs):
        make(slug, static_ids=users[: n % 10])
    with django_assert_max_num_queries(8) as queries:  # With those that set the limits.
        found = overlap(slugs)
    assert len([each for each in queries if "FILTER" in each["sql"]]) == 1
    assert len(found.pairs) == 190
    for pair in found.pairs:
        first, second = (int(slug[5:]) % 10 for slug in (pair.first, pair.second))
        assert (pair.both, pair.only_first) == (min(first, second), max(first - second, 0))


@pytest.mark.slow
@pytest.mark.django_db
def test_overlap__of_the_most_segments_that_there_may_be(users, make):
    slugs = [f"list-{n}" for n in range(MOST)]
    for slug in slugs:
        make(slug, static_ids=users[:1])
    assert {pair.both for pair in overlap(slugs).pairs} == {1}
    make("one-more", static_ids=[])
    with pytest.raises(SegmentDefinitionError, match="50 segments or fewer, not 51"):
        overlap([*slugs, "one-more"])


BAD = [
    (["late"], SegmentDefinitionError, "a comparison takes 2 segments or more, not 1"),
    ("late", SegmentDefinitionError, "not 1"),
    ([], SegmentDefinitionError, "not 0"),
    (["late", "late"], SegmentDefinitionError, '"late": a comparison takes each segment once'),
    (["late", "lato"], Segment.DoesNotExist, '"lato". Did you mean "late"?'),
    (["late", None], TypeError, "segments or their slugs are needed, not None"),
    (["late", Segment(slug="new")], SegmentExecutionError, "not saved yet"),
    (["late", "new"], SegmentExecutionError, '"new": it was never populated'),
    (Segment(slug="new"), SegmentDefinitionError, "not 1"),
    (None, TypeError, "a comparison takes segments or their slugs, not None"),
    (17, TypeError, "a comparison takes segments or their slugs, not 17"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("segments", "error", "message"), BAD)
def test_overlap__refuses(segments, error, message, late):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=LATE)])
    with pytest.raises(error, match=message):
        overlap(segments)
    assert late.count_members() == 4


@pytest.mark.django_db
def test_overlap__of_stale_instances_is_of_their_own_segments(even, late, make):
    stale, unpopulated = Segment.objects.get(slug="late"), Segment.objects.get(slug="is-even")
    unpopulated.refreshed_at = None  # As it was when it was loaded.
    late.rename("later")
    make("late", static_ids=[])
    assert overlap([stale, unpopulated]).counts == {"later": 4, "is-even": 5}
    late.delete()
    with pytest.raises(SegmentExecutionError, match="it has been deleted"):
        overlap([stale, unpopulated])


@pytest.mark.django_db
def test_overlap__says_which_view_is_empty(even, late, owner):
    owner("REFRESH MATERIALIZED VIEW segments.late WITH NO DATA")
    with pytest.raises(SegmentError, match="late.*has not been populated"):
        overlap([even, late])


@pytest.mark.django_db
@pytest.mark.roles
def test_users__of_every_cell_are_those_that_are_counted(even, late, pilot):
    assert {user.username for user in users_in([even, "late"])} == {"u6", "u8"}
    assert {user.username for user in users_in(["is_even"], [late])} == {"u0", "u2", "u4"}
    assert {user.username for user in users_in([even], [late, pilot])} == {"u2", "u4"}
    assert set(users_in(even, "late")) == set(users_in([even], [late]))
    assert {user.username for user in users_in("late")} == {"u6", "u7", "u8", "u9"}
    for pair in overlap([even, late, pilot]).pairs:
        assert users_in([pair.first, pair.second]).count() == pair.both
        assert users_in([pair.first], [pair.second]).count() == pair.only_first
        assert users_in([pair.second], [pair.first]).count() == pair.only_second


@pytest.mark.django_db
def test_users__can_be_filtered_in_one_query(even, late, django_assert_num_queries):
    users = users_in([even], [late])
    with django_assert_num_queries(1):
        found = {user.username for user in users.filter(username__gt="u1")}
    assert found == {"u2", "u4"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("inside", "outside", "error", "message"),
    [
        ([], ["late"], SegmentDefinitionError, "takes a segment that the users are in"),
        (["late"], ["late"], SegmentDefinitionError, "takes each segment once"),
        (["lato"], [], Segment.DoesNotExist, 'Did you mean "late"'),
        (["late"], ["new"], SegmentExecutionError, '"new": it was never populated'),
        ("lato", [], Segment.DoesNotExist, 'Did you mean "late"'),
        (None, [], TypeError, "users_in takes segments or their slugs, not None"),
        (["late"], 17, TypeError, "users_in takes segments or their slugs, not 17"),
    ],
)
def test_users__of_no_cell(inside, outside, error, message, late):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=LATE)])
    with pytest.raises(error, match=message):
        users_in(inside, outside)
