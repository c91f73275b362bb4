"""The list and the pages of segments in a browser."""

import pytest

from segments.models import Segment, Status
from tests.admin.histories import write_history
from tests.browser.conftest import PHONE, WIDE
from tests.conftest import USERS

LIST = "/admin/segments/segment/"

LOOKS = [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")]


@pytest.fixture
def shop(person, django_user_model, make):
    """Segments in several states, with histories."""
    people = [django_user_model(username=f"u{n}", is_staff=n % 2 == 0) for n in range(40)]
    django_user_model.objects.bulk_create(people)
    big = make(
        "regular-buyers",
        definition=f"SELECT id FROM {USERS} WHERE username LIKE 'u%'",
        description="Everybody who buys every month. #mailing",
        refresh_every=3600,
    )
    write_history(big, [12 + n - (5 if n in (9, 10, 20) else 0) for n in range(28)])
    make("staff", definition=f"SELECT id FROM {USERS} WHERE is_staff", description="#mailing")
    make(
        "both",
        definition="SELECT user_id FROM segments.regular_buyers NATURAL JOIN segments.staff",
    )
    make("invited", static_ids=people[:5], is_active=False)
    make("everyone", manager_method="all")
    broken = make("late-payers", definition=f"SELECT id FROM {USERS} WHERE id > 3")
    error = 'segment "late-payers": column "paid" does not exist (line 1, column 36)\n'
    error += f"SELECT id FROM {USERS} WHERE paid > 3\n" + " " * 51 + "^"
    Segment.objects.filter(pk=broken.pk).update(
        status=Status.FAILED, last_error=error, failures=3, refresh_every=None
    )
    return {segment.slug: segment for segment in Segment.objects.all()}


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_list__fits_and_is_accessible(size, scheme, shop, open_page, accessible, snap):
    page = open_page(LIST, size=size, scheme=scheme)
    snap(page, f"list-{size[0]}-{scheme}")
    accessible(page)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    if size == WIDE:
        inner = "(() => { const r = document.querySelector('.results'); return r.scrollWidth - r.clientWidth })()"
        assert page.evaluate(inner) <= 0


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_overview__fits_and_is_accessible(size, scheme, shop, open_page, accessible, snap):
    page = open_page(LIST, size=size, scheme=scheme)
    for slug in ("regular-buyers", "late-payers"):
        page.goto(f"{LIST}{shop[slug].pk}/overview/")
        snap(page, f"{slug}-{size[0]}-{scheme}")
        accessible(page)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0
