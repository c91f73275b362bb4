"""Loading lists: modes, forms of a source, what is refused, and what stays."""

import gzip
import io
import os
import random
import subprocess
import sys
import tracemalloc
from contextlib import suppress

import pytest
from django.db import connection, transaction
from django.db.models import (
    DO_NOTHING,
    CheckConstraint,
    Manager,
    OneToOneField,
    Q,
    UniqueConstraint,
)
from django.db.models.functions import Lower
from django.test.utils import CaptureQueriesContext

from segments.exceptions import (
    SegmentDefinitionError,
    SegmentExecutionError,
    SegmentListError,
    SegmentLockedError,
)
from segments.models import Membership, Segment, StaticMember
from segments.signals import segment_refreshed
from segments.sync import detach
from tests.conftest import EVEN, USERS
from tests.processes import ROOT
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


def text(users):
    return "".join(f"{user.pk}\n" for user in users)


def listed(segment):
    return set(StaticMember.objects.filter(segment=segment).values_list("user_id", flat=True))


def members(segment):
    """Return the members by the view, after comparing them with the membership index."""
    ids = set(segment.member_ids())
    index = Membership.objects.filter(segment=segment)
    assert set(index.values_list("user_id", flat=True)) == ids
    return ids


def keys(users):
    return {user.pk for user in users}


@pytest.fixture
def pilot(users, make):
    """A list of the users 0, 1 and 2."""
    return make("pilot", static_ids=users[:3])


@pytest.fixture
def unchanged(pilot, users):
    """Assert in the end that the list and its members are as before."""
    yield pilot
    assert listed(pilot) == members(pilot) == keys(users[:3])
    assert Segment.objects.get(pk=pilot.pk).status == Segment.Status.REFRESHED


def refused(segment, source, error=SegmentListError, **options):
    with pytest.raises(error) as caught:
        segment.load_ids(source, **options)
    return caught.value


# Modes


def test_replace__reports_and_refreshes(pilot, users):
    report = pilot.load_ids(text([*users[2:5], users[4]]))
    assert listed(pilot) == members(pilot) == keys(users[2:5])
    assert (report.lines, report.added, report.removed) == (4, 2, 2)
    assert (report.already_there, report.not_there, report.duplicates) == (1, 0, 1)
    assert (report.malformed, report.unknown, report.still_members) == (0, 0, 0)
    assert (pilot.members_count, pilot.status) == (3, Segment.Status.REFRESHED)


@pytest.mark.parametrize("source", ["", "\n", "id\n", [], io.BytesIO(b"")])
def test_replace__may_empty_a_list(source, pilot):
    assert pilot.load_ids(source).removed == 3
    assert listed(pilot) == members(pilot) == set()


@pytest.mark.parametrize("source", ["", "\n", "id,name\n,\n", b"", []])
def test_replace__by_no_line_is_refused_on_demand(source, unchanged):
    error = refused(unchanged, source, allow_empty=False)
    assert "has no line, and nothing was loaded" in str(error)
    assert "--allow-empty" in error.hint
    assert unchanged.load_ids(source, mode="add", allow_empty=False).lines == 0


def test_replace__by_no_good_line_is_refused(unchanged, users):
    for source, by in (("x\n0\n", "pk"), ("no\nbody\n", "username"), ([0], "pk")):
        error = refused(unchanged, source, by=by, skip_bad=True)
        assert "no line of the list names a user, and nothing was loaded" in str(error)
        assert error.report.bad == error.report.lines > 0
        assert (error.report.added, error.report.removed) == (0, 0)
    for mode in ("add", "remove"):
        assert unchanged.load_ids("x\n0\n", mode=mode, skip_bad=True).bad == 2


def test_add__keeps_the_others(pilot, users):
    report = pilot.load_ids(text(users[2:4]), mode="add")
    assert (report.added, report.removed, report.already_there) == (1, 0, 1)
    assert listed(pilot) == members(pilot) == keys(users[:4])


def test_remove__counts_those_that_are_not_there(pilot, users):
    report = pilot.load_ids(text(users[2:4]), mode="remove")
    assert (report.removed, report.not_there, report.already_there) == (1, 1, 0)
    assert listed(pilot) == members(pilot) == keys(users[:2])


def test_mode__must_be_one_of_three(unchanged):
    assert '"replace", "add" or "remove", not "append"' in str(
        refused(unchanged, "1", mode="append")
    )


