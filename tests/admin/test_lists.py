"""The page of a list: uploads, pasted lists, their reports, the search and the download."""

import html
import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import path, reverse

from segments.admin import SegmentAdmin
from segments.models import Segment
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

site = admin.AdminSite()
site.register(Segment, SegmentAdmin)
site.register(get_user_model())

urlpatterns = [path("admin/", site.urls)]
"""An admin site that shows users to people with the permission to view them."""

LIST = "admin:segments_segment_list"
DOWNLOAD = "admin:segments_segment_list_download"


@pytest.fixture
def listed(users):
    """A segment with the first two users on its list."""
    return Segment.objects.create(name="Pilot", slug="pilot", static_ids=users[:2])


@pytest.fixture
def load(admin_client, listed):
    """Send a list; return the text of the page."""

    def send(text="", *, file=None, mode="add", by="", **data):
        data |= {"text": text, "mode": mode, "by": by}
        if file is not None:
            data["file"] = SimpleUploadedFile("users.csv", file)
        response = admin_client.post(reverse(LIST, args=[listed.pk]), data)
        assert response.status_code == 200
        return html.unescape(response.content.decode())

    return send


def names(segment):
    return sorted(user.username for user in segment.members)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("add", ["u0", "u1", "u2"]), ("remove", ["u0"]), ("replace", ["u1", "u2"])],
)
def test_list__is_pasted(load, listed, users, mode, expected):
    page = load(f"{users[1].pk}\n{users[2].pk}", mode=mode)
    assert "The list was changed" in page
    assert names(listed) == expected


def test_upload__of_names_with_bad_lines(load, listed):
    file = b"username\n" + b"\n".join(b"u%d" % number for number in range(2, 5)) + b"\nnobody\n"
    page = load(file=file, by="username")
    assert "Nothing was changed, because of these lines" in page
    assert 'no user has the username "nobody"' in page
    assert names(listed) == ["u0", "u1"]
    page = load(file=file, by="username", skip_bad="on")
    assert "The list was changed" in page
    assert 'no user has the username "nobody"' in page
    assert names(listed) == ["u0", "u1", "u2", "u3", "u4"]
    assert "4 lines read, 3 added" in LogEntry.objects.latest("action_time").get_change_message()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "Choose a file, or paste a list."),
        ({"text": "1", "file": b"1"}, "not both"),
        ({"text": "1", "mode": "forget"}, "not one of the available choices"),
        ({"text": "1", "by": "password"}, "not one of the available choices"),
        ({"file": "né".encode("latin-1")}, "not in UTF-8"),
        ({"file": "1\n".encode("utf-16")}, "UTF-16"),
        ({"file": b"\n", "mode": "replace"}, "Is it the right file?"),
        ({"file": b"username\n", "mode": "replace"}, "has no line"),
        ({"file": b"\x89PNG\r\n\x1a\n\0"}, "it is a picture"),
        ({"file": b"%PDF-1.7\n\xe2"}, "it is a PDF"),
    ],
)
def test_list__that_cannot_be_read(load, listed, sent, said):
    assert said in load(**sent)
    assert names(listed) == ["u0", "u1"]


def test_segment__of_sql_says_why_nobody_is_removed(admin_client, users):
    segment = Segment.objects.create(name="All", slug="all", definition=f"SELECT id FROM {USERS}")
    data = {"text": str(users[0].pk), "mode": "remove", "by": "pk"}
    page = admin_client.post(reverse(LIST, args=[segment.pk]), data).content.decode()
    assert "Change its definition to leave users out" in page


def test_segment__of_sql_says_who_stays_besides_the_list(admin_client, users):
    few = f"SELECT id FROM {USERS} WHERE username IN ('u0', 'u2')"
    segment = Segment.objects.create(name="Few", slug="few", definition=few)
    url = reverse(LIST, args=[segment.pk])
    assert "The list adds users to those that it selects" in admin_client.get(url).content.decode()
    page = admin_client.post(url, {"text": str(users[9].pk), "mode": "replace", "by": "pk"})
    assert "<dt>Members now</dt><dd>3</dd>" in page.content.decode()
    assert "The users that its definition selects are members as well." in page.content.decode()


