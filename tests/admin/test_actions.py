"""The actions that refresh segments, in the admin."""

import pytest

from segments import tasks
from segments.models import Segment
from tests.admin.test_segment import LIST, browse, change

__all__ = ["browse"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def emptied(orders, make, query):
    """A segment that may lose a fifth of its members, and whose source is empty."""
    segment = make(definition="SELECT user_id FROM shop_order", max_loss=20)
    query("DELETE FROM shop_order")
    return segment


def act(browse, action, segment):
    return browse(LIST, action=action, _selected_action=[str(segment.pk)])


@pytest.mark.slow
def test_refused__is_shown_and_accepted_once(emptied, browse):
    page = act(browse, "refresh_selected", emptied)
    assert "remove 10 of 10 members" in page
    assert 'segments-refused" title="segment "vip": a refresh would remove' in page
    page = act(browse, "accept_loss_selected", emptied)
    assert "1 segment refreshed." in page
    assert Segment.objects.get().members_count == 0


@pytest.mark.slow
def test_accepted_loss__is_accepted_by_the_worker(emptied, browse, settings, monkeypatch):
    settings.SEGMENTS_REFRESH_ASYNC = True
    enqueued = []
    monkeypatch.setattr(
        tasks, "enqueue_refresh", lambda *args, **options: enqueued.append((*args, options))
    )
    assert "A worker will refresh 1 segment." in act(browse, "accept_loss_selected", emptied)
    assert enqueued == [(emptied, {"accept_loss": True})]


def test_max_loss__is_a_field_of_the_form(emptied, browse):
    fields = {"definition": emptied.definition, "name": "Vip"}
    page = change(browse, emptied, **fields, max_loss="101")
    assert "less than or equal to 100" in page
    assert "was changed successfully" in change(browse, emptied, **fields, max_loss="40")
    assert Segment.objects.get().max_loss == 40