def test_load__leaves_other_segments(pilot, users, make):
    other = make("other", static_ids=users[:5])
    pilot.load_ids(text(users[5:]))
    assert listed(other) == members(other) == keys(users[:5])


def test_load__enters_the_history_and_sends_the_signal(
    pilot, users, django_capture_on_commit_callbacks
):
    results = []

    def receive(result, **kwargs):
        results.append((result.added, result.removed))

    segment_refreshed.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            pilot.load_ids(text(users[2:5]))
    finally:
        segment_refreshed.disconnect(receive)
    assert results == [(2, 2)]
    assert pilot.refreshes.count() == 2


def test_load__is_current_whatever_the_settings_are(pilot, users, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    pilot.load_ids(text(users))
    assert members(pilot) == keys(users)


def test_load__of_what_is_there_refreshes_nothing(pilot, users):
    pilot.load_ids(text(users[:3]))
    assert pilot.refreshes.count() == 1
    Segment.objects.filter(pk=pilot.pk).update(status=Segment.Status.OUTDATED)
    assert pilot.load_ids(text(users[:3])).already_there == 3
    assert pilot.refreshes.count() == 2


def test_load__ends_with_its_transaction(pilot, users):
    with transaction.atomic():
        pilot.load_ids(text(users))
        assert members(pilot) == keys(users)
        transaction.set_rollback(True)
    assert listed(pilot) == members(pilot) == keys(users[:3])


def test_load__may_be_repeated_in_one_transaction(pilot, users):
    with transaction.atomic():
        pilot.load_ids(text(users[3:]))
        refused(pilot, "x")
        pilot.load_ids("username\nu0\n", by="username", mode="add")
    assert members(pilot) == keys([users[0], *users[3:]])


# Sources

SOURCES = {
    "text": text,
    "text without an end": lambda users: text(users).rstrip(),
    "text of Windows": lambda users: text(users).replace("\n", "\r\n"),
    "text of old Macs": lambda users: text(users).replace("\n", "\r"),
    "unseen characters": lambda users: "\ufeff" + text(users).replace("\n", "\u200b\u00a0 \n\n"),
    "bytes": lambda users: text(users).encode(),
    "byte order mark": lambda users: text(users).encode("utf-8-sig"),
    "memoryview": lambda users: memoryview(text(users).encode()),
    "text file": lambda users: io.StringIO(text(users)),
    "binary file": lambda users: io.BytesIO(text(users).encode("utf-8-sig")),
    "header": lambda users: "id\n" + text(users),
    "header pk": lambda users: "\n PK \n" + text(users),
    "header in quotes": lambda users: '"user_id"\n' + text(users),
    "quoted": lambda users: "".join(f'"{user.pk}"\n' for user in users),
    "CSV": lambda users: "name,id\n" + "".join(f'"a\nb",{user.pk}\n' for user in users),
    "semicolons": lambda users: "id;name\n" + "".join(f"{user.pk};a,b\n" for user in users),
    "tabs": lambda users: "id\tname\n" + "".join(f"{user.pk}\tx\n" for user in users),
    "CSV with a break in the header": lambda users: (
        '"na\nme";"i""d";id\n' + "".join(f'"5"" x";b 7" c;{user.pk}\n' for user in users)
    ),
    "byte order mark before a quote": lambda users: (
        '\ufeff"id","name"\n' + "".join(f'"{user.pk}","x"\n' for user in users)
    ),
    "two byte order marks": lambda users: (
        '\ufeff\ufeff"id","a,b"\n' + "".join(f"{user.pk},x\n" for user in users)
    ).encode(),
    "rows of a spreadsheet": lambda users: (
        ";;\nid;name;\n;;\n" + "".join(f"{user.pk};x;\n" for user in users) + ";; \n;;;;\n;;\n"
    ),
    "commas after a list": lambda users: text(users) + ",,,\n,,,\n",
    "NUL characters elsewhere": lambda users: (
        b"id,name\n" + b"".join(b"%d,x\0y\n" % user.pk for user in users)
    ),
    "text file with a byte order mark": lambda users: io.StringIO('\ufeff"id"\n' + text(users)),
    "signs and zeros": lambda users: "".join(f"+000{user.pk}\n" for user in users),
    "ids": lambda users: [user.pk for user in users],
    "strings": lambda users: [f" {user.pk}\n" for user in users],
    "lines of bytes": lambda users: [b"%d\n" % user.pk for user in users],
    "users": lambda users: users,
    "generator": lambda users: (user.pk for user in users),
    "queryset": lambda users: type(users[0]).objects.exclude(username="x"),
    "queryset of keys": lambda users: type(users[0]).objects.values_list("pk", flat=True),
    "queryset of a union": lambda users: type(users[0]).objects.union(
        type(users[0]).objects.all()
    ),
}


@pytest.mark.parametrize("form", SOURCES)
def test_sources__of_every_form(pilot, users, form):
    report = pilot.load_ids(SOURCES[form](users))
    assert members(pilot) == keys(users)
    assert (report.lines, report.added, report.already_there) == (10, 7, 3)


def test_path__is_read(pilot, users, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text(text(users))
    assert pilot.load_ids(path).added == 7
    with path.open("rb") as file:
        assert pilot.load_ids(file).already_there == 10


def test_path__that_does_not_exist(unchanged, tmp_path):
    error = refused(unchanged, tmp_path / "none.csv")
    assert "none.csv cannot be read: No such file or directory" in str(error)


def test_path__as_a_string_is_explained(unchanged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.csv").write_text("1")
    assert "Pass pathlib.Path('ids.csv')" in str(refused(unchanged, "ids.csv"))


@pytest.mark.parametrize("source", [17, None, {"id": 1}])
def test_source__of_a_wrong_type(unchanged, source):
    assert "text, a path, a file" in str(refused(unchanged, source, TypeError))


def test_source__of_another_model(unchanged, orders):
    refused(unchanged, orders, TypeError)
    refused(unchanged, Order.objects.all(), TypeError)


def test_generator__may_query_on_the_same_connection(pilot, users):
    model = type(users[0])
    pilot.load_ids(model.objects.get(pk=user.pk).pk for user in users)
    assert members(pilot) == keys(users)


# Fields


# Only root may look at what is below /proc/1/root; others get an error that names no missing file.
@pytest.mark.parametrize("source", ["x" * 4000, "é" * 190, "a\0b", "\ud800", "/proc/1/root/x"])
def test_text__that_cannot_be_a_path(source, unchanged):
    for by in ("pk", "username"):
        refused(unchanged, source, by=by)


def test_path__that_cannot_be_opened(unchanged, tmp_path):
    for path in (tmp_path, tmp_path / ("x" * 300), tmp_path / "a\0b", tmp_path / "\ud800"):
        assert "cannot be read: " in str(refused(unchanged, path))


def test_path__as_a_string_names_no_user(unchanged, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text("u5\n")
    assert "is the name of a file" in str(
        refused(unchanged, f"{path}\n", by="username", skip_bad=True)
    )


def test_file__that_cannot_be_read(unchanged, tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"1\n2\n3\n")
    with path.open("w") as file:
        assert "cannot be read" in str(refused(unchanged, file))
    path.write_bytes(b"1\n2\n3\n")
    with path.open(encoding="utf-16") as file:
        assert "cannot be read" in str(refused(unchanged, file))


def test_by__another_unique_field(pilot, users):
    source = "email,username\n" + "".join(f"x,{user.username}\n" for user in users[5:])
    assert pilot.load_ids(source, by="username").added == 5
    assert members(pilot) == keys(users[5:])


def test_by__takes_users_as_well(pilot, users):
    pilot.load_ids(users[5:], by="username")
    assert members(pilot) == keys(users[5:])


def test_by__is_exact(unchanged):
    error = refused(unchanged, "u0\nU1\n", by="username")
    assert 'line 2: no user has the username "U1"' in str(error)


def test_by__text_with_characters_that_copy_escapes(pilot, django_user_model):
    odd = django_user_model.objects.create(username="back\\slash\ttab\\N\\.")
    null = django_user_model.objects.create(username="\\N")
    pilot.load_ids(f'{null.username}\n"{odd.username}"\n', by="username")
    assert members(pilot) == keys([odd, null])


def test_by__email_if_it_is_unique(pilot, users, django_user_model, monkeypatch):
    for user in users:
        user.email = f"{user.username}@example.org"
        user.save()
    monkeypatch.setattr(django_user_model._meta.get_field("email"), "unique", True)
    pilot.load_ids("E-Mail;email\nx;u7@example.org\n", by="email")
    assert members(pilot) == keys(users[7:8])
    error = refused(pilot, "u8@example.org\nu9\nnobody@example.org\n", by="email")
    assert 'line 2: "u9" is not an e-mail address' in str(error)
    assert 'line 3: no user has the email "nobody@example.org"' in str(error)


def test_by__a_unique_constraint(pilot, users, django_user_model, monkeypatch):
    options = django_user_model._meta
    rule = UniqueConstraint(fields=["first_name"], name="x")
    monkeypatch.setattr(options, "constraints", [rule])
    options.__dict__.pop("total_unique_constraints", None)
    try:
        django_user_model.objects.filter(pk=users[4].pk).update(first_name="Ada")
        pilot.load_ids("Ada", by="first_name")
    finally:
        options.__dict__.pop("total_unique_constraints", None)
    assert members(pilot) == keys(users[4:5])


POSITIVE = CheckConstraint(condition=Q(id__gt=0), name="positive")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            UniqueConstraint(Lower("email"), name="x"),
            'is unique only by an expression, in the constraint "x", and a list is compared',
        ),
        (
            UniqueConstraint(fields=["email"], condition=Q(is_staff=True), name="x"),
            'is unique only where a condition holds, by the constraint "x"',
        ),
        (
            UniqueConstraint(fields=["email", "is_staff"], name="x"),
            'is unique only together with "is_staff", by the constraint "x"',
        ),
    ],
)
def test_by__a_constraint_that_does_not_suffice(
    rule, why, unchanged, django_user_model, monkeypatch
):
    options = django_user_model._meta
    monkeypatch.setattr(options, "constraints", [POSITIVE, rule])
    monkeypatch.setitem(options.__dict__, "total_unique_constraints", [])
    assert why in str(refused(unchanged, "x@example.org", by="email"))


@pytest.fixture
def first_order(orders, users, django_user_model, query):
    """The users have a field `first_order`, which is unique and a relation, by their numbers."""
    field = OneToOneField(Order, DO_NOTHING, null=True, related_name="+", db_constraint=False)
    field.contribute_to_class(django_user_model, "first_order")
    try:
        query(f"ALTER TABLE {USERS} ADD COLUMN first_order_id bigint UNIQUE")
        query(
            f"UPDATE {USERS} SET first_order_id = o.id FROM shop_order AS o "
            f"WHERE o.user_id = {USERS}.id"
        )
        yield orders
    finally:
        django_user_model._meta.local_fields.remove(field)
        django_user_model._meta._expire_cache()
        Order._meta._expire_cache()
        del django_user_model.first_order
        del django_user_model.first_order_id


def test_by__a_unique_relation(pilot, users, first_order):
    source = "first_order_id\n" + text(first_order[5:])
    assert pilot.load_ids(source, by="first_order").added == 5
    assert pilot.load_ids(users[4:], by="first_order_id").added == 1
    assert members(pilot) == keys(users[4:])
    error = refused(pilot, f"x\n0\n{2**70}\n", by="first_order")
    assert (error.report.malformed, error.report.unknown) == (2, 1)


def test_by__with_a_base_manager_that_has_parameters(pilot, users, django_user_model, monkeypatch):
    class Some(Manager):
        def get_queryset(self):
            return super().get_queryset().exclude(username__in=["u8", "50%s"])

    manager = Some()
    manager.model, manager.name = django_user_model, "some"
    monkeypatch.setitem(django_user_model._meta.__dict__, "base_manager", manager)
    error = refused(pilot, "u7\nu8\n", by="username")
    assert 'line 2: no user has the username "u8"' in str(error)
    assert pilot.load_ids("u7\nu8\n", by="username", skip_bad=True).added == 1
    assert pilot.remove(users[7]).removed == 1


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("email", 'the field "email" of accounts.SegmentableUser is not unique'),
        ("groups", 'the field "groups" of accounts.SegmentableUser is not unique'),
        ("nothing", 'accounts.SegmentableUser has no field "nothing"'),
    ],
)
def test_by__an_unknown_or_ambiguous_field(unchanged, by, why):
    error = refused(unchanged, "1", by=by)
    assert why in str(error)
    assert "by='pk', 'id', 'username'" in error.hint


