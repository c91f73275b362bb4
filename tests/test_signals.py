"""Signals and notifications are sent when a refresh is committed."""

import json

import pytest
from django.db import connection, transaction

from segments.exceptions import SegmentError
from segments.models import Segment
from segments.refreshing import many
from segments.signals import segment_refresh_failed, segment_refreshed
from tests.conftest import EVEN

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("clean_views"),
]


@pytest.fixture
def heard():
    """The arguments of each signal, and whether it was sent in a transaction."""
    told = []

    def hear(signal, sender, **given):
        told.append((signal, given, connection.in_atomic_block))

    for signal in (segment_refreshed, segment_refresh_failed):
        signal.connect(hear, sender=Segment)
    yield told
    for signal in (segment_refreshed, segment_refresh_failed):
        signal.disconnect(hear, sender=Segment)


def test_refreshed__is_sent_after_the_commit(staff, make, heard):
    segment = make(definition=EVEN)
    staff(1)
    with transaction.atomic():
        result = segment.refresh()
        assert len(heard) == 1
    (_, first, _), (signal, given, within) = heard
    assert (first["segment"], first["result"].members_count) == (segment, 5)
    assert signal is segment_refreshed
    assert (given["segment"], given["result"], within) == (segment, result, False)


def test_refreshed__is_sent_for_unchanged_segments(make, heard):
    make().refresh()
    assert [given["result"].status for _, given, _ in heard] == ["refreshed", "unchanged"]


def test_refreshed__is_not_sent_after_a_rollback(make, heard):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        make()
        1 / 0  # noqa: B018
    assert heard == []


def test_failed__is_sent_with_the_error(failing, heard):
    heard.clear()
    with pytest.raises(SegmentError):
        failing.refresh()
    list(many.refresh_many([failing]))
    assert [signal for signal, _, _ in heard] == [segment_refresh_failed] * 2
    for _, given, within in heard:
        assert "division by zero" in str(given["error"])
        assert given["result"].error is given["error"]
        assert not within


def test_receivers__that_fail_stop_nothing(users, make, caplog):
    def fail(**given):
        raise LookupError("no such receiver")

    segment_refreshed.connect(fail)
    try:
        assert make().refresh().members_count == 10
    finally:
        segment_refreshed.disconnect(fail)
    assert "no such receiver" in caplog.text


@pytest.mark.usefixtures("users")
def test_jobs__send_from_the_thread_of_the_caller(make, heard):
    make("a")
    make("b")
    heard.clear()
    results = list(many.refresh_many(Segment.objects.all(), jobs=2, force=True))
    assert [given["result"] for _, given, _ in heard] == results


def notes(session):
    return [json.loads(note.payload) for note in session.notifies(timeout=5, stop_after=1)]


def test_notify__reaches_listeners_when_the_members_are_visible(staff, make, session):
    segment = make(definition=EVEN)
    other = session()
    other.execute("LISTEN segments")
    staff(1)
    with transaction.atomic():
        segment.refresh()
        assert list(other.notifies(timeout=0.1)) == []
    assert notes(other) == [
        {
            "segment": "vip", "id": segment.pk, "status": "refreshed", "members_count": 1,
            "added": 1, "removed": 5,
        }
    ]  # fmt: skip
    assert other.execute("SELECT count(*) FROM segments.vip").fetchone() == (1,)


def test_notify__reports_failures(failing, session):
    other = session()
    other.execute("LISTEN segments")
    with pytest.raises(SegmentError):
        failing.refresh()
    (note,) = notes(other)
    assert (note["segment"], note["status"]) == ("failing", "failed")
