"""Exporting members: what is written, in which order, and what never is."""

import csv
import io
import tracemalloc
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from segments.exceptions import SegmentDefinitionError, SegmentError, SegmentExecutionError
from segments.lists.export import export_moving
from segments.models import Segment
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db


def exported(segment, *fields):
    file = io.StringIO()
    segment.export(file, fields)
    return list(csv.reader(io.StringIO(file.getvalue())))


def test_export__writes_the_keys_in_order(make, users):
    segment = make(static_ids=reversed(users))
    file = io.StringIO()
    assert segment.export(file) == 10
    assert file.getvalue() == "id\n" + "".join(f"{user.pk}\n" for user in users)


def test_export__to_a_binary_file(make, users):
    file = io.BytesIO()
    make().export(file, ["username"])
    assert file.getvalue().splitlines()[:2] == [b"username", b"u0"]


def test_export__to_a_path(make, users, tmp_path):
    file = tmp_path / "members.csv"
    file.write_text("former")
    assert make(static_ids=users[:1]).export(file, ["username"]) == 1
    assert file.read_bytes() == b"username\nu0\n"


@pytest.mark.parametrize("wrong", ["members.csv", None, 7])
def test_export__to_nothing_that_can_be_written(wrong, make):
    with pytest.raises(TypeError, match="an open file or a path, not "):
        make().export(wrong)


def test_export__is_that_of_the_last_refresh(make, staff, users):
    segment = make(definition=EVEN)
    staff(1)
    assert [name for (name,) in exported(segment, "username")[1:]] == [
        "u0",
        "u2",
        "u4",
        "u6",
        "u8",
    ]


def test_export__quotes_what_csv_needs(make, users):
    users[0].first_name, users[0].email = 'a,"b"\nc é', "50%"
    users[0].last_login = datetime(2026, 1, 1, tzinfo=UTC)
    users[0].save()
    segment = make(static_ids=users[:1])
    fields = ("pk", "first_name", "email", "last_login", "is_staff")
    header, row = exported(segment, *fields)
    assert header == ["id", *fields[1:]]
    assert row[:3] == [str(users[0].pk), 'a,"b"\nc é', "50%"]
    assert row[3].startswith("2026-01-01 ")


def test_export__of_nobody_has_a_header(make, users):
    assert exported(make(static_ids=[]), "pk", "username") == [["id", "username"]]


def test_export__can_be_loaded(make, users):
    file = io.StringIO()
    make(static_ids=users[:4]).export(file, ["username", "pk"])
    copy = make("copy", static_ids=[])
    assert copy.load_ids(file.getvalue()).added == 4
    assert copy.load_ids(file.getvalue(), by="username").already_there == 4


def test_export__runs_one_query(make, users):
    segment = make()
    with CaptureQueriesContext(connection) as captured:
        segment.export(io.BytesIO(), ["username"])
    assert len(captured) <= 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (["password"], 'the field "password" is never exported'),
        (["id", "password"], 'the field "password" is never exported'),
        (["nothing"], 'has no column "nothing"'),
        (["groups"], 'has no column "groups"'),
        (["groups__name"], 'has no column "groups__name"'),
        ([], "no field is to be exported"),
    ],
)
def test_export__refuses_what_is_no_column(make, users, fields, why):
    file = io.StringIO()
    with pytest.raises(SegmentError, match=why) as caught:
        make().export(file, fields)
    assert file.getvalue() == ""
    assert "password" not in (caught.value.hint or "")


def test_export__of_a_renamed_segment_raises(make, users):
    segment = make()
    type(segment).objects.get().rename("other")
    with pytest.raises(SegmentError):
        exported(segment, "pk")


class Counted(io.RawIOBase):
    """A file that only counts the lines that are written to it."""

    lines = 0

    def write(self, block):
        self.lines += bytes(block).count(b"\n")
        return len(block)


@pytest.mark.slow
def test_export__streams(make, query):
    query(
        f"INSERT INTO {USERS} (username, password, is_superuser, first_name, last_name, email, "
        "is_staff, is_active, date_joined) SELECT 'm' || n, '', false, '', '', '', false, true, "
        "now() FROM generate_series(1, 200000) AS n"
    )
    segment, file = make(), Counted()
    tracemalloc.start()
    try:
        assert segment.export(file, ["pk", "username", "date_joined"]) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert file.lines == 200_001


def moving(segment, *, entering, fields=("pk", "username")):
    """Export who would enter or leave a segment; return the rows, without the header."""
    file = io.BytesIO()
    count = export_moving(segment, file, fields, entering=entering)
    header, *rows = csv.reader(io.StringIO(file.getvalue().decode()))
    assert (len(header), count) == (len(fields), len(rows))
    return rows


@pytest.mark.roles
def test_moving__are_all_who_would_enter_or_leave(staff, users, make, names):
    segment = make(definition=EVEN)
    staff(0, 1, 3, 5, 7, 9)
    before = names()
    rows = [[str(user.pk), user.username] for user in users]
    assert moving(segment, entering=True) == rows[1::2]
    assert moving(segment, entering=False) == rows[2::2]
    assert (names(), len(Segment.objects.get().members)) == (before, 5)


def test_moving__are_those_of_a_list_that_is_not_saved(users, make):
    segment = make(static_ids=users[:3])
    segment.static_ids = [*users[:3], users[5]]
    assert moving(segment, entering=True, fields=["username"]) == [["u5"]]
    assert moving(segment, entering=False) == []
    assert len(Segment.objects.get().members) == 3


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("exec_alias", "clean_views")
def test_moving__on_a_connection_of_its_own(users, make):
    segment = make(static_ids=users[:2])
    segment.static_ids = users[1:3]
    assert moving(segment, entering=True, fields=["username"]) == [["u2"]]
    assert moving(segment, entering=False, fields=["username"]) == [["u0"]]


@pytest.mark.slow
def test_moving__takes_constant_queries_and_memory(make, users, django_assert_max_num_queries):
    segment = make(static_ids=users[:1])
    segment.definition, segment.static_ids = f"SELECT id FROM {USERS}", ""
    with CaptureQueriesContext(connection) as few:
        assert len(moving(segment, entering=True)) == 9
    type(users[0]).objects.bulk_create(type(users[0])(username=f"n{n}") for n in range(2_000))
    with django_assert_max_num_queries(len(few)):
        assert len(moving(segment, entering=True)) == 2_009


def test_moving__needs_members_and_time(make, users, settings):
    segment = make(definition=EVEN)
    with pytest.raises(SegmentError, match="no members yet"):
        moving(Segment(definition=EVEN), entering=True)
    segment.definition = "SELECT nothing"
    with pytest.raises(SegmentDefinitionError):
        moving(segment, entering=True)
    settings.SEGMENTS_PREVIEW_TIMEOUT = 0.1
    segment.definition = f"SELECT id FROM {USERS} WHERE pg_sleep(0.05) IS NOT NULL"
    with pytest.raises(SegmentExecutionError, match="longer than 0.1 s"):
        moving(segment, entering=True)