# Bad lines


def test_bad_lines__leave_everything_as_it_was(unchanged, users):
    source = f"{users[5].pk}\nada\n\n{users[6].pk}\n999999\n17.5\n"
    error = refused(unchanged, source)
    assert str(error).splitlines() == [
        'segment "pilot": 3 lines of 5 cannot be used, and nothing was loaded:',
        '  line 2: "ada" is not a whole number of at most 64 bits',
        "  line 5: no user has the id 999999",
        '  line 6: "17.5" is not a whole number of at most 64 bits',
        "Hint: Correct these lines, or use the others: skip_bad=True (--skip-bad).",
    ]
    report = error.report
    assert (report.lines, report.malformed, report.unknown) == (5, 2, 1)
    assert (report.added, report.removed, report.already_there) == (0, 0, 0)
    assert [bad.number for bad in report.malformed_lines] == [2, 6]
    assert report.unknown_lines[0][:2] == (5, "999999")


@pytest.mark.parametrize("mode", ["replace", "add", "remove"])
def test_bad_lines__in_every_mode(unchanged, users, mode):
    refused(unchanged, f"{users[0].pk}\n{users[5].pk}\n0\n", mode=mode)
    refused(unchanged, f"{users[0].pk}\n{users[5].pk}\nx\n", mode=mode)


