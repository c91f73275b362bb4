"""The admin under django-unfold, in a process of its own: importing it changes Django's admin."""

import os

import pytest

from tests.processes import run_suite


@pytest.mark.slow
def test_unfold__renders_all_pages():
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_suite(
        "-o",
        "python_files=pages.py",
        "tests/isolated/unfold/pages.py",
        SEGMENTS_TEST_NAME=f"test_segments_unfold_{worker}",
    )
