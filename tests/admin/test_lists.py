"""The page of a list: uploads, pasted lists, their reports, the search and the download."""

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from segments.models import Segment
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

LIST = "admin:segments_segment_list"
DOWNLOAD = "admin:segments_segment_list_download"


@pytest.fixture
def listed(users):
    """A segment with the first two users on its list."""
    return Segment.objects.create(name="Pilot", slug="pilot", static_ids=users[:2])


@pytest.fixture
def load(admin_client, listed):
    """Send a list; return the text of the page."""

    def send(text="", *, file=None, mode="add", by="pk", **data):
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
