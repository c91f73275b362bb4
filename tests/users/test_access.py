"""`segments.users.access` and the template library: one query for all that a view asks."""

import logging

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.models import User as DjangoUser
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpResponse
from django.template import engines
from django.test import RequestFactory
from django.test.utils import override_settings
from django.utils.functional import SimpleLazyObject
from django.views.generic import View

from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.users.access import SegmentRequiredMixin, segment_required, visitor_in_segment
from segments.users.context_processors import segments
from tests.accounts.models import SegmentableUser as User

pytestmark = pytest.mark.django_db


@pytest.fixture
def plans(users, make):
    """Segments of u0 and u1, and of u1 alone."""
    make("vip", static_ids=users[:2])
    return make("big-spenders", static_ids=users[1:2], priority=5)


def request_of(user, path="/offers/"):
    """Return a request whose user is loaded when it is read, as by Django's middleware."""
    request = RequestFactory().get(path)
    request.user = SimpleLazyObject(lambda: user)

    async def auser():
        return user

    request.auser = auser
    return request


def render(text, request=None, **context):
    if request is not None:
        context |= {"user": request.user} | segments(request)
    template = engines["django"].from_string("{% load segments %}" + text)
    return template.render(context, request)


@segment_required("vip")
def offers(request):
    return HttpResponse("offers")


@segment_required("vip", login_url="/enter/", redirect_field_name="then")
async def offers_async(request):
    return HttpResponse("offers")


class Offers(SegmentRequiredMixin, View):
    segment_required = "vip"

    def get(self, request):
        return HttpResponse("offers")


class OffersAsync(SegmentRequiredMixin, View):
    segment_required = "vip"
    login_url = "/enter/"
    redirect_field_name = "then"

    async def get(self, request):
        return HttpResponse("offers")


VIEWS = {
    "function": (offers, "/accounts/login/?next=/offers/"),
    "async function": (
        lambda request: async_to_sync(offers_async)(request),
        "/enter/?then=/offers/",
    ),
    "class": (Offers.as_view(), "/accounts/login/?next=/offers/"),
    "async class": (
        lambda request: async_to_sync(OffersAsync.as_view())(request),
        "/enter/?then=/offers/",
    ),
}

each_view = pytest.mark.parametrize(("view", "login"), VIEWS.values(), ids=VIEWS)


