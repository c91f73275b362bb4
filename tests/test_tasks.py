"""Tasks in a project without a tasks framework; test_background.py has the other tests."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from segments import checks, conf, tasks


def test_no_framework__is_an_error_of_the_check(settings, monkeypatch):
    monkeypatch.setattr(conf, "tasks_framework", lambda: None)
    settings.SEGMENTS_REFRESH_ASYNC = True
    (fault,) = [each for each in checks.check_project() if each.id == "segments.E009"]
    assert "django-segments[tasks]" in fault.hint
    with pytest.raises(ImproperlyConfigured, match=r"django-segments\[tasks\]"):
        tasks.check_framework()
    assert tasks.task(len) is len
