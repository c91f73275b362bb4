"""Errors: each hint names the step that helps."""

import re

import pytest
from django.db import transaction

from segments import sync
from segments.exceptions import MIGRATE, SegmentDefinitionError, SegmentError
from segments.management.listing import list_segments
from segments.models import Segment
from tests.commands.running import attempt
from tests.conftest import USERS
from tests.own_server import connected

pytestmark = pytest.mark.django_db

ATTACH = "When the schema change is over, run: manage.py sync_segments"


def refused(definition, **fields):
    """Save a segment that cannot be saved, and return the hint of the error."""
    with pytest.raises(SegmentError) as caught:
        Segment(name="Bad", slug="bad", definition=definition, **fields).save()
    return caught.value.hint


BROKEN = {
    "table": ("SELECT id FROM nowhere", "Change the definition: check this name."),
    "column": (
        f"SELECT id FROM {USERS} WHERE usernam = ''",
        f'Change the definition. Perhaps you meant to reference the column "{USERS}.username".',
    ),
    "alias": (
        f"SELECT u.id FROM {USERS} u WHERE {USERS}.is_staff",
        'Change the definition. Perhaps you meant to reference the table alias "u".',
    ),
    "function": (
        f"SELECT id FROM {USERS} WHERE vip(id)",
        "Change the definition. No function matches the given name and argument types.*",
    ),
    "operator": (
        f"SELECT id FROM {USERS} WHERE username > 1", "Change the definition. No operator.*",
    ),
    "schema": (f"SELECT id FROM {USERS} WHERE shop.vip(id)", "Change the definition: check.*"),
    "segment": ("SELECT user_id FROM segments.gone", "Check its name.*manage.py sync_segments"),
    "syntax": ("gimme the users", "A definition is one SELECT that returns user ids."),
    "two statements": (
        f"SELECT id FROM {USERS}; SELECT 1", "A definition is one SELECT that returns user ids.",
    ),
    "division": (
        f"SELECT id FROM {USERS} WHERE 1 / (id - id) = 1",
        "Change the definition, so that it can deal with every value that it reads.",
    ),
    "cast": (
        f"SELECT id FROM {USERS} WHERE username::int = 1",
        "Change the definition, so that it can deal with every value that it reads.",
    ),
    "subquery": (
        f"SELECT (SELECT id FROM {USERS}) AS id",
        "Change the definition: where it expects one value, a query must return one row.",
    ),
}  # fmt: skip


@pytest.mark.roles
@pytest.mark.parametrize(("definition", "hint"), BROKEN.values(), ids=BROKEN)
def test_hint__about_a_broken_definition(definition, hint, users):
    assert re.fullmatch(hint, refused(definition))


def test_hint__about_a_definition_that_broke_later(users, make, query, owner):
    query("CREATE TABLE extra (user_id bigint, plan text)")
    segment = make(definition="SELECT user_id FROM extra WHERE plan = 'gold'")
    assert len(list(sync.detach(manual=False))) == 1
    query("ALTER TABLE extra DROP COLUMN plan")
    with pytest.raises(SegmentDefinitionError, match="Hint: Change the definition"):
        segment.refresh()
    assert "Hint: Change the definition: check this name." in segment.last_error
    done = attempt("sync_segments", "--check")
    assert str(done.error) == "Views and segments differ. Change what defines: vip"


def test_hint__about_a_key_does_not_blame_the_definition(users, make):
    segment = make()
    with pytest.raises(ValueError, match="whole number") as caught:
        segment.has_member("one")
    assert "definition" not in str(caught.value)


UNMIGRATED = {
    "table": "ALTER TABLE segments_segment RENAME TO moved",
    "column": "ALTER TABLE segments_segment RENAME read_digest TO moved",
}

COMMANDS = {
    "refresh": ("refresh_segments",),
    "due": ("refresh_segments", "--due"),
    "list": ("list_segments",),
    "sync": ("sync_segments",),
    "check": ("sync_segments", "--check"),
    "detach": ("detach_segments",),
    "compare": ("compare_segments", "vip", "gold"),
    "find": ("find_segments", "shop_order"),
    "forget": ("forget_user", "1"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("change", UNMIGRATED.values(), ids=UNMIGRATED)
def test_hint__about_missing_migrations(change, command, users, make, query):
    make()
    query(change)
    with transaction.atomic():
        done = attempt(*command)
        transaction.set_rollback(True)
    told = f"{done.out}{done.err}{done.error}"
    # Not all of them read the column.
    assert MIGRATE in told or (done.error is None and "read_digest" in change)
    assert "sync_segments" not in told


@pytest.mark.parametrize("change", UNMIGRATED.values(), ids=UNMIGRATED)
def test_hint__about_missing_migrations_in_python(change, users, make, query):
    segment = make()
    query(change)
    for call in (segment.refresh, list_segments):
        with pytest.raises(SegmentError) as caught, transaction.atomic():
            call()
        assert caught.value.hint == MIGRATE


def test_hint__about_a_missing_schema(users, query):
    query("ALTER SCHEMA segments RENAME TO moved")
    with pytest.raises(SegmentError, match='schema "segments" does not exist') as caught:
        users[0].is_member("vip")
    assert caught.value.hint == MIGRATE


def test_hint__about_tables_of_the_project(users, query):
    query("ALTER TABLE shop_order RENAME TO moved")
    assert refused("SELECT user_id FROM shop_order") == MIGRATE
    query("ALTER TABLE moved RENAME TO shop_order")
    query("ALTER TABLE shop_order RENAME amount TO moved")
    assert refused("SELECT user_id FROM shop_order WHERE shop_order.amount > 1") == MIGRATE


@pytest.mark.slow
def test_hint__about_a_detached_segment(users, make):
    segment = make()
    assert [step.what for step in sync.detach()] == [["detached"]]
    done = attempt("refresh_segments")
    assert done.error.returncode == 1
    assert str(done.error) == "1 of 1 segments failed; their members are kept: vip"
    assert done.lines == ["vip: skipped, it is detached from its tables by a schema change"]
    assert done.err.strip() == f'segment "vip": it is detached from its tables\nHint: {ATTACH}'
    assert attempt("refresh_segments", "--quiet").error.returncode == 1
    assert (
        f'"status": "detached", "members_count": {len(users)}'
        in attempt("refresh_segments", "--json").out
    )
    assert segment.refresh().detached_manually
    segment.definition = f"SELECT id FROM {USERS} LIMIT 1"
    for call in (segment.save, lambda: segment.has_member_live(users[0])):
        with transaction.atomic(), pytest.raises(SegmentError, match="sync_segments"):
            call()
    assert attempt("sync_segments").error is None
    assert attempt("refresh_segments").error is None


@pytest.mark.django_db(databases=["default", "exec"])
def test_hint__about_another_kind_of_database(users, settings):
    lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    with connected(lite=lite):
        settings.SEGMENTS_EXEC_CONNECTION = "lite"
        with pytest.raises(SegmentError) as caught:
            Segment(name="New", slug="new", definition="SELECT 1").preview()
    assert caught.value.hint.startswith("Change DATABASES")
