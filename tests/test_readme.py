"""The README: its snippets run, its names exist, its claims are measured."""

import inspect
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import models

from segments import conf
from segments.models import Segment
from tests.accounts.models import SegmentableUser
from tests.shop.models import Offer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(start):
    (found,) = [code for code in PYTHON if start in code]
    return found


@pytest.mark.parametrize("model", [SegmentableUser, Offer])
def test_models__are_those_of_this_project(model):
    assert inspect.getsource(model).strip() in README


@pytest.mark.django_db
def test_usage__prints_true(capsys):
    SegmentableUser.objects.create(username="ada")
    exec(block("print(u.is_member(s))"), {"SegmentableUser": SegmentableUser})
    assert capsys.readouterr().out == "True\n"


@pytest.mark.django_db
def test_offer__is_found_for_a_user():
    user = SegmentableUser.objects.create(username="ada")
    segment = Segment.objects.create(name="x", slug="x", static_ids=[user])
    offer = Offer.objects.create(priority=1, discount=5, segment=segment)
    namespace = {"models": models, "Segment": Segment, "__name__": "tests.shop.readme"}
    code = (
        block("class Offer")
        .replace("class Offer(", "class ReadmeOffer(")
        .replace(
            "class Meta:",
            "class Meta:\n        app_label = 'readme'\n        db_table = 'shop_offer'",
        )
    )
    exec(code, namespace)
    found = namespace["ReadmeOffer"].get_offer_for_user(user)
    assert (found.pk, found.discount) == (offer.pk, offer.discount)


@pytest.mark.django_db
def test_definitions__of_every_kind_work(monkeypatch, query):
    users = [SegmentableUser(pk=pk, username=f"u{pk}") for pk in (17, 42, 99)]
    SegmentableUser.objects.bulk_create(users)
    monkeypatch.setattr(
        type(SegmentableUser.objects), "lapsed", lambda self: self.filter(pk=17), raising=False
    )
    for code in (block('slug="big-spenders"'), block('slug="pilot"'), block('slug="lapsed"')):
        exec(code, {"Segment": Segment})
    exec(block('slug="win-back"'), {"Segment": Segment})
    assert len(Segment.objects.get(slug="pilot")) == 3
    assert len(Segment.objects.get(slug="win-back")) == 0
    result = {"segment": Segment.objects.get(slug="lapsed")}
    code = block("result = segment.refresh()").split("user.refresh")[0]
    exec(code, result)
    assert result["result"].members_count == 1


@pytest.mark.django_db
def test_preview__says_what_is_told():
    found = {"segment": Segment()}
    exec(block("segment.preview()"), found)
    assert found["preview"].reads[0].startswith("shop_order.")
    (warning,) = [text for text in found["preview"].warnings if "yesterday" in text]
    assert "read once, when the definition is saved" in warning


def test_settings__are_all_told_with_their_defaults():
    told = dict(re.findall(r"^\| `(SEGMENTS_\w+)` \| `(.*?)` \|", README, re.MULTILINE))
    read = set(re.findall(r'"(SEGMENTS_\w+)"', inspect.getsource(conf)))
    assert set(told) == read
    for name, default in told.items():
        written = default.replace('"default"', "DEFAULT_DB_ALIAS")
        assert f'_get("{name}", {written})' in inspect.getsource(conf), name


def test_commands__take_the_options_that_are_told(capsys):
    commands = set(re.findall(r"manage\.py (\w*segments\w*|forget_user)", README))
    assert len(commands) == 6
    for command in commands:
        with pytest.raises(SystemExit):
            call_command(command, "--help")
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        told = set()
        for line in re.findall(rf"manage.py {command}(.*)", README):
            told |= set(re.findall(r" (--[a-z-]+)", line.partition("#")[0]))
        assert told <= known


def test_make__has_the_targets_that_are_told():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}: setup" in makefile
