"""Static ids: the forms that a list may have, and an error for each bad entry."""

from io import BytesIO

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models import Count
from django.utils.functional import SimpleLazyObject

from segments.exceptions import SegmentDefinitionError
from segments.models import Segment, StaticMember
from tests.conftest import USERS
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


BOM, ZERO, NO_BREAK = "\ufeff", "\u200b", "\u00a0"


def lines(users):
    """Return text with the key of each user on a line of its own."""
    return "".join(f"{user.pk}\n" for user in users)


def of(model, users):
    """Return a queryset of the rows of these users."""
    return model.objects.filter(pk__in=[user.pk for user in users])


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
    "queryset of rows": lambda users: of(type(users[0]), users).values_list("pk"),
    "queryset of dictionaries": lambda users: of(type(users[0]), users).values("id"),
    "queryset that prefetches": lambda users: of(type(users[0]), users).prefetch_related("groups"),
    "lazy users": lambda users: [SimpleLazyObject(lambda user=user: user) for user in users],
    "bytes": lambda users: lines(users).encode(),
    "bytes with a byte order mark": lambda users: lines(users).encode("utf-8-sig"),
    "bytearray": lambda users: bytearray(lines(users).encode()),
    "memoryview": lambda users: memoryview(lines(users).encode()),
    "lines of bytes": lambda users: lines(users).encode("utf-8-sig").splitlines(),
    "binary file": lambda users: BytesIO(lines(users).encode()),
    "upload": lambda users: SimpleUploadedFile("ids.txt", lines(users).encode("utf-8-sig")),
    "byte order mark": lambda users: BOM + lines(users),
    "zero-width": lambda users: "".join(f"{ZERO}{user.pk}{ZERO}{BOM}\n" for user in users),
    "no-break": lambda users: "".join(f"{NO_BREAK}{user.pk}{NO_BREAK}\r\n" for user in users),
    "blank lines": lambda users: f"{NO_BREAK}\n{ZERO}\n" + lines(users),
    "blank entries": lambda users: [
        "",
        " ",
        NO_BREAK,
        BOM,
        b"",
        "\n",
        *map(str, listed_pks(users)),
    ],
}


def listed_pks(users):
    return [user.pk for user in users]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_static_ids__come_in_many_forms(form, users, make):
    segment = make(static_ids=form(users[:3]))
    assert listed(segment) == {user.pk for user in users[:3]}
    assert set(segment.member_ids()) == listed(segment)
    assert segment.kind == "static"


QUERYSETS = {
    "filter": lambda users: users.filter(username__in=["u1", "u2", "100%"]),
    "slice": lambda users: users.order_by("-username")[7:9],
    "distinct": lambda users: users.order_by("last_name").distinct(),
    "union": lambda users: users.filter(username="u1").union(users.filter(username="u2")),
    "deferred": lambda users: users.only("username").filter(username="u2"),
    "format": lambda users: users.filter(username__contains="{0}"),
    "none": lambda users: users.none(),
    "empty having": lambda users: users.annotate(n=Count("groups")).filter(n__in=[]),
}


@pytest.mark.parametrize("form", QUERYSETS.values(), ids=QUERYSETS)
def test_queryset_of_users__stays_in_postgres(form, users, make, query, monkeypatch):
    query(f"UPDATE {USERS} SET username = '100%%' WHERE username = 'u9'")
    query(f"UPDATE {USERS} SET username = '{{0}}' WHERE username = 'u8'")
    monkeypatch.delattr("segments.definition.static_ids._numbered")
    chosen = form(type(users[0]).objects.all())
    assert listed(make(static_ids=chosen)) == {user.pk for user in chosen}


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


@pytest.mark.parametrize("entry", [None, True, 1.5, b"\xff", ["1"], AnonymousUser()])
def test_bad_entry__of_an_iterable_is_reported(entry, users, make):
    with pytest.raises(SegmentDefinitionError, match="line 2: .* is no"):
        make(static_ids=[users[0].pk, entry])


def test_bad_line__names_what_nobody_sees(users, make):
    with pytest.raises(SegmentDefinitionError) as caught:
        make(static_ids=f"{users[0].pk}\n1{ZERO}7\n1{NO_BREAK}{ZERO}7")
    first, second = str(caught.value).split("\n")[1:3]
    assert first.startswith("  line 2: ")
    assert first.endswith("(it contains U+200B)")
    assert second.endswith("(it contains U+00A0, U+200B)")


def test_bytes__that_are_no_text_are_refused():
    for ids in ("48\n".encode("utf-16"), b"48\n\xff"):
        with pytest.raises(SegmentDefinitionError, match="are not text in UTF-8") as caught:
            Segment(slug="vip", static_ids=ids)
        assert (caught.value.slug, caught.value.field) == ("vip", "static_ids")


def test_codes_of_bytes__make_nobody_a_member(django_user_model, make):
    model = django_user_model
    coded = [model(pk=pk, username=f"coded{pk}") for pk in (10, 48, 52, 56)]
    model.objects.bulk_create(coded)
    for ids in (b"48\n", [b"48"], bytearray(b"48"), memoryview(b"48\n")):
        segment = make(static_ids=ids)
        assert set(segment.member_ids()) == {48}
        segment.delete()


OTHERS = {
    "queryset": lambda order: Order.objects.filter(pk=order.pk),
    "queryset of keys": lambda order: Order.objects.values_list("pk", flat=True),
    "instances": lambda order: [order],
    "instance": lambda order: order,
    "no relation": lambda order: Group.objects.all(),
    "number": lambda order: order.pk,
    "manager": lambda order: Order.objects,
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_another_model__is_refused_with_a_type_error(others, users, orders, make, names):
    before = names()
    with pytest.raises(TypeError, match="is not a user|static_ids takes text, or an iterable"):
        make(static_ids=others(orders[0]))
    assert names() == before
    assert not StaticMember.objects.exists()


def test_another_model__is_told_its_relation(users, orders, make):
    with pytest.raises(TypeError) as caught:
        make(static_ids=Order.objects.filter(amount__gt=200))
    advice = str(caught.value).partition("; end it with ")[2]
    assert advice == '.values_list("user_id", flat=True)'
    segment = make(
        static_ids=Order.objects.filter(amount__gt=200).values_list("user_id", flat=True)
    )
    assert set(segment.member_ids()) == {users[n].pk for n in range(5, 10)}


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
