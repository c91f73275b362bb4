"""Chromium for the tests in this folder: pages that fail on any error, and what is accessible."""

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.test import Client

from tests.browser import watching

FOLDER = Path(__file__).parent

WIDE, PHONE = (1280, 900), (390, 844)
"""The sizes of a window, in CSS pixels."""


def pytest_collection_modifyitems(items):
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium: that of the environment variable CHROMIUM, or of the PATH.

    Its driver has an event loop in this thread, for which Django refuses its database. So the
    driver ends with the module, and so do the connections that belong to the loop.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium; apt-get install chromium, or set CHROMIUM")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    patch = pytest.MonkeyPatch()
    with driver.sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if root else []
        )
        yield browser
        browser.close()
        connections.close_all()
    patch.undo()


@pytest.fixture
def person(transactional_db, clean_views, django_user_model):
    """Create a user of the admin, with these permissions; a superuser without any."""
    from django.contrib.auth.models import Permission

    def create(*codenames, name="ada"):
        user = django_user_model.objects.create_user(
            name, email=f"{name}@example.com", is_staff=True, is_superuser=not codenames
        )
        permissions = Permission.objects.filter(codename__in=codenames)
        assert len(permissions) == len(codenames)
        user.user_permissions.set(permissions)
        return user

    return create


@pytest.fixture
def open_page(chromium, live_server, person):
    """Open the admin in a window of its own; fail if a page has an error or leaves the host.

    Returns:
        A function of a path that returns a page. It takes the texts of the messages on the console
        that are `expected`.
    """
    contexts, watched = [], []

    def open_one(url, *, size=WIDE, scheme="light", user=None, script=True, expected=()):
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        client = Client()
        client.force_login(user or person())
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page = context.new_page()
        watched.append(watching.Watch(page, urlsplit(live_server.url).netloc, expected))
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [problem for watch in watched for problem in watch.problems] == []


@pytest.fixture
def accessible():
    """Check that axe-core finds no serious violation on a page."""
    return watching.check_accessible


@pytest.fixture
def snap(request):
    """Save a picture of a page in the folder SCREENSHOTS, if that is set."""

    def save(page, name):
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return save
