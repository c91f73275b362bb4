"""The pages of segments under django-unfold, which has templates of its own."""

import html
import re
from pathlib import Path

import pytest
from django.conf import settings as project
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import clear_url_caches, path, reverse

from segments.models import Segment
from tests.admin.histories import write_history
from tests.admin.test_segment import form
from tests.browser.conftest import chromium, person
from tests.conftest import USERS

__all__ = ["chromium", "person"]

pytestmark = pytest.mark.django_db

urlpatterns = []
"""The admin site of unfold, once the app is installed."""


@pytest.fixture
def unfolded(settings):
    """Install unfold, with an admin site of its own."""
    settings.INSTALLED_APPS = ["unfold.apps.BasicAppConfig", *project.INSTALLED_APPS]
    from unfold.admin import ModelAdmin
    from unfold.sites import UnfoldAdminSite

    from segments.admin import SegmentAdmin, SegmentMembershipInline

    class ProjectSegmentAdmin(SegmentAdmin, ModelAdmin):
        pass

    class ProjectUserAdmin(ModelAdmin):
        inlines = (SegmentMembershipInline,)

    def urls(segment_admin):
        site = UnfoldAdminSite(name="admin")
        site.register(Segment, segment_admin)
        site.register(get_user_model(), ProjectUserAdmin)
        urlpatterns[:] = [path("admin/", site.urls)]
        settings.ROOT_URLCONF = __name__
        clear_url_caches()

    yield {"plain": lambda: urls(SegmentAdmin), "own": lambda: urls(ProjectSegmentAdmin)}
    urlpatterns.clear()
    clear_url_caches()


@pytest.mark.parametrize("base", ["plain", "own"])
def test_pages__render_with_unfold(base, unfolded, users, make, admin_client):
    unfolded[base]()
    segment, other = make(), make("other")
    write_history(segment, [5, 9, 7])
    pages = {
        reverse("admin:segments_segment_changelist"): ("Highest priority first", "data-word"),
        reverse("admin:segments_segment_add"): ("definition", 'name="slug"'),
        **{
            reverse(f"admin:segments_segment_{name}", args=[segment.pk]): shown
            for name, shown in {
                "overview": ("segments-chart", "segments-facts"),
                "change": ('name="definition"',),
                "members": ("u3",),
                "changes": ("Since",),
                "versions": ("has not been changed yet",),
            }.items()
        },
        reverse("admin:segments_segment_compare") + f"?segment={segment.pk}&segment={other.pk}": (
            "segments-heat",
        ),
        reverse("admin:segments_segment_user", args=[users[0].pk]): ("Check now",),
        reverse("admin:accounts_segmentableuser_change", args=[users[0].pk]): ("segments-panel",),
    }
    for url, shown in pages.items():
        response = admin_client.get(url)
        assert response.status_code == 200, url
        page = html.unescape(response.content.decode())
        assert "unfold" in page
        for text in shown:
            assert text in page, (url, text)


def test_form__saves_with_unfold(unfolded, users, admin_client):
    unfolded["own"]()
    data = form(definition=f"SELECT id FROM {USERS}")
    admin_client.post(reverse("admin:segments_segment_add"), data)
    assert Segment.objects.get().members_count == 11


@pytest.fixture
def add_page(unfolded, chromium, live_server, person):
    """The form of a new segment in a browser, without a policy, which unfold does not bear."""
    unfolded["own"]()
    client = Client()
    client.force_login(person())
    context = chromium.new_context(base_url=live_server.url, bypass_csp=True)
    context.set_default_timeout(10_000)
    session = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page = context.new_page()
    page.goto(reverse("admin:segments_segment_add"))
    yield page
    context.close()


@pytest.mark.django_db(transaction=True)
def test_form__has_the_fields_of_a_kind_with_unfold(add_page, users):
    def shown():
        places = {"definition": ".segments-editor", "method": "#id_method"}
        places["static_ids"] = "#id_static_ids"
        return [name for name, place in places.items() if add_page.locator(place).is_visible()]

    add_page.locator(".segments-editor").wait_for()
    assert shown() == ["definition"]
    add_page.get_by_label("A list of users", exact=True).check()
    assert shown() == ["static_ids"]
    add_page.locator("#id_static_ids").fill("x")
    with add_page.expect_response("**/preview/"):
        add_page.locator("[name=_preview]").click()
    error = add_page.locator(".form-row .segments-live")
    error.wait_for()
    assert '"x" is not a whole number' in error.inner_text()
    add_page.locator("#id_static_ids").fill(str(users[0].pk))
    add_page.locator("#id_name").fill("Gold")
    add_page.locator("#id_name").press("Enter")
    add_page.wait_for_url("**/segments/segment/")
    assert Segment.objects.get().members_count == 1


def test_docs__register_a_class_that_works(unfolded):
    from django.contrib import admin

    text = (Path(__file__).parents[3] / "docs" / "admin.md").read_text()
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1]
    scope = {"admin": admin}
    exec(block, scope)
    assert type(admin.site.get_model_admin(Segment)) is scope["ProjectSegmentAdmin"]
