"""Exporting members: what is written, in which order, and what never is."""

import csv
import io
import tracemalloc
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from segments.exceptions import SegmentError
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
