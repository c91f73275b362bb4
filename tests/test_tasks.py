"""Tasks: with a worker (in a process of its own), and where there is no framework."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from segments import checks, conf, tasks

ROOT = Path(__file__).parent.parent


def test_worker__refreshes_what_is_enqueued():
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "--ds", "tests.workers.settings", "tests/workers/suite.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_no_framework__is_said(settings, monkeypatch):
    monkeypatch.setattr(conf, "tasks_framework", lambda: None)
    settings.SEGMENTS_REFRESH_ASYNC = True
    (fault,) = [each for each in checks.check_project() if each.id == "segments.E009"]
    assert "django-segments[tasks]" in fault.hint
    with pytest.raises(ImproperlyConfigured, match=r"django-segments\[tasks\]"):
        tasks.check_framework()
    assert tasks.task(len) is len