def test_list__is_searched_and_downloaded(admin_client, listed, users):
    url = reverse(LIST, args=[listed.pk])
    page = admin_client.get(url).content.decode()
    assert "2 users on the list" in page
    assert f"<td>{users[1].pk}</td>" in page
    page = admin_client.get(url, {"q": "u1"}).content.decode()
    assert f"<td>{users[1].pk}</td>" in page
    assert f"<td>{users[0].pk}</td>" not in page
    response = admin_client.get(reverse(DOWNLOAD, args=[listed.pk]))
    assert response["Content-Disposition"] == 'attachment; filename="pilot-list.csv"'
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert [line.split(",")[:2] for line in lines] == [
        ["id", "username"],
        [str(users[0].pk), "u0"],
        [str(users[1].pk), "u1"],
    ]


@pytest.mark.parametrize(
    ("codenames", "sees", "loads"),
    [
        (["view_segment"], False, False),
        (["view_segment", "view_members"], True, False),
        (["view_segment", "change_segment"], False, True),
    ],
)
def test_person__sees_and_loads_what_is_permitted(
    client, django_user_model, listed, users, codenames, sees, loads
):
    person = django_user_model.objects.create_user("somebody", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(person)
    url = reverse(LIST, args=[listed.pk])
    page = client.get(url).content.decode()
    assert (">u1<" in page) is sees
    assert ("segments-load" in page) is loads
    data = {"text": str(users[2].pk), "mode": "add", "by": "pk"}
    assert client.post(url, data).status_code == (200 if loads else 403)
    response = client.get(reverse(DOWNLOAD, args=[listed.pk]))
    response.getvalue()  # The file is closed when it has been read.
    assert response.status_code == (200 if sees else 403)
    assert names(listed) == (["u0", "u1", "u2"] if loads else ["u0", "u1"])


def test_download__has_addresses_for_those_who_see_users(client, django_user_model, listed):
    person = django_user_model.objects.create_user("somebody", is_staff=True)
    codenames = ["view_segment", "view_members"]
    person.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(person)
    response = client.get(reverse(DOWNLOAD, args=[listed.pk]))
    assert b"".join(response.streaming_content).splitlines()[0] == b"id"
    message = LogEntry.objects.latest("action_time").get_change_message()
    assert message == "Exported 2 users of the list: pk"


# By which field lines name users.


@pytest.fixture
def unique_email(users, monkeypatch):
    """Users with addresses, which are unique."""
    for user in users:
        user.email = f"{user.username}@example.com"
    type(users[0]).objects.bulk_update(users, ["email"])
    monkeypatch.setitem(vars(type(users[0])._meta.get_field("email")), "unique", True)


ADDRESSES = "u4@example.com\nu5@example.com"


@pytest.mark.parametrize(
    ("text", "taken_for"),
    [
        ("username\nu4\nu5", "Username"),
        ("name;Username;age\nx;u4;1\ny;u5;2", "Username"),
        ('"name";"Username"\n"x";"u4"\n"y";"u5"', "Username"),
        (ADDRESSES, "Email address"),
        (f"email\n{ADDRESSES}", "Email address"),
    ],
)
def test_field__is_found_out(load, listed, unique_email, text, taken_for):
    page = load(text)
    assert "The list was changed" in page
    assert f"<dt>Each line was taken for</dt><dd>{taken_for}</dd>" in page
    assert names(listed) == ["u0", "u1", "u4", "u5"]


def test_field__of_a_file_is_found_out(load, listed, unique_email, users):
    load(file=b"\xef\xbb\xbf\r\n" + ADDRESSES.encode() + b"\r\nu6@example.com\r\n")
    assert names(listed) == ["u0", "u1", "u4", "u5", "u6"]


@pytest.mark.parametrize("by", ["pk", "username"])
def test_field__is_asked_for_if_the_header_names_several(by, load, listed, users):
    """An order's id beside the name of a customer is not that customer's id."""
    file = f"Username;ID\nu9;{users[7].pk}\n".encode()
    page = load(file=file)
    assert "The first line names “ID” and “Username”. Choose the one" in page
    assert names(listed) == ["u0", "u1"]
    load(file=file, by=by)
    assert names(listed) == ["u0", "u1", "u7" if by == "pk" else "u9"]


@pytest.mark.parametrize("header", ["Email address", "E-mail address", "e-mail", "EMAIL"])
def test_header__may_be_what_the_pages_say(load, listed, unique_email, header):
    page = load(f"{header}\nu4@example.com")
    assert "<dt>Each line was taken for</dt><dd>Email address</dd>" in page
    assert names(listed) == ["u0", "u1", "u4"]


def test_bad_line__that_differs_in_case_only(load, unique_email):
    page = load("u4@example.com\nU5@Example.com")
    assert 'no user has the email "U5@Example.com"; one has "u5@example.com"' in page


def test_field__that_is_not_unique_is_explained(load, listed):
    page = load(ADDRESSES)
    assert "addresses are not unique among your users" in page
    assert "addresses are not unique" not in load("nobody\n1")
    page = load(f"email\n{ADDRESSES}")
    assert "Your users may share the same “Email address”. Use one of these: “ID”, “Userna" in page
    assert "by='" not in page
    assert names(listed) == ["u0", "u1"]


def test_field__that_was_chosen_counts(load, listed, unique_email):
    page = load(ADDRESSES, by="pk")
    assert (
        "Most lines look like e-mail addresses. Choose “Email address” at “Each line is”" in page
    )
    page = load(f"username\n{ADDRESSES}", by="email")
    assert "Choose “Username” at “Each line is”." in page
    assert "Choose “ID” at “Each line is”." in load("id\n1", by="email")
    assert names(listed) == ["u0", "u1"]


def test_list__is_not_taken_for_a_file_of_the_server(load):
    assert "is the name of a file" not in load(__file__)


def test_hints__name_the_form(admin_client, users):
    segment = Segment.objects.create(name="All", slug="all", definition=f"SELECT id FROM {USERS}")
    data = {"text": str(users[0].pk), "mode": "remove"}
    page = html.unescape(
        admin_client.post(reverse(LIST, args=[segment.pk]), data).content.decode()
    )
    assert "choose “Add these users to the list”" in page
    assert "mode=" not in page.partition("segments-report")[2].partition("segments-load")[0]


@pytest.mark.parametrize("middleware", [True, False])
def test_list__that_is_too_large_to_paste(listed, admin_user, settings, users, middleware):
    if middleware:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2048
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    url = reverse(LIST, args=[listed.pk])
    page = html.unescape(client.get(url).content.decode())
    assert "One user a line, 2.0\xa0KB at most." in page
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    data = {"csrfmiddlewaretoken": token, "mode": "add", "text": f"{users[2].pk}\n" * 2000}
    response = client.post(url, data)
    assert response.status_code == 200
    page = html.unescape(response.content.decode())
    assert "Nothing was changed: more than 2.0\xa0KB was pasted." in page
    assert "segments-load" in page
    assert names(listed) == ["u0", "u1"]
    file = SimpleUploadedFile("users.csv", data.pop("text").encode())
    assert "The list was changed" in client.post(url, data | {"file": file}).content.decode()
    assert names(listed) == ["u0", "u1", "u2"]


def test_list__too_large_of_somebody_else(listed, client, django_user_model, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2048
    data = {"text": "1\n" * 2000}
    url = reverse(LIST, args=[listed.pk])
    assert client.post(url, data).status_code == 302
    person = django_user_model.objects.create_user("somebody", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename="view_segment"))
    client.force_login(person)
    assert client.post(url, data).status_code == 403


# Names and addresses.


@pytest.mark.parametrize("page", [LIST, "admin:segments_segment_members"])
def test_search__finds_addresses_for_those_who_see_users(
    page, client, django_user_model, listed, users, settings
):
    settings.ROOT_URLCONF = "tests.admin.test_lists"
    type(users[1]).objects.filter(username="u1").update(email="ada@example.com")
    person = django_user_model.objects.create_user("somebody", is_staff=True)
    permissions = Permission.objects.filter(codename__in=["view_segment", "view_members"])
    person.user_permissions.set(permissions)
    client.force_login(person)
    url = reverse(page, args=[listed.pk])
    assert "ada@" not in client.get(url).content.decode()
    assert ">u1<" not in client.get(url, {"q": "ada@"}).content.decode()
    person.user_permissions.add(Permission.objects.get(codename="view_segmentableuser"))
    assert "<td>ada@example.com</td>" in client.get(url).content.decode()
    shown = client.get(url, {"q": "ADA@"}).content.decode()
    assert (">u1<" in shown, ">u0<" in shown) == (True, False)
    for query in ("\0", "u1\0"):
        answer = client.get(url, {"q": query}, follow=True)
        assert answer.status_code == 200
        assert ">u1<" not in answer.content.decode()