@pytest.mark.roles
@each_view
def test_view__is_for_members(view, login, plans, users, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert view(request_of(users[0])).content == b"offers"
    with django_assert_num_queries(1), pytest.raises(PermissionDenied):
        view(request_of(users[5]))


@each_view
def test_view__sends_visitors_to_the_login(view, login, plans, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = view(request_of(AnonymousUser()))
    assert (response.status_code, response.url) == (302, login)


@each_view
def test_view__raises_for_an_unknown_slug(view, login, make, users):
    make("vips", static_ids=users)
    with pytest.raises(Segment.DoesNotExist, match='Did you mean "vips"'):
        view(request_of(users[0]))


@each_view
def test_view__asks_a_segment_without_members_live(view, login, plans, users):
    Segment.objects.update(refreshed_at=None)
    assert view(request_of(users[0])).content == b"offers"
    with pytest.raises(PermissionDenied):
        view(request_of(users[5]))


@each_view
def test_view__raises_if_the_database_does_not_answer(view, login, plans, users, query):
    query("ALTER TABLE segments_membership RENAME TO gone")
    with pytest.raises(SegmentExecutionError):
        view(request_of(users[0]))


def test_view__keeps_its_name_and_what_django_reads():
    assert offers.__name__ == "offers"
    assert offers_async.login_url == "/enter/"


def test_mixin__without_a_segment_says_what_is_missing(users):
    class Nothing(SegmentRequiredMixin, View):
        def get(self, request):
            raise AssertionError("nobody gets here")

    with pytest.raises(ImproperlyConfigured, match="Nothing has no segment: define its attribute"):
        Nothing.as_view()(request_of(users[0]))


def test_mixin__may_choose_by_the_request(plans, users):
    class Chosen(Offers):
        def get_segment_required(self):
            return Segment.objects.get(slug=self.request.GET["segment"])

    assert Chosen.as_view()(request_of(users[0], "/?segment=vip")).status_code == 200
    with pytest.raises(PermissionDenied):
        Chosen.as_view()(request_of(users[0], "/?segment=big-spenders"))


def test_mixin__refuses_other_methods_of_async_views(plans, users):
    request = request_of(users[0])
    request.method = "POST"
    assert async_to_sync(OffersAsync.as_view())(request).status_code == 405


def test_mixin__can_deny_visitors(plans):
    with pytest.raises(PermissionDenied):
        Offers.as_view(raise_exception=True)(request_of(AnonymousUser()))


PAGE = """
{% if user|in_segment:"vip" %}vip{% endif %}
{% if user|in_segment:"big_spenders" %}big{% endif %}
{% in_segment user "big-spenders" as big %}{{ big }}
{% if segments.vip and not segments.big_spenders %}only vip{% endif %}
{% if "big-spenders" in segments %}spends{% endif %}
{% for segment in segments %}{{ segment.name }} {% endfor %}{{ segments|length }}
"""


@pytest.mark.roles
def test_request__costs_one_query_in_all(plans, users, django_assert_num_queries):
    request = request_of(users[1])
    with django_assert_num_queries(1):
        assert offers(request).content == Offers.as_view()(request).content == b"offers"
        assert render(PAGE, request).split() == [
            "vip",
            "big",
            "True",
            "spends",
            "Big-Spenders",
            "Vip",
            "2",
        ]
    with django_assert_num_queries(1):
        assert render(PAGE, request_of(users[0])).split() == [
            "vip",
            "False",
            "only",
            "vip",
            "Vip",
            "1",
        ]
    with django_assert_num_queries(1):
        assert render(PAGE, request_of(AnonymousUser())).split() == ["False", "0"]


def test_async_request__costs_one_query_in_all(plans, users, django_assert_num_queries):
    """Django loads two objects of the user, `auser()` and `user`; one of them is asked."""
    request = request_of(users[1])
    request.user = SimpleLazyObject(lambda: User(pk=users[1].pk, username="u1"))
    rendered = []

    @segment_required("vip")
    async def page(request):
        rendered.extend((await sync_to_async(render)(PAGE, request)).split())
        return HttpResponse("page")

    with django_assert_num_queries(1):
        assert async_to_sync(page)(request).content == b"page"
    assert rendered == ["vip", "big", "True", "spends", "Big-Spenders", "Vip", "2"]
    assert request.user == users[1]


def test_async_request__of_two_users_keeps_them_apart(plans, users):
    """As where a member of the staff looks at the site with the eyes of a customer."""
    request = request_of(users[1])
    request.user = SimpleLazyObject(lambda: users[5])

    @segment_required("vip")
    async def page(request):
        text = await sync_to_async(render)('{{ user }} {{ user|in_segment:"vip" }}', request)
        return HttpResponse(text)

    assert async_to_sync(page)(request).content == b"u5 False"


@pytest.mark.parametrize(
    ("text", "first", "other"),
    [
        ("{{ segments.first }}", "Big-Spenders", "None"),
        ("{{ segments.first.name }}", "Big-Spenders", ""),
        ("{{ segments.last.slug }}", "vip", ""),
        ("{{ segments.count }}", "2", "0"),
        ("{{ segments.exists }}", "True", "False"),
        ("{% for each in segments.all %}{{ each.slug }} {% endfor %}", "big-spenders vip ", ""),
        ("{{ segments.0.name }}", "Big-Spenders", ""),
        ("{{ segments.2.name }}", "", ""),
        ("{{ segments|last }}", "Vip", ""),
        ('{{ segments|slice:":1"|join:", " }}', "Big-Spenders", ""),
        ("{{ segments.vip.name }}", "", ""),
    ],
)
def test_context_processor__has_what_querysets_have(
    text, first, other, plans, users, django_assert_num_queries
):
    for user, expected in ((users[1], first), (users[5], other), (AnonymousUser(), other)):
        with django_assert_num_queries(1):
            assert render(text, request_of(user)) == expected


def test_context_processor__prefers_a_segment_with_the_name(plans, users, make):
    make("first", static_ids=users[5:])
    text = "{{ segments.first }} {{ segments.count }}"
    assert render(text, request_of(users[1])) == "False 2"
    assert render(text, request_of(users[5])) == "True 1"


@pytest.mark.parametrize("user", [{}, {"user": None}, {"user": ""}])
def test_template__without_a_user_is_that_of_a_visitor(user, plans):
    text = (
        '{% in_segment user "vip" %} {% if user|in_segment:"vip" %}in{% else %}out{% endif %}'
        '{% in_segment user "vip" as is_vip %} {{ is_vip }}'
    )
    assert render(text, **user) == "False out False"


def test_request__that_asks_nothing_costs_nothing(plans, users, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert render("{{ user.username }}", request_of(users[0])) == "u0"


def test_prefetched_user__costs_no_query(plans, users, django_assert_num_queries):
    user = User.objects.prefetch_related("segments").get(pk=users[1].pk)
    with django_assert_num_queries(0):
        assert "spends" in render(PAGE, request_of(user))


def test_is_member__asks_again_in_the_same_request(plans, users):
    request = request_of(users[0])
    assert offers(request).status_code == 200
    plans.static_ids = users
    plans.save()
    plans.refresh()
    assert request.user.is_member("big-spenders") is True
    assert visitor_in_segment(request.user, "big-spenders") is False  # That of the request.
    request.user.refresh_from_db()
    assert visitor_in_segment(request.user, "big-spenders") is True


def test_filter__takes_keys_and_nobody(plans, users):
    text = '{% if user|in_segment:"vip" %}in{% else %}out{% endif %}'
    for user, expected in ((users[0].pk, "in"), (str(users[5].pk), "out"), (None, "out")):
        assert render(text, user=user) == expected
    assert render(text, user=users[0], segment=plans) == "in"
    assert render("{{ user|in_segment:segment }}", user=users[0], segment=plans) == "False"


@pytest.mark.parametrize(
    "text",
    [
        '{% if user|in_segment:"vpi" %}in{% endif %}',
        '{{ user|in_segment:"vpi" }}',
        '{% in_segment user "vpi" as is_vip %}',
        "{% if segments.vpi %}in{% endif %}",
        "{{ segments.vpi }}",
    ],
)
def test_template__raises_for_an_unknown_slug(text, plans, users):
    for user in (users[0], AnonymousUser()):
        with pytest.raises(Segment.DoesNotExist, match='Did you mean "vip"'):
            render(text, request_of(user))


@pytest.mark.parametrize(
    "condition",
    ['not user|in_segment:"vpi"', 'user and user|in_segment:"vpi"', '"vpi" in segments'],
)
def test_template__logs_what_django_takes_for_false(condition, plans, users, caplog):
    with caplog.at_level(logging.ERROR, "segments"):
        assert render(f"{{% if {condition} %}}in{{% endif %}}", request_of(users[0])) == ""
    assert 'Did you mean "vip"' in caplog.text


def test_context_processor__needs_a_user(plans):
    request = RequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="AuthenticationMiddleware"):
        list(segments(request)["segments"])


def test_context_processor__is_named_in_settings(plans, users, settings):
    (configured,) = settings.TEMPLATES
    path = "segments.users.context_processors.segments"
    processors = [*configured["OPTIONS"]["context_processors"], path]
    with override_settings(
        TEMPLATES=[configured | {"OPTIONS": {"context_processors": processors}}]
    ):
        template = engines["django"].from_string("{{ segments.vip }} {{ segments|first }}")
        assert template.render({}, request_of(users[1])) == "True Big-Spenders"


def test_view__of_another_user_model_class(plans):
    visitor = AnonymousUser()
    assert visitor_in_segment(visitor, "vip") is False
    assert DjangoUser is not User
    with pytest.raises(TypeError, match="is not a user"):
        visitor_in_segment(Segment(pk=1), "vip")