def test_bad_lines__are_skipped_on_demand(pilot, users):
    report = pilot.load_ids(f"{users[5].pk}\nada\n999999\n", skip_bad=True)
    assert (report.added, report.removed, report.malformed, report.unknown) == (1, 3, 1, 1)
    assert members(pilot) == keys(users[5:6])


def test_bad_lines__are_counted_and_the_first_named(unchanged):
    numbers = "".join(f"{n}\n" for n in range(-200, -100))
    report = refused(unchanged, "x\n" * 120 + numbers).report
    assert (report.malformed, report.unknown) == (120, 100)
    assert [bad.number for bad in report.malformed_lines] == list(range(1, 51))
    assert [bad.number for bad in report.unknown_lines] == list(range(121, 171))
    assert "and 70 more that are malformed" in str(report)
    assert "and 50 more that are unknown" in str(report)


def test_bad_lines__name_unseen_characters(unchanged, users):
    error = refused(unchanged, f"{users[0].pk}\u200b1")
    assert "(it contains U+200B" in str(error)


@pytest.mark.parametrize("entry", [None, True, 1.5, object()])
def test_bad_entries__of_an_iterable(unchanged, users, entry):
    report = refused(unchanged, [users[0], entry]).report
    assert [bad.number for bad in report.malformed_lines] == [2]


