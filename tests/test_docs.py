"""The pages under docs: their commands exist, their code runs, their SQL is Postgres'."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command, get_commands
from django.dispatch import Signal

from segments import signals, tasks
from segments.models import Segment

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), *ROOT.glob("*.md")], ids=lambda p: p.name)
def test_links__lead_to_pages_and_headings(page):
    links = re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text())
    for target, anchor in links:
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), (target, anchor)


def test_index__lists_all_pages():
    listed = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "index.md").read_text()))
    assert listed == {path.name for path in DOCS.glob("*.md")} - {"index.md"}


def test_commands__are_all_described():
    page = (DOCS / "commands.md").read_text()
    ours = {name for name, app in get_commands().items() if app == "segments"}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == ours


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_commands__exist_and_take_the_options_that_are_told(page, capsys):
    for command, rest in re.findall(r"manage\.py (\w+)([^`\n#]*)", (DOCS / page).read_text()):
        assert command in get_commands()
        with pytest.raises(SystemExit):
            call_command(command, "--help")
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= known


@pytest.mark.django_db
def test_speed__segments_of_a_user_are_told(make, users):
    (code,) = (each for each in blocks("speed.md", "python") if "segment_slugs" in each)
    namespace = {}
    exec(code, namespace)
    assert namespace["names_of"](users[0]) == []
    assert not namespace["is_early"](users[0])
    make("early-adopters", static_ids=users[:1])
    assert namespace["names_of"](users[0]) == ["Early-Adopters"]
    assert [namespace["is_early"](user) for user in users[:2]] == [True, False]


@pytest.mark.django_db
def test_scheduling__celery_refreshes_due_segments(make, monkeypatch):
    celery = SimpleNamespace(shared_task=lambda function: function)
    monkeypatch.setitem(sys.modules, "celery", celery)
    (code,) = (each for each in blocks("scheduling.md", "python") if "celery" in each)
    make(refresh_every=timedelta(hours=1))
    Segment.objects.update(attempted_at=None)
    namespace = {}
    exec(code, namespace)
    assert namespace["refresh_segments"]() == {"vip": "unchanged"}


@pytest.mark.django_db
def test_scheduling__tasks_can_be_enqueued_as_told(make, users, settings):
    framework = tasks.refresh_segment.__class__.__module__.rpartition(".")[0]
    backend = f"{framework}.backends.immediate.ImmediateBackend"
    settings.TASKS = {"default": {"BACKEND": backend}}
    (code,) = (each for each in blocks("scheduling.md", "python") if "import tasks" in each)
    segment = make()
    exec(code, {"segment": segment, "user": users[0]})
    assert segment.refreshes.count() == 3


@pytest.mark.django_db
def test_scheduling__receivers_get_what_they_take(users, make, monkeypatch, capsys):
    for name in ("segment_refreshed", "segment_refresh_failed"):
        monkeypatch.setattr(signals, name, Signal())
    (code,) = (each for each in blocks("scheduling.md", "python") if "@receiver" in each)
    exec(code, namespace := {})
    result = make().refresh()
    signals.segment_refreshed.send(Segment, segment=Segment.objects.get(), result=result)
    signals.segment_refresh_failed.send(Segment, segment=None, result=result, error="why")
    assert capsys.readouterr().out == "vip unchanged 0 0\nwhy\n"
    assert {"report", "warn"} <= set(namespace)


@pytest.mark.django_db
def test_scheduling__what_pg_cron_runs_refreshes_the_view(users, make, query):
    make()
    job, by_hand = blocks("scheduling.md", "sql")[:2]
    (statement,) = re.findall(r"\$\$(.*?)\$\$", job)
    for remaining, what in ((9, statement), (8, by_hand)):
        users.pop().delete()
        query(what)
        assert query("SELECT count(*) FROM segments.vip") == [(remaining,)]


@pytest.fixture
def campaign(users, make):
    """Segments of the slugs that the page on combined segments names."""
    numbers = {
        "vip": range(6),
        "quiet": (0, 3, 4, 9),
        "staff": (4, 8),
        "has-email": range(3),
        "has-phone": range(2, 5),
    }
    for slug, chosen in numbers.items():
        make(slug, static_ids=[users[number] for number in chosen])


@pytest.mark.slow
@pytest.mark.django_db
def test_algebra__does_what_is_told(campaign, capsys):
    """Run the page from top to bottom, and compare what it prints and notes."""
    page = (DOCS / "algebra.md").read_text()
    namespace = {"Segment": Segment}
    for code, told in re.findall(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", page, re.DOTALL):
        if "freeze" in code:
            Segment.objects.update(refreshed_at=datetime(2026, 11, 1, 12, tzinfo=UTC))
        exec(code, namespace)
        printed = capsys.readouterr().out
        assert not told or printed == told
        noted = re.findall(r"^print\(.*?\)  # (.*)$", code, re.MULTILINE)
        assert not noted or printed.splitlines() == noted
        for expression, value in re.findall(
            r"^((?:found|pair)\S.*?)  # ([({].*)$", code, re.MULTILINE
        ):
            assert eval(expression, namespace) == eval(value)
    found = {
        each.slug: {int(user.username[1]) for user in each.members}
        for each in Segment.objects.all()
    }
    assert found["reachable"] == {0, 1, 2, 3, 4}
    assert found["quiet-vip"] == {0, 3, 4}
    assert found["win-back"] == found["win-back-2026-11"] == found["win-back-draft"] == {1, 2, 5}
    assert found["win-back-test"] <= found["win-back"]


@pytest.mark.django_db
def test_algebra__shows_what_the_command_prints(campaign, capsys):
    page = (DOCS / "algebra.md").read_text()
    (arguments,) = re.findall(r"^python manage\.py (compare_segments .*)$", page, re.MULTILINE)
    call_command(*arguments.split())
    assert f"```\n{capsys.readouterr().out}```" in page
