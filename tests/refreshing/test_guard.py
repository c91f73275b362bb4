"""The guard: refreshes that would remove too many members, and how a loss is accepted."""

import json
import re

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import call_command

from segments import conf, sync
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, SegmentLossError
from segments.models import Membership, Segment
from segments.refreshing import many
from segments.refreshing.guard import Guard
from segments.signals import segment_refresh_failed
from tests.commands.running import attempt, run
from tests.conftest import EVEN
from tests.test_docs import blocks

pytestmark = pytest.mark.django_db

BUYERS = "SELECT user_id FROM shop_order"


@pytest.fixture
def mailing(orders, make):
    """A mailing list of ten buyers, which may lose a fifth of them in a refresh."""
    return make("mailing", definition=BUYERS, max_loss=20)


@pytest.fixture
def empty(query):
    """Empty the table that the mailing list reads."""
    return lambda: query("DELETE FROM shop_order")


def members(segment):
    """Return how many members the view, the index and the row have."""
    index = Membership.objects.filter(segment=segment).count()
    return segment.view.objects.count(), index, Segment.objects.get(pk=segment.pk).members_count


@pytest.mark.roles
@pytest.mark.parametrize("concurrently", [True, False])
def test_emptied_source__does_not_empty_a_mailing_list(mailing, empty, concurrently, users):
    empty()
    with pytest.raises(SegmentLossError) as caught:
        mailing.refresh(concurrently)
    assert "remove 10 of 10 members (100 %), more than max_loss of 20 %" in str(caught.value)
    assert "refresh_segments mailing --accept-loss" in str(caught.value)
    assert (caught.value.before, caught.value.removed) == (10, 10)
    assert isinstance(caught.value, SegmentExecutionError)
    assert members(mailing) == (10, 10, 10)
    assert users[3].is_member("mailing")
    assert (mailing.status, mailing.failures) == ("refused", 1)
    assert mailing.last_error == str(caught.value)
    last = mailing.refreshes.latest()
    assert (last.status, last.removed, last.error) == ("refused", None, str(caught.value))


def test_emptied_source__is_refused_again_until_it_is_filled(mailing, empty, orders):
    empty()
    for _ in range(2):  # The second time, nothing was written since.
        with pytest.raises(SegmentLossError):
            mailing.refresh()
    type(orders[0]).objects.bulk_create(orders)
    assert mailing.refresh().members_count == 10
    assert (mailing.status, mailing.last_error, mailing.failures) == ("refreshed", "", 0)


def test_truncated_users__do_not_empty_the_view(mailing, users, orders):
    type(orders[0]).objects.all().delete()
    type(users[0]).objects.all().delete()
    with pytest.raises(SegmentLossError, match="10 of 10"):
        mailing.refresh()
    with pytest.raises(SegmentLossError, match="10 of 10"):  # Although the index has none.
        mailing.refresh(False)
    assert mailing.view.objects.count() == 10


@pytest.mark.parametrize("concurrently", [True, False])
@pytest.mark.parametrize(("limit", "lost", "refused"), [(20, 2, 0), (20, 3, 1), (99, 10, 1)])
def test_loss__is_refused_above_the_limit_only(
    mailing, orders, limit, lost, refused, concurrently
):
    Segment.objects.update(max_loss=limit)
    for order in orders[:lost]:
        order.delete()
    if refused:
        with pytest.raises(SegmentLossError, match=f"remove {lost} of 10"):
            mailing.refresh(concurrently)
    assert members(mailing)[:2] == (10, 10)
    if not refused:
        assert mailing.refresh(concurrently).removed == lost


@pytest.mark.parametrize("concurrently", [True, False])
def test_loss__counts_members_who_were_replaced(staff, make, concurrently):
    segment = make(definition=EVEN, max_loss=50)
    staff(0, 1, 3, 5, 7, 9)
    with pytest.raises(SegmentLossError, match=r"remove 4 of 5 members \(80 %\)"):
        segment.refresh(concurrently)
    assert members(segment) == (5, 5, 5)
    staff(0, 2, 4, 1, 3, 5, 7)
    assert segment.refresh(concurrently).members_count == 7