@pytest.mark.parametrize("entry", ["a\0b", "\ud800", "x" * 200])
def test_bad_entries__of_text(unchanged, entry):
    assert refused(unchanged, ["u0", entry], by="username").report.malformed == 1


def test_keys__that_do_not_fit_are_unknown_or_malformed(unchanged):
    report = refused(unchanged, f"{2**40}\n{2**63}\n{10**18}\n-1\n").report
    assert (report.malformed, report.unknown) == (1, 3)


# Files


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("1\n2\n".encode("utf-16"), "it is in UTF-16"),
        ("1\n2\n".encode("utf-16-be"), "it is in UTF-16"),
        ("1\n2\n".encode("utf-32"), "it is in UTF-32"),
        ("1\nJosé\n".encode("latin-1"), r"it is not in UTF-8: byte 0xe9 (line 2)"),
        (b"1\n" * 100_000 + b"\xe9", "byte 0xe9 (line 100001). It looks like Latin-1"),
        (b"1\n\xe2\x82", "byte 0xe2 (line 2)"),
    ],
)
def test_encodings__other_than_utf_8(unchanged, content, why, tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    for source in (content, path, io.BytesIO(content)):
        error = refused(unchanged, source, skip_bad=True)
        assert why in str(error)
        assert "Save it as UTF-8" in error.hint


def test_encodings__of_a_file_that_is_open_for_text(unchanged, tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"1\n\xe9\n")
    with path.open(encoding="utf-8") as file:
        assert "it is not in UTF-8: byte 0xe9" in str(refused(unchanged, file))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("id,id\n1,2\n", 'the header names "id" twice: id, id'),
        ("ID,name, id\n1,x,2\n", 'the header names "id" twice'),
        ("name,email\nx,y\n", 'its first line has 2 columns, and none is named "pk" or "id"'),
        ("1,2\n", "first line has 2 columns"),
        (
            "id,user_id,amount\n1,2,3\n",
            'several columns may be the pk of a user: "id" and "user_id"',
        ),
        ('1\n2\n"3\n4\n5\n', "line 3 cannot be read as CSV: its quote is not closed"),
        ('1\n"2"\n"3"4\n', "line 3 cannot be read as CSV"),
        ('id,name\n1,x\n2,"y\n3,z\n', "line 3 cannot be read as CSV: its quote is not closed"),
        ("1" * 200_000, "line 1 cannot be read as CSV: a value has more than 131,072 characters"),
        ("1\n" + "2" * 200_000, "line 2 cannot be read as CSV: a value has more than 131,072"),
        ("email\nx@example.org\n", 'the header "email", and it is loaded by "pk"'),
        ('1\n2\n"3\n4\n' + "5\n" * 100_000, "line 3 cannot be read as CSV"),
        ("1\n" + "2" * 2_000_000, "line 2 has more than 1,048,576 characters"),
    ],
)
def test_headers_and_quotes__that_are_wrong(unchanged, source, why):
    assert why in str(refused(unchanged, source, skip_bad=True))


