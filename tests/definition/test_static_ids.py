"""Static ids: the forms that a list may have, and an error for each bad entry."""

import pytest
from django.core.exceptions import ValidationError

from segments.exceptions import SegmentDefinitionError
from segments.models import Segment, StaticMember

pytestmark = pytest.mark.django_db


def listed(segment):
    return set(StaticMember.objects.filter(segment=segment).values_list("user_id", flat=True))


FORMS = {
    "text": lambda users: "\n".join(str(user.pk) for user in users),
    "text with blanks": lambda users: "\r\n".join(f"  {user.pk} \r\n\t" for user in users),
    "ids": lambda users: [user.pk for user in users],
    "strings": lambda users: tuple(str(user.pk) for user in users),
    "users": lambda users: users,
    "duplicates": lambda users: [*users, *users],
    "generator": lambda users: (user.pk for user in users),
    "generator over a query": lambda users: (
        user.pk for user in type(users[0]).objects.order_by("pk")[:3].iterator()
    ),
    "queryset": lambda users: type(users[0]).objects.filter(pk__in=[user.pk for user in users]),
    "queryset of keys": lambda users: (
        type(users[0])
        .objects.filter(pk__in=[user.pk for user in users])
        .values_list("pk", flat=True)
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_static_ids__come_in_many_forms(form, users, make):
    segment = make(static_ids=form(users[:3]))
    assert listed(segment) == {user.pk for user in users[:3]}
    assert set(segment.member_ids()) == listed(segment)
    assert segment.kind == "static"


def test_static_ids__read_back_one_a_line(users, make):
    segment = make(static_ids=users[:2])
    assert Segment.objects.get().static_ids == f"{users[0].pk}\n{users[1].pk}"
    assert segment.static_ids == Segment.objects.get().static_ids


@pytest.mark.roles
def test_static_ids__change_by_assignment_and_else_stay(users, make):
    segment = make(static_ids=users[:3])
    segment.name = "Other"
    segment.save()
    assert len(listed(segment)) == 3
    segment.static_ids = users[2:4]
    segment.save()
    assert listed(segment) == {users[2].pk, users[3].pk}
    assert segment.has_member(users[3])
    assert not segment.has_member(users[0])
    segment.static_ids = ""
    segment.save()
    assert len(segment) == 0


def test_static_ids__are_forgotten_on_reload(users, make):
    segment = make(static_ids=users[:3])
    segment.static_ids = "nonsense"
    segment.refresh_from_db()
    segment.save()
    assert len(listed(segment)) == 3


@pytest.mark.parametrize("entry", ["vip", "1.5", "1_0", "1 2", "1,2", "0x1", "--1", "9" * 19, "½"])
def test_bad_line__is_reported_with_its_number(entry, users, make, names):
    before = names()
    with pytest.raises(SegmentDefinitionError) as caught:
        make(static_ids=f"{users[0].pk}\n\n{entry}\n{users[1].pk}")
    assert f'line 3: "{entry}" is not a whole number' in str(caught.value)
    assert caught.value.field == "static_ids"
    assert names() == before
    assert not StaticMember.objects.exists()


@pytest.mark.parametrize("entry", [None, True, 1.5, b"1", ["1"]])
def test_bad_entry__of_an_iterable_is_reported(entry, users, make):
    with pytest.raises(SegmentDefinitionError, match="line 2: .* is no"):
        make(static_ids=[users[0].pk, entry])


def test_bad_lines__are_all_counted_and_reported_in_order(users, make):
    lines = [str(users[0].pk), "x", "987654", "y", "987655"]
    with pytest.raises(SegmentDefinitionError) as caught:
        make(static_ids="\n".join(lines))
    assert str(caught.value).split("\n") == [
        'segment "vip": 4 lines of the static ids cannot be used:',
        '  line 2: "x" is not a whole number of at most 64 bits',
        "  line 3: no user has the id 987654",
        '  line 4: "y" is not a whole number of at most 64 bits',
        "  line 5: no user has the id 987655",
        "Hint: Write one id a line, each of an existing user.",
    ]


def test_bad_lines__beyond_the_first_are_counted(users, make):
    with pytest.raises(SegmentDefinitionError, match=r"30 lines .*(?s:.*)and 10 more"):
        make(static_ids="x\n" * 30)


def test_bad_line__is_a_validation_error(users):
    segment = Segment(name="x", slug="x", static_ids="nobody")
    with pytest.raises(ValidationError, match="line 1"):
        segment.full_clean()


@pytest.mark.roles
def test_bad_line__keeps_the_list_of_before(users, make):
    segment = make(static_ids=users[:3])
    segment.static_ids = "nobody"
    with pytest.raises(SegmentDefinitionError):
        segment.save()
    assert len(listed(segment)) == 3
    assert len(segment) == 3


def test_iterator__is_kept_until_it_is_saved(users, make):
    segment = Segment(name="x", slug="X", static_ids=iter(users))
    with pytest.raises(SegmentDefinitionError, match="a slug starts"):
        segment.save()
    segment.slug = "x"
    segment.definition = "nonsense"
    with pytest.raises(SegmentDefinitionError, match="syntax error"):
        segment.save()
    segment.definition = ""
    segment.full_clean()
    assert segment.preview().members_count == len(users)
    segment.save()
    assert len(segment) == len(users)


@pytest.mark.roles
def test_deleted_user__leaves_the_list(users, make):
    segment = make(static_ids=users[:3])
    users[0].delete()
    assert len(listed(segment)) == 2
    assert segment.refresh().members_count == 2


@pytest.mark.roles
def test_user_deleted_in_sql__is_no_member(users, make, query):
    segment = make(static_ids=users[:3])
    query("DELETE FROM accounts_segmentableuser WHERE id = %s", users[0].pk)
    assert segment.refresh().members_count == 2


@pytest.mark.roles
def test_two_lists__in_one_transaction(users, make):
    make("a", static_ids=users[:3])
    make("b", static_ids=users[3:])
    assert StaticMember.objects.count() == len(users)


def test_static_ids__survive_the_loading_of_a_deferred_field(users, make):
    make(static_ids=users[:2])
    segment = Segment.objects.defer("definition").get()
    segment.static_ids = users[:5]
    segment.save()
    assert len(segment) == 5


def test_static_ids__may_be_the_lines_of_a_file(users, make, tmp_path):
    path = tmp_path / "ids"
    path.write_text("".join(f"{user.pk}\n" for user in users[:3]))
    with path.open() as lines:
        assert len(make(static_ids=lines)) == 3
