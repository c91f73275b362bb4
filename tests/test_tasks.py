"""Tasks: with a worker (in a process of its own), and where there is no framework."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from segments import checks, conf, tasks
from tests.processes import run_suite


@pytest.mark.slow
def test_worker__refreshes_what_is_enqueued():
    run_suite("tests/workers/suite.py", DJANGO_SETTINGS_MODULE="tests.workers.settings")


def test_no_framework__is_said(settings, monkeypatch):
    monkeypatch.setattr(conf, "tasks_framework", lambda: None)
    settings.SEGMENTS_REFRESH_ASYNC = True
    (fault,) = [each for each in checks.check_project() if each.id == "segments.E009"]
    assert "django-segments[tasks]" in fault.hint
    with pytest.raises(ImproperlyConfigured, match=r"django-segments\[tasks\]"):
        tasks.check_framework()
    assert tasks.task(len) is len