def test_quotes__in_every_place(unchanged, users):
    """A break in quotes is an error of the line in the column itself, and none elsewhere."""
    first, second, third = (user.pk for user in users[3:6])
    source = f'name,id\n"a\n""b""\n",{first}\nx"y"z,"{second}"\n,"1\n2"\n"",{third}\n'
    report = refused(unchanged, source).report
    assert [(bad.number, bad.text, bad.reason) for bad in report.malformed_lines] == [
        (6, "1\n2", "it has a line break in quotes")
    ]
    assert (report.lines, report.unknown) == (4, 0)
    assert refused(unchanged, 'u0\n"u1\nu2"\n', by="username").report.malformed == 1
    assert refused(unchanged, '"u1\nu2"\nu0\n', by="username").report.malformed == 1


@pytest.mark.parametrize("header", ["email", "EMAIL", "First_Name", "pk", "user_id", "id"])
def test_header__of_another_field_is_no_user(unchanged, header):
    error = refused(unchanged, f"{header}\nu7\n", by="username", skip_bad=True)
    assert 'and it is loaded by "username"' in str(error)


def test_header__may_be_the_name_of_a_user(pilot, users, django_user_model):
    odd = django_user_model.objects.create(username="email")
    assert pilot.load_ids("email\nu7\n", by="username").added == 2
    assert members(pilot) == keys([odd, users[7]])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + bytes(range(256)) * 300, "it is an Excel or ZIP file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "an Excel file of the old format"),
        (gzip.compress(b"1\n2\n", mtime=0), "it is a gzip file"),
    ],
)
def test_files__that_are_no_text(unchanged, content, why, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(content)
    for source in (content, path):
        error = refused(unchanged, source, skip_bad=True)
        assert why in str(error)
        assert error.hint


def test_files__with_a_nul_character_are_no_utf_16(unchanged, users):
    content = b"%d\n1\0" % users[0].pk + b"7\n%d\n" % users[1].pk
    assert refused(unchanged, content).report.malformed_lines[0].number == 2


PIECES = ["1", "u0", "id", "email", ",", ";", "\t", '"', '""', "\n", "\r", "\r\n", "\0", "\ufeff"]
PIECES += ["é", "\u200b", "\ud800", "\\", "\\.", "\\N", "'", "%s", " ", "PK\x03\x04", "x" * 70_000]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_text__of_any_kind_is_read_or_refused(pilot, users, seed):
    """Nothing but a report or an error of segments comes out, whatever goes in."""
    chance = random.Random(seed)
    for number in range(100):
        parts = chance.choices(PIECES, k=chance.randrange(12))
        source = "".join(parts)
        if number % 3 == 1:
            source = source.encode("utf-8", "surrogatepass")
        elif number % 3 == 2:
            source = chance.randbytes(chance.randrange(60))
        by, mode = chance.choice(["pk", "username"]), chance.choice(["add", "remove", "replace"])
        with suppress(SegmentListError):
            pilot.load_ids(source, mode=mode, by=by, skip_bad=chance.random() < 0.5)
    assert members(pilot) == listed(pilot)


def test_header__in_the_middle_is_a_bad_line(pilot, users):
    error = refused(pilot, "id\n" + text(users[:2]) + "id\n" + text(users[2:]))
    assert "  line 4: it is the header again" in str(error)
    report = pilot.load_ids("id\n" + text(users) + "ID\n", skip_bad=True)
    assert (report.lines, report.malformed, len(members(pilot))) == (11, 1, 10)


def test_rows__of_another_width_are_bad_lines(unchanged, users):
    source = f'id,name\n{users[0].pk},x\n{users[1].pk}\n,y\n{users[2].pk},"a\nb"\n1,2,3\n'
    assert [
        (bad.number, bad.reason) for bad in refused(unchanged, source).report.malformed_lines
    ] == [
        (3, "it has 1 column, not 2"),
        (4, "its cell is empty, in a row of 2 columns"),
        (7, "it has 3 columns, not 2"),
    ]


# Segments with SQL


def test_sql__takes_a_list_beside_it(make, staff, users):
    segment = make(definition=EVEN)
    assert segment.add(users[:2]).added == 2
    assert members(segment) == keys([users[0], users[1], *users[2::2]])
    assert segment.kind == "sql"


def test_sql__without_a_list_says_why_nothing_is_removed(make, staff, users):
    segment = make(definition=EVEN)
    error = refused(segment, text(users[:1]), SegmentDefinitionError, mode="remove")
    assert "that SQL selects, and it has no list that users could be removed from" in str(error)
    assert "leave users out" in error.hint
    assert members(segment) == keys(users[::2])


def test_sql__has_its_list_replaced_with_one_or_without(make, staff, users):
    """An empty list is none, so a list that is replaced every night may be empty for once."""
    segment = make(definition=EVEN)
    for source in (users[1:2], [], users[3:4], []):
        segment.load_ids(source)
        assert listed(segment) == keys(source)
        assert members(segment) == keys([*users[::2], *source])


def test_manager__says_so_as_well(make, users, django_user_model, monkeypatch):
    monkeypatch.setattr(
        type(django_user_model.objects),
        "early",
        lambda self: self.filter(pk=users[0].pk),
        raising=False,
    )
    segment = make(manager_method="early")
    error = refused(segment, text(users[:1]), SegmentDefinitionError, mode="remove")
    assert "a manager method selects" in str(error)
    segment.add(users[1])
    assert members(segment) == keys(users[:2])


def test_sql__counts_those_who_stay(make, staff, users):
    segment = make(definition=EVEN, static_ids=users[:3])
    report = segment.remove(users[:3])
    assert (report.removed, report.still_members) == (3, 2)
    assert "2 users of these are still members" in str(report)
    assert members(segment) == keys(users[::2])


def test_sql__that_fails_keeps_list_and_members(failing, users):
    before = members(failing)
    refused(failing, text(users[:1]), SegmentExecutionError, mode="add")
    assert listed(failing) == set()
    assert members(failing) == before


# Few users


@pytest.mark.slow
def test_add__takes_one_user_or_key(pilot, users):
    pilot.add(users[3])
    pilot.add(users[4].pk)
    pilot.add(str(users[5].pk))
    assert members(pilot) == keys(users[:6])
    assert pilot.remove(users[3]).removed == 1
    assert pilot.remove([users[4].pk, users[5]]).removed == 2
    assert users[0].is_member(pilot)
    assert not users[3].is_member(pilot)


def test_add__unknown_and_unsaved_users(unchanged, users, django_user_model):
    for bad in (0, [users[5], 0], django_user_model(), "ada"):
        with pytest.raises(SegmentListError):
            unchanged.add(bad)
    with pytest.raises(SegmentListError, match="nothing was removed"):
        unchanged.remove(["x"])


def test_add__skips_bad_ones_on_demand(pilot, users):
    assert pilot.add([users[5], 0], skip_bad=True).unknown == 1
    assert members(pilot) == keys([*users[:3], users[5]])


def test_add__a_queryset_stays_in_postgres(pilot, users, django_user_model):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        report = pilot.add(django_user_model.objects.filter(username__in=["u5", "50%s"]))
    assert report.added == 1
    statements = [query["sql"] for query in captured]
    assert any(s.startswith("INSERT INTO pg_temp.segments_listed") for s in statements)
    assert not any(s.startswith('SELECT "accounts_segmentableuser"."id"') for s in statements)
    assert members(pilot) == keys([*users[:3], users[5]])


def test_add__a_queryset_of_nobody(unchanged, django_user_model):
    assert unchanged.add(django_user_model.objects.none()).lines == 0


def test_add__a_queryset_with_keys_of_nobody(unchanged, orders, query):
    query("ALTER TABLE shop_order DROP CONSTRAINT IF EXISTS shop_order_user_id_fkey")
    constraints = query(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'shop_order'::regclass "
        "AND contype = 'f' AND confrelid = %s::regclass",
        USERS,
    )
    for (name,) in constraints:
        query(f'ALTER TABLE shop_order DROP CONSTRAINT "{name}"')
    Order.objects.filter(pk=orders[5].pk).update(user_id=0)
    with pytest.raises(SegmentListError, match="no user has the id 0"):
        unchanged.add(Order.objects.values_list("user_id"))


def test_remove__a_queryset_of_relations(pilot, orders, users):
    report = pilot.remove(Order.objects.filter(amount__lt=100).values("user"))
    assert (report.removed, members(pilot)) == (2, keys(users[2:3]))


# Other sessions


def test_load__of_a_segment_that_was_deleted(pilot, users):
    Segment.objects.get(pk=pilot.pk).delete()
    with pytest.raises(SegmentExecutionError, match="has been deleted"):
        pilot.add(users[5])
    assert not StaticMember.objects.exists()


def test_load__while_it_is_detached(unchanged, users):
    list(detach([unchanged.slug]))
    with pytest.raises(SegmentLockedError, match="detached"):
        unchanged.add(users[5])


@pytest.mark.django_db(transaction=True)
def test_load__waits_for_the_lock_and_readers_do_not(users, make, session, settings, clean_views):
    settings.SEGMENTS_LOCK_TIMEOUT = 0.2
    segment = make("pilot", static_ids=users[:3])
    other = session()
    with transaction.atomic():
        segment.add(users[3])
        (count,) = other.execute("SELECT count(*) FROM segments.pilot").fetchone()
        assert count == 3
    (count,) = other.execute("SELECT count(*) FROM segments.pilot").fetchone()
    assert count == 4
    other.execute("BEGIN")
    other.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"segments:{segment.pk}"]
    )
    with pytest.raises(SegmentLockedError):
        segment.add(users[4])
    other.execute("ROLLBACK")
    assert members(segment) == keys(users[:4])


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_load__with_a_connection_of_its_own_for_views(users, make, exec_alias, clean_views):
    segment = make("pilot", static_ids=users[:3])
    segment.load_ids(text(users))
    assert members(segment) == keys(users)
    assert segment.members_count == 10


