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
    driver.expect.set_options(timeout=30_000)  # As long as Playwright waits for all else.
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
def window(chromium):
    """Open an empty page in a window of its own; fail if it has an error or leaves its host.

    Returns:
        A function of a host's address that returns a page. It takes the texts of the messages on
        the console that are `expected`, and other options of a context of Playwright.
    """
    contexts, watched = [], []

    def open_one(address, *, size=WIDE, expected=(), **options):
        context = chromium.new_context(
            base_url=address,
            viewport={"width": size[0], "height": size[1]},
            reduced_motion="reduce",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        watched.append(watching.Watch(page, urlsplit(address).netloc, expected))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [problem for watch in watched for problem in watch.problems] == []


@pytest.fixture
def open_page(window, live_server, person):
    """Open a page of the admin, by its path, as a user."""

    def open_one(url, *, size=WIDE, scheme="light", user=None, script=True, expected=()):
        page = window(
            live_server.url,
            size=size,
            expected=expected,
            color_scheme=scheme,
            java_script_enabled=script,
        )
        client = Client()
        client.force_login(user or person())
        session = client.cookies["sessionid"].value
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        page.goto(url)
        return page

    return open_one


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
