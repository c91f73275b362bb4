"""What a page must not do: report errors, leave its host, or shut people out."""

from urllib.parse import urlsplit

import pytest

SERIOUS = ("serious", "critical")
"""The impacts of violations that fail a test."""


checked = []
"""The pages on which axe-core runs right now."""


class Watch:
    """Collects what goes wrong on a page.

    Attributes:
        problems: One line for each error, and each request to another host.
    """

    def __init__(self, page, host, expected=()):
        self.problems, self._page, self._host, self._expected = [], page, host, expected
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)

    def _console(self, message):
        url = message.location["url"]
        if url.endswith("/favicon.ico"):  # Chromium asks for it unasked.
            return
        by_axe = not url and any(self._page is page for page in checked)
        if by_axe and message.text.startswith("Applying inline style"):
            return
        if any(text in message.text for text in self._expected):
            return
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _request(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self.problems.append(f"a request to another host: {request.url}")

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # As when another page is opened.
            self.problems.append(f"a request failed: {request.url} {request.failure}")


def expect(part):
    """Return Playwright's checks of a part of a page; they wait until it is as it should be.

    What only reads, such as `count()` and `is_visible()`, may still see the page before.
    """
    return pytest.importorskip("playwright.sync_api").expect(part)


def check_accessible(page, part="html"):
    """Run axe-core on a page, or a part; fail on any serious violation, naming the elements."""
    axe = pytest.importorskip("axe_playwright_python.base").AXE_SCRIPT
    page.evaluate(f"{axe}\n;0")  # As a script of the page it would break the page's policy.
    checked.append(page)
    options = "{resultTypes: ['violations'], preload: false}"
    found = page.evaluate(f"part => axe.run(part, {options})", part)
    page.evaluate("0")  # Whatever axe-core has caused on the console has come before this.
    checked.remove(page)
    serious = [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
    assert not serious, "\n".join(serious)