def test_load__after_a_user_has_vanished(pilot, users):
    users[0].delete()
    report = pilot.load_ids(text(users[1:4]))
    assert (report.added, report.already_there) == (1, 2)
    assert members(pilot) == keys(users[1:4])


# Size


class Lines:
    """A binary file of so many lines, which exist only while they are read."""

    def __init__(self, count, line):
        self.count, self.line = count, line

    def read(self, size):
        number = min(self.count, max(size // len(self.line), 1))
        self.count -= number
        return self.line * number


def peak(segment, count, line):
    tracemalloc.start()
    try:
        with pytest.raises(SegmentListError) as caught:
            segment.load_ids(Lines(count, line))
        return tracemalloc.get_traced_memory()[1], caught.value.report
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("line", [b"-17\n", b"nobody\n", b'"x"\n\n'])
def test_memory__does_not_grow_with_the_list(unchanged, line):
    small, _ = peak(unchanged, 30_000, line)
    large, report = peak(unchanged, 100_000, line)
    assert report.bad == 100_000
    assert len(report.malformed_lines) + len(report.unknown_lines) == 50
    assert large < 1.2 * small + 1_000_000


@pytest.mark.slow
def test_million__bad_lines_are_counted(unchanged):
    error = refused(unchanged, Lines(1_000_000, b"nobody\n"))
    assert error.report.malformed == 1_000_000
    assert len(str(error).splitlines()) == 53


PROBE = """
import resource, sys
import django
django.setup()
from pathlib import Path
from segments.models import Segment
segment = Segment.objects.get(slug="pilot")
segment.load_ids(["0"], mode="add", skip_bad=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = segment.load_ids(Path(sys.argv[1]))
print(report.lines, report.added, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_million__good_lines_of_a_file_need_little_memory(make, query, tmp_path, clean_views):
    """In a process of its own, so that what it needs in all can be seen. Each user is in 10."""
    query(
        f"INSERT INTO {USERS} (username, password, is_superuser, first_name, last_name, email, "
        "is_staff, is_active, date_joined) SELECT 'm' || n, '', false, '', '', '', false, true, "
        "now() FROM generate_series(1, 100000) AS n"
    )
    make("pilot", static_ids=[])
    path = tmp_path / "ids.csv"
    path.write_text("".join(f"{key}\n" for (key,) in query(f"SELECT id FROM {USERS}")) * 10)
    environment = os.environ | {"SEGMENTS_DATABASE": connection.settings_dict["NAME"]}
    command = [sys.executable, "-c", PROBE, str(path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    lines, added, kilobytes = map(int, done.stdout.split())
    assert (lines, added) == (1_000_000, 100_000)
    assert kilobytes < 60_000
