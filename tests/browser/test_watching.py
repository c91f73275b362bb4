"""What watches the pages notices what goes wrong on them."""

import pytest

from tests.browser.watching import Watch


@pytest.fixture
def page(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_watch__reports_errors_and_other_hosts(page):
    watch = Watch(page, "here.test")
    page.route("**/*", lambda route: route.fulfill(body="", content_type="text/html"))
    page.goto("http://here.test/")
    assert watch.problems == []
    page.evaluate("console.error('it broke'); fetch('http://elsewhere.test/').catch(() => 0)")
    page.evaluate("setTimeout(() => { throw new Error('at once') })")
    page.wait_for_timeout(200)
    text = "\n".join(watch.problems)
    for problem in ("it broke", "another host: http://elsewhere.test/", "uncaught: at once"):
        assert problem in text


def test_watch__reports_inline_styles(open_page, accessible):
    page = open_page("/admin/", expected=("'style-src",))
    accessible(page)
    watch = Watch(page, page.url.split("/")[2])
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    page.evaluate("0")
    assert "inline style" in "".join(watch.problems)


def test_accessible__refuses_what_shuts_people_out(page, accessible):
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><input></main>")
    with pytest.raises(AssertionError, match="label"):
        accessible(page)


def test_admin__keeps_the_policy(open_page, accessible):
    page = open_page("/admin/")
    assert page.title().startswith("Site administration")
    accessible(page)
