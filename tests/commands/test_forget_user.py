"""forget_user: what it prints, and what it exits with."""

import pytest

from segments.models import StaticMember
from tests.commands.running import attempt, run

pytestmark = pytest.mark.django_db

NOWHERE = "No list, no membership and no view of a segment has them."


def test_forget__names_the_segments_that_had_the_user(users, make, query):
    make()
    make("listed", static_ids=users[1:3])
    key = users[0].pk
    users[0].delete()
    assert run("forget_user", str(key)).splitlines() == ["vip: refreshed without them", NOWHERE]
    assert query("SELECT count(*) FROM segments.vip WHERE user_id = %s", key) == [(0,)]


def test_forget__warns_of_users_that_still_exist(users, make):
    make()
    make("listed", static_ids=users[:1])
    key = users[0].pk
    done = attempt("forget_user", str(key))
    assert done.lines[0].startswith(f"Still in the table of users: {key}. A definition that")
    assert done.lines[1:] == ["listed: refreshed without them"]
    assert 'segment "vip": its definition selects them' in done.err
    assert str(done.error) == "Could not remove the users from: vip"
    assert done.error.returncode == 1


def test_forget__refuses_what_is_not_a_key(users, make):
    make(static_ids=users)
    done = attempt("forget_user", str(users[0].pk), "ada")
    assert "ada" in str(done.error)
    assert StaticMember.objects.count() == 10