@pytest.mark.parametrize("concurrently", [True, False])
def test_loss__is_counted_where_the_server_does_not(mailing, empty, query, concurrently):
    query("SET LOCAL track_counts = off")
    empty()
    with pytest.raises(SegmentLossError, match="remove 10 of 10"):
        mailing.refresh(concurrently)


def test_loss__of_a_view_refreshed_by_hand_is_one_of_the_index(mailing, empty, owner):
    empty()
    owner("REFRESH MATERIALIZED VIEW segments.mailing")
    with pytest.raises(SegmentLossError, match="remove 10 of 10"):
        mailing.refresh()
    assert Membership.objects.filter(segment=mailing).count() == 10


@pytest.mark.parametrize(("removed", "shown"), [(201, "20.1 %"), (2001, "20.1 %"), (2100, "21 %")])
def test_loss__is_shown_above_the_limit(removed, shown):
    before = 1000 if removed == 201 else 10_000
    with pytest.raises(SegmentLossError, match=rf"\({shown}\), more than max_loss of 20 %"):
        Guard(20).check("vip", before, removed)


def test_first_population__removes_nothing(make, users):
    assert make(static_ids=[], max_loss=1).members_count == 0
    assert make("all", max_loss=1).members_count == 10


@pytest.mark.parametrize("limit", [None, 100])
def test_guard__is_off(mailing, empty, settings, limit):
    settings.SEGMENTS_MAX_LOSS = None if limit is None else 1
    Segment.objects.update(max_loss=limit)
    empty()
    assert mailing.refresh().removed == 10


def test_setting__is_for_segments_without_a_limit(mailing, make, orders, settings):
    other = make("other", definition=BUYERS)
    settings.SEGMENTS_MAX_LOSS = 10
    for order in orders[:2]:
        order.delete()
    assert mailing.refresh().removed == 2
    with pytest.raises(SegmentLossError, match="max_loss of 10 %"):
        other.refresh()


@pytest.mark.parametrize("value", [0, 101, -1, "20", 20.5, True])
def test_setting__must_be_a_percentage(settings, value):
    settings.SEGMENTS_MAX_LOSS = value
    with pytest.raises(ImproperlyConfigured, match="SEGMENTS_MAX_LOSS must be a whole number"):
        conf.max_loss()


@pytest.mark.parametrize("value", [0, 101, -5, "many"])
def test_max_loss__must_be_a_percentage(mailing, value):
    mailing.max_loss = value
    with pytest.raises(SegmentDefinitionError, match="a whole number from 1 to 100") as caught:
        mailing.save()
    assert caught.value.field == "max_loss"
    with pytest.raises(ValidationError) as invalid:
        mailing.full_clean()
    assert "max_loss" in invalid.value.message_dict
    mailing.refresh_from_db()
    assert (mailing.max_loss, members(mailing)) == (20, (10, 10, 10))


def test_accepted_loss__passes_once(mailing, empty, orders):
    empty()
    with pytest.raises(SegmentLossError):
        mailing.refresh()
    assert mailing.refresh(accept_loss=True).removed == 10
    assert (mailing.status, members(mailing)) == ("refreshed", (0, 0, 0))
    type(orders[0]).objects.bulk_create(orders)
    mailing.refresh()
    empty()
    with pytest.raises(SegmentLossError):
        mailing.refresh()


def test_accepted_loss__of_dependents(mailing, make, empty):
    make("above", definition="SELECT user_id FROM segments.mailing", max_loss=20)
    empty()
    result = mailing.refresh(accept_loss=True, with_dependents=True)
    assert [other.removed for other in result.dependents] == [10]


def test_changed_definition__may_remove_members(mailing, orders, settings):
    mailing.definition = f"{BUYERS} WHERE amount > 300"
    mailing.save()
    assert (mailing.members_count, mailing.refreshes.latest().removed) == (3, 7)
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    mailing.definition = f"{BUYERS} WHERE amount > 400"
    mailing.save()
    assert mailing.status == "outdated"
    assert mailing.refresh().removed == 2


