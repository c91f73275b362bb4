"""The README, the definitions and the settings: snippets run, names exist, defaults hold."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import call_command
from django.db import models
from django.utils.functional import SimpleLazyObject

from segments import conf
from segments.models import Segment
from tests.accounts.models import SegmentableUser
from tests.shop.models import Offer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEFINITIONS = (ROOT / "docs" / "definitions.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def block(part, page=README):
    """Return the one Python snippet of a page that has this part."""
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if part in c]
    return code


@pytest.mark.parametrize("model", [SegmentableUser, Offer])
def test_models__are_those_of_this_project(model):
    assert inspect.getsource(model).strip() in README


@pytest.mark.django_db
def test_usage__prints_true(capsys):
    SegmentableUser.objects.create(username="ada")
    exec(block("print(u.is_member(s))"), {"SegmentableUser": SegmentableUser})
    assert capsys.readouterr().out == "True\n"


@pytest.mark.django_db
def test_view__asks_for_users_and_visitors():
    user = SegmentableUser.objects.create(username="ada")
    Segment.objects.create(name="VIP", slug="vip", static_ids=[user])
    namespace = {"render": lambda request, template: template}
    exec(block("request.user"), namespace)
    for asking, template in ((user, "vip.html"), (AnonymousUser(), "offers.html")):
        request = SimpleNamespace(user=SimpleLazyObject(lambda: asking))  # noqa: B023
        assert namespace["offers"](request) == template


@pytest.mark.django_db
def test_offer__is_found_for_a_user(django_assert_num_queries):
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
    with django_assert_num_queries(1):
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
    exec(block('slug="win-back"', DEFINITIONS), {"Segment": Segment})
    assert len(Segment.objects.get(slug="pilot")) == 3
    assert len(Segment.objects.get(slug="win-back")) == 0
    result = {"segment": Segment.objects.get(slug="lapsed")}
    code = block("result = segment.refresh()").split("user.refresh")[0]
    exec(code, result)
    assert result["result"].members_count == 1


@pytest.mark.django_db
def test_preview__shows_what_the_page_describes():
    found = {"segment": Segment()}
    exec(block("segment.preview()", DEFINITIONS), found)
    assert found["preview"].reads[0].startswith("shop_order.")
    (warning,) = [text for text in found["preview"].warnings if "yesterday" in text]
    assert "read once, when the definition is saved" in warning


def test_settings__are_all_listed_with_their_defaults():
    listed = dict(re.findall(r"^\| `(SEGMENTS_\w+)` \| `(.*?)` \|", SETTINGS, re.MULTILINE))
    read = set(re.findall(r'"(SEGMENTS_\w+)"', inspect.getsource(conf)))
    assert set(listed) == read
    for name, default in listed.items():
        written = default.replace('"default"', "DEFAULT_DB_ALIAS")
        assert f'_get("{name}", {written})' in inspect.getsource(conf), name


def test_commands__take_the_options_of_the_page(capsys):
    commands = set(re.findall(r"manage\.py (\w*segments\w*|forget_user)", README))
    assert len(commands) == 7
    for command in commands:
        with pytest.raises(SystemExit):
            call_command(command, "--help")
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        named = set()
        for line in re.findall(rf"manage.py {command}(.*)", README):
            named |= set(re.findall(r" (--[a-z-]+)", line.partition("#")[0]))
        assert named <= known


def test_make__has_the_targets_of_the_page():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}: setup" in makefile


def test_length__is_that_of_one_page():
    assert len(README.splitlines()) <= 250
