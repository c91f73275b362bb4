"""Tasks in a project without a tasks framework; test_background.py has the other tests."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from segments import checks, conf, tasks
from segments.exceptions import SegmentLossError


def test_no_framework__is_an_error_of_the_check(settings, monkeypatch):
    monkeypatch.setattr(conf, "tasks_framework", lambda: None)
    settings.SEGMENTS_REFRESH_ASYNC = True
    (fault,) = [each for each in checks.check_project() if each.id == "segments.E009"]
    assert "django-segments[tasks]" in fault.hint
    with pytest.raises(ImproperlyConfigured, match=r"django-segments\[tasks\]"):
        tasks.check_framework()
    assert tasks.task(len) is len


@pytest.mark.django_db
def test_refresh__accepts_a_loss_that_was_refused_meanwhile(orders, make, query):
    segment = make(definition="SELECT user_id FROM shop_order", max_loss=20)
    asked_at = query("SELECT clock_timestamp()")[0][0].isoformat()
    query("DELETE FROM shop_order")
    with pytest.raises(SegmentLossError):
        segment.refresh()
    assert tasks.refresh_segment.func(segment.pk, asked_at) == "refused"
    assert tasks.refresh_segment.func(segment.pk, asked_at, accept_loss=True) == "refreshed"
    assert tasks.refresh_segment.func(segment.pk, None) == "unchanged"