def test_changed_definition__and_an_emptied_source(mailing, empty, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    mailing.definition = f"{BUYERS} WHERE amount >= 0"
    mailing.save()
    empty()
    with pytest.raises(SegmentLossError, match="10 of 10"):
        mailing.refresh()
    assert members(mailing) == (10, 10, 10)


def test_changed_definition__may_remove_after_a_failure(mailing, orders, settings, query):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    mailing.definition = f"{BUYERS} WHERE CASE WHEN 1 / (amount - 1) < 9 THEN amount > 300 END"
    mailing.save()
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    with pytest.raises(SegmentExecutionError, match="division by zero"):
        mailing.refresh()
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
    assert mailing.status == "failed"
    assert mailing.refresh().removed == 7
    query("DELETE FROM shop_order WHERE amount > 300")
    with pytest.raises(SegmentLossError):
        mailing.refresh()


def test_changed_definition__without_versions(mailing, orders, settings):
    settings.SEGMENTS_VERSIONS = 0
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    mailing.definition = f"{BUYERS} WHERE amount > 300"
    mailing.save()
    assert mailing.refresh().removed == 7


def test_rename__that_rewrites_a_definition_is_no_change_of_it(mailing, make, empty):
    above = make("above", definition="SELECT user_id FROM segments.mailing", max_loss=20)
    mailing.rename("letters", rewrite=True)
    empty()
    mailing.refresh(accept_loss=True)
    with pytest.raises(SegmentLossError):
        above.refresh()


@pytest.mark.parametrize("change", ["add", "load", "save", "unchanged"])
def test_list__that_changes_does_not_let_others_leave(mailing, empty, users, change):
    mailing.add(users[0])
    before = members(mailing)
    empty()
    with pytest.raises(SegmentLossError, match="remove 9 of 10"):
        mailing.refresh()
    with pytest.raises(SegmentLossError, match=r"remove [789] of 10"):
        if change == "add":
            mailing.add(users[1])
        elif change == "load":
            mailing.load_ids([user.pk for user in users[1:3]], mode="add")
        elif change == "save":
            mailing.static_ids = users[:2]
            mailing.save()
        else:
            mailing.add(users[0])
    assert members(mailing) == before
    assert [str(users[0].pk)] == Segment.objects.get().static_ids.split()


def test_list__may_lose_any_of_its_users(users, make):
    segment = make(static_ids=users, max_loss=20)
    segment.remove(users[:5])
    segment.load_ids([users[9].pk])
    segment.static_ids = []
    segment.save()
    assert members(segment) == (0, 0, 0)


def test_lost_view__is_not_filled_again_with_fewer(mailing, empty, owner, query):
    owner("DROP MATERIALIZED VIEW segments.mailing")
    empty()
    errors = [step.error for step in sync.sync() if step.error]
    assert [type(error) for error in errors] == [SegmentLossError]
    assert query(f"SELECT count(*) FROM segments_membership WHERE segment_id = {mailing.pk}") == [
        (10,)
    ]
    mailing.refresh(accept_loss=True)
    assert members(mailing) == (0, 0, 0)


def test_deployment__that_is_synchronized_is_guarded(users, make, monkeypatch):
    manager = type(type(users[0]).objects)
    monkeypatch.setattr(manager, "buyers", lambda self: self.all(), raising=False)
    segment = make(manager_method="buyers", max_loss=20)
    monkeypatch.setattr(manager, "buyers", lambda self: self.filter(username="u1"))
    sync.sync()
    Segment.objects.update(status="outdated")  # As if its view had been replaced meanwhile.
    with pytest.raises(SegmentLossError, match="9 of 10"):
        segment.refresh()


@pytest.mark.parametrize("value", [20.9, True])
def test_max_loss__must_be_whole(mailing, value):
    mailing.max_loss = value
    with pytest.raises(SegmentDefinitionError, match="a whole number from 1 to 100"):
        mailing.save()


def test_changed_manager_method__is_guarded(users, make, monkeypatch):
    """What a deployment changes is nobody's change of the segment."""
    manager = type(type(users[0]).objects)
    monkeypatch.setattr(manager, "buyers", lambda self: self.all(), raising=False)
    segment = make(manager_method="buyers", max_loss=20)
    monkeypatch.setattr(manager, "buyers", lambda self: self.none())
    with pytest.raises(SegmentLossError, match="10 of 10"):
        segment.refresh()


def test_refusal__sends_its_signal(mailing, empty, django_capture_on_commit_callbacks):
    received = []

    def receive(segment, result, error, **kwargs):
        received.append((segment.slug, result.status, error.removed))

    segment_refresh_failed.connect(receive)
    empty()
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(SegmentLossError):
        mailing.refresh()
    segment_refresh_failed.disconnect(receive)
    assert received == [("mailing", "refused", 10)]


def test_refusal__is_in_notes_of_segments_that_read_it(mailing, make, empty):
    make("above", definition="SELECT user_id FROM segments.mailing")
    empty()
    results = {r.slug: r for r in many.refresh_many(Segment.objects.all(), force=True)}
    assert results["mailing"].status == "refused"
    assert (results["above"].status, results["above"].members_count) == ("refreshed", 10)
    notes = ("it reads mailing, whose refresh was refused, so its last good members were used",)
    assert results["above"].notes == notes
    # The same holds if it was refused in an earlier run.
    (only,) = many.refresh_many(Segment.objects.filter(slug="above"), force=True)
    assert only.notes == notes


def test_refusal__is_in_lists_and_the_catalog(mailing, empty, query):
    empty()
    with pytest.raises(SegmentLossError):
        mailing.refresh()
    found = query("SELECT status, members_count, failures FROM segments.catalog")
    assert found == [("refused", 10, 1)]
    assert json.loads(run("list_segments", "--json"))["status"] == "refused"
    assert "would remove 10 of 10" in run("list_segments")


def test_refusal__stays_after_a_sync(mailing, empty):
    empty()
    with pytest.raises(SegmentLossError):
        mailing.refresh()
    run("detach_segments")
    assert [entry.error for entry in sync.sync()] == [None]
    mailing.refresh_from_db()
    assert mailing.status == "refused"


def test_command__exits_with_one_and_accepts_once(mailing, make, empty):
    make("other")
    empty()
    done = attempt("refresh_segments")
    assert str(done.error) == "1 of 2 segments failed; their members are kept: mailing"
    assert done.error.returncode == 1
    assert "mailing: refused" in done.lines
    assert "remove 10 of 10" in done.err
    assert "0 members, +0 -10" in run("refresh_segments", "mailing", "--accept-loss")


def test_command__reports_a_refusal_as_json(mailing, empty):
    empty()
    (line,) = attempt("refresh_segments", "--json").lines
    shown = json.loads(line)
    assert (shown["status"], shown["members_count"], shown["removed"]) == ("refused", 10, None)
    assert "remove 10 of 10" in shown["error"]


@pytest.mark.parametrize("options", [[], ["--watch"], ["--due"]])
def test_command__accepts_the_loss_of_named_segments_only(mailing, empty, options):
    empty()
    error = str(attempt("refresh_segments", "--accept-loss", *options).error)
    assert re.search("name none|needs the slugs", error)
    assert members(mailing) == (10, 10, 10)


def test_forgotten_user__is_no_loss(make, users, empty, orders):
    segment = make("two", definition=f"{BUYERS} WHERE amount < 100", max_loss=20)
    orders[0].delete()
    users[0].delete()
    call_command("forget_user", str(orders[0].user_id))
    assert members(segment) == (1, 1, 1)


def test_forgotten_user__does_not_let_others_leave(mailing, users, empty):
    key = users[0].pk
    empty()
    users[0].delete()
    done = attempt("forget_user", str(key))
    assert "remove 10 of 10" in done.err
    assert members(mailing)[0] == 10
    mailing.refresh_from_db()
    assert "10 of 10" in mailing.last_error


def test_forgotten_user__whose_key_is_a_count_keeps_the_error(mailing, empty):
    empty()
    with pytest.raises(SegmentLossError):
        mailing.refresh()
    attempt("forget_user", "10")
    mailing.refresh_from_db()
    assert "10 of 10" in mailing.last_error


def test_docs__refuse_as_told(orders, make, query, capsys):
    set_limit, refused = blocks("guard.md", "python")
    segment = make(definition=BUYERS)
    exec(set_limit, {"segment": segment})
    query("DELETE FROM shop_order")
    exec(refused, {"segment": segment})
    assert capsys.readouterr().out == "10 of 10 would have left\n"
    assert segment.status == "refused"
