"""The page on lists: its examples run."""

import re
from pathlib import Path

import pytest

from segments.models import Segment
from tests.accounts.models import SegmentableUser

pytestmark = pytest.mark.django_db

PAGE = (Path(__file__).parent.parent.parent / "docs" / "lists.md").read_text()


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_examples__run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    csv, printed = (each for each in blocks("") if "manage.py" not in each)
    Path("pilot.csv").write_text(csv)
    for name in ("ada", "grace"):
        SegmentableUser.objects.create(username=name, email=f"{name}@example.org")
    user = SegmentableUser.objects.create(username="alan")
    namespace = {"Segment": Segment, "SegmentableUser": SegmentableUser, "user": user}
    load, bad, few, export = blocks("python")
    exec(load, namespace)
    assert capsys.readouterr().out == printed
    exec(bad, namespace)
    assert capsys.readouterr().out == "1 2\n"
    exec(few, namespace)
    exec(export, namespace)
    rows = Path("members.csv").read_text().splitlines()
    assert rows[0] == "id,email"
    assert [row.partition(",")[2] for row in rows[1:]] == ["ada@example.org", "grace@example.org"]
