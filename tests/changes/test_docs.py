"""docs/changes.md: its code and its SQL run, and tell what the page says."""

import json
import re

import pytest

from segments.changes.output import COLUMNS
from segments.models import ChangeConsumer
from tests.test_docs import blocks

pytestmark = pytest.mark.django_db

PAGE = "changes.md"


def run_block(part):
    from segments.models import Segment

    (code,) = [code for code in blocks(PAGE, "python") if part in code]
    exec(code, {"Segment": Segment})


def test_page__tells_who_entered_and_left(segment, move, users, capsys):
    result = move(0, 2, 4, 9)
    run_block("segment.entered(")
    first, last = capsys.readouterr().out.splitlines()
    assert first.split()[::3] == [str(users[9].pk), str(result.refresh_id)]
    assert last == "2"


def test_page__reads_on_from_a_cursor(segment, staff, users, capsys):
    staff(0, 2, 4, 6)
    run_block("segment.change_cursor()")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[1:] == [str(users[8].pk), "left"]


def test_page__follows_a_segment(segment, move, users, capsys):
    run_block("consumer(")
    assert capsys.readouterr().out.splitlines() == [
        f"{user.pk} entered True" for user in users[::2]
    ]
    move(0, 2, 4, 6)
    run_block("consumer(")
    assert capsys.readouterr().out == f"{users[8].pk} left False\n"
    assert segment.consumers.get() == ChangeConsumer.objects.get(name="crm")


def test_page__shows_lines_with_all_fields():
    (shown,) = blocks(PAGE, "json")
    for line in shown.splitlines():
        assert tuple(json.loads(line)) == COLUMNS


def test_page__asks_in_sql(segment, move, users, query):
    move(0, 2, 4, 6)
    (code,) = blocks(PAGE, "sql")
    changes, history = re.findall(r"SELECT[^;]+", code)
    assert [row[:3] for row in query(changes)] == [("vip", users[8].pk, "left")]
    assert sorted(row[1:] for row in query(history)) == [(4, 0, 1), (5, 5, 0)]
