"""The list in the form of a segment that has none yet: a file or text, by any unique field."""

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from segments.lists.source import ListReader
from segments.models import Segment, SegmentChange, SegmentRefresh, StaticMember
from tests.admin.test_form import CHANGE, FEW, change, row_of
from tests.admin.test_rights import author, editor, person
from tests.admin.test_segment import ADD, browse, form

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("users")]

__all__ = ["author", "browse", "editor", "person"]

PREVIEW = {"_preview": "1"}


def file(text, name="pilot.csv"):
    return SimpleUploadedFile(name, text if isinstance(text, bytes) else text.encode())


def listed(segment=None):
    """Return the names of the users on the list of the only segment."""
    segment = segment or Segment.objects.get()
    assert segment.members_count == len(segment)
    return sorted(user.username for user in segment.members)


@pytest.fixture
def unique_addresses(users, monkeypatch):
    """Users with addresses, of which no two are the same."""
    model = type(users[0])
    for user in users:
        model.objects.filter(pk=user.pk).update(email=f"{user.username}@example.com")
    monkeypatch.setitem(vars(model._meta.get_field("email")), "unique", True)


def test_file__is_the_list_of_a_new_segment(browse):
    page = browse(ADD, **form(kind="static", file=file("name;username\nAda;u1\nBob;u4\n")))
    assert "successfully. 2 lines were read, and each was taken for “Username”. It has 2" in page
    assert "Nobody is on its list yet" not in page
    segment = Segment.objects.get()
    assert (segment.kind, listed(segment)) == ("static", ["u1", "u4"])
    (row,) = SegmentRefresh.objects.all()
    assert (row.added, row.removed) == (2, 0)
    assert not SegmentChange.objects.exists()


@pytest.mark.parametrize(
    "text", ["u1\r\nu4\r\n", "username\r\nu4\r\nu1", "a\r\nu1\r\nu4\r\nb"], ids=repr
)
def test_text__may_be_names(text, browse):
    browse(ADD, **form(kind="static", static_ids=text, skip_bad="on"))
    assert listed() == ["u1", "u4"]


def test_text__may_be_addresses(unique_addresses, browse):
    browse(ADD, **form(kind="static", static_ids="u1@example.com\nu4@example.com"))
    assert listed() == ["u1", "u4"]


def test_text__of_addresses_that_users_may_share(browse):
    text = "ada@example.com\nbob@example.com"
    for button in ({}, PREVIEW):
        page = browse(ADD, **form(kind="static", static_ids=text), **button)
        assert row_of(page, "addresses are not unique among your users") == "static_ids"
        assert text in page  # It is still in the field.
    assert not Segment.objects.exists()


def test_lines__are_ids_or_what_was_chosen(users, browse):
    """The name of one user is the id of another."""
    type(users[0]).objects.filter(username="u3").update(username=str(users[7].pk))
    browse(ADD, **form(name="Ids", slug="ids", kind="static", static_ids=str(users[7].pk)))
    assert Segment.objects.get().has_member(users[7])
    browse(ADD, **form(kind="static", static_ids=str(users[7].pk), by="username"))
    assert Segment.objects.get(slug="vip").has_member(users[3])


def test_list__beside_sql(browse):
    browse(ADD, **form(kind="sql_and_list", definition=FEW, file=file("u1\nu4\n")))
    segment = Segment.objects.get()
    assert (segment.definition, listed(segment)) == (FEW, ["u0", "u1", "u2", "u4"])


@pytest.mark.parametrize("given", [{"file": file("u1\n")}, {"static_ids": "u1"}], ids=[*"ft"])
def test_list__of_a_kind_without_one_is_not_dropped(given, browse):
    """Without scripts, the fields of all kinds are shown, and SQL is chosen."""
    page = browse(ADD, **form(kind="sql", definition=FEW, **given))
    assert row_of(page, "This kind has no list, and you have given one.") == "kind"
    assert not Segment.objects.exists()


def test_list__of_a_segment_that_had_sql_only(make, browse):
    segment = make(definition=FEW)
    page = change(browse, segment, kind="static", file=file("u1\nu2\n"))
    assert "It has 2 members: 1 entered, 1 left." in page
    assert listed() == ["u1", "u2"]
    assert "File: “pilot.csv”" in LogEntry.objects.get().get_change_message()
    version = segment.versions.get()
    version.restore()
    assert listed() == ["u0", "u2"]


def test_list__of_an_editor_without_sql(editor):
    page = editor(ADD, **form())
    assert row_of(page, "Paste users, or choose a file") == "static_ids"
    page = editor(ADD, **form(file=file("u1\nu4\n"), definition=FEW))
    assert "It has 2 members." in page
    segment = Segment.objects.get()
    assert (segment.definition, listed(segment)) == ("", ["u1", "u4"])


def test_list__waits_for_a_worker_where_all_do(browse, settings):
    settings.SEGMENTS_REFRESH_ASYNC = True
    page = browse(ADD, **form(kind="static", file=file("u1\n")))
    assert "A worker will refresh it." in page
    segment = Segment.objects.get()
    assert (segment.members_count, StaticMember.objects.count()) == (None, 1)


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_list__with_a_connection_of_its_own_for_views(exec_alias, clean_views, browse):
    page = browse(ADD, **form(kind="static", file=file("u1\nnobody\n"), skip_bad="on"))
    assert "It has 1 member." in page
    assert "1 line of the list names nobody, and was left out: 2 (“nobody”)." in page
    assert listed() == ["u1"]


# What is refused.


@pytest.mark.parametrize("fields", [
    {"kind": "static"}, {"kind": "sql_and_list"}, {"kind": "static", "static_ids": " \r\n"},
], ids=["list", "both", "blank"])  # fmt: skip
def test_nobody__is_on_a_list_only_if_asked(fields, make, browse):
    segment = make(definition=FEW)
    for button in ({}, PREVIEW):
        page = change(browse, segment, definition=FEW, **fields, **button)
        assert row_of(page, "Paste users, or choose a file, again if you have") == "static_ids"
        assert '<input type="checkbox" name="begin_empty"' in page
    assert listed() == ["u0", "u2"]
    page = change(browse, segment, definition=FEW, begin_empty="on", **fields)
    assert "Nobody is on its list yet" in page
    assert listed() == ([] if fields["kind"] == "static" else ["u0", "u2"])


@pytest.mark.parametrize("others", [{"refresh_every": "soon"}, PREVIEW, {"name": ""}], ids=str)
def test_file__is_asked_for_again(others, browse):
    """Browsers empty the field of a file, so that the next click would save nobody."""
    page = browse(ADD, **form(kind="static", file=file("u1\n")) | others)
    assert row_of(page, "Browsers do not keep a file: choose “pilot.csv” again.") == "file"
    page = browse(ADD, **form(kind="static"))
    assert row_of(page, "Paste users, or choose a file, again if you have") == "static_ids"
    assert not Segment.objects.exists()


@pytest.mark.parametrize("button", [{}, PREVIEW], ids=["save", "preview"])
def test_bad_lines__are_named_and_can_be_left_out(button, browse):
    text = "u1\n<i>x</i>\nu4\nu1 \n"
    page = browse(ADD, **form(kind="static", file=file(text)), **button)
    for words in (
        "1 line of 4 cannot be used",
        'line 2: no user has the username "<i>x</i>"',
        "Correct these lines, or tick “Use the good lines if others are wrong”.",
    ):
        assert row_of(page, words) == "file"
    assert '<input type="checkbox" name="skip_bad"' in page
    assert not Segment.objects.exists()
    page = browse(ADD, **form(kind="static", file=file(text), skip_bad="on"), **button)
    if button:
        assert "<strong>2</strong> members" in page
        assert not Segment.objects.exists()
    else:
        assert "left out: 2 (“<i>x</i>”)." in page
        assert listed() == ["u1", "u4"]


def test_left_out__quotes_ten_lines(browse):
    text = "u1\n" + "x\n" * 1200
    page = browse(ADD, **form(kind="static", static_ids=text, skip_bad="on"))
    assert "1,200 lines of the list name nobody, and were left out: 2 (“x”), 3 (“x”)" in page
    assert "11 (“x”), …" in page


def test_markup__in_a_list_is_escaped(admin_client):
    data = form(kind="static", static_ids="u1\n<i>x</i>\n")
    for url in (reverse(ADD), reverse("admin:segments_segment_add_preview")):
        answer = admin_client.post(url, data).content.decode()
        assert "no user has the username" in answer
        assert "<i>x" not in answer.replace("\\n", "\n").partition('"message"')[0]
        assert "&lt;i&gt;x" in answer


@pytest.mark.parametrize("given", [
    ({"file": b"u1\n", "static_ids": "u4"}, "Choose a file, or paste a list, not both."),
    ({"file": b""}, "The submitted file is empty."),
    ({"file": b"\n \n"}, "Hint: Is it the right file?"),
    ({"file": b"username\n"}, "has no line"),
    ({"file": "né".encode("latin-1")}, "not in UTF-8"),
    ({"file": "1\n".encode("utf-16")}, "UTF-16"),
    ({"file": b"first_name\nAda\n"}, "Your users may share the same “First name”."),
    ({"file": b"a,b\n1,2\n"}, "has 2 columns, and none is named"),
    ({"file": b"username,username\n"}, "twice"),
    ({"file": b"id;username\n1;u1\n"}, "The first line names “ID” and “Username”."),
    ({"file": b'"ID", "Username"\n"1","u1"\n'}, "The first line names “ID” and “Username”."),
    ({"file": b"nobody\n"}, "If they are something else, choose it at “Each line is”."),
    ({"static_ids": "u1", "by": "password"}, "not one of the available choices"),
    ({"static_ids": "1 2 3\n"}, "no line of the list names a user"),
], ids=lambda given: given[1][:20])  # fmt: skip
@pytest.mark.parametrize("button", [{}, PREVIEW], ids=["save", "preview"])
def test_list__that_is_refused_saves_nothing(given, button, browse, names):
    sent, says = given
    if "file" in sent:
        sent = {**sent, "file": file(sent["file"])}
    before = names()
    page = browse(ADD, **form(kind="static", **sent), **button)
    assert row_of(page, says) in ("file", "static_ids", "by")
    assert not Segment.objects.exists()
    assert not StaticMember.objects.exists()
    assert names() == before


def test_list__that_is_refused_changes_nothing(make, browse):
    segment = make(definition=FEW)
    page = change(browse, segment, kind="static", definition=FEW, file=file("u1\nnobody\n"))
    assert 'no user has the username "nobody"' in page
    segment = Segment.objects.get()
    assert (segment.kind, listed(segment)) == ("sql", ["u0", "u2"])
    assert not segment.versions.exists()


# The preview.


def test_preview__of_a_new_list(browse):
    page = browse(ADD, **form(kind="sql_and_list", definition=FEW, file=file("u1\n")), **PREVIEW)
    assert "<strong>3</strong> members" in page
    assert "Nothing has been saved." in page
    assert not Segment.objects.exists()
    assert not StaticMember.objects.exists()


def test_preview__compares_with_the_members(make, admin_client):
    segment = make(definition=FEW)
    url = reverse("admin:segments_segment_preview", args=[segment.pk])
    data = form(kind="static", static_ids="u2\nu3\nu4")
    answer = admin_client.post(url, data).json()
    assert answer["errors"] == {}
    assert "2 now; 3 then; 1 leave, 2 enter" in answer["html"]
    answer = admin_client.post(url, data | {"static_ids": "", "file": file("u2\nx")}).json()
    assert (list(answer["errors"]), answer["show"]) == (["file"], ["skip_bad"])
    assert StaticMember.objects.count() == 0


def test_preview__downloads_who_enters(make, admin_client):
    segment = make(definition=FEW)
    data = form(kind="static", file=file("u2\nu3\n"), _preview="entering")
    response = admin_client.post(reverse(CHANGE, args=[segment.pk]), data)
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert [line.split(",")[1] for line in lines] == ["username", "u3"]


# How it is read.


@pytest.mark.slow
def test_file__costs_no_query_for_a_user(browse, django_user_model, django_assert_max_num_queries):
    users = [django_user_model(username=f"many{n}") for n in range(9_000)]
    django_user_model.objects.bulk_create(users)
    text = "".join(f"many{n}\n" for n in range(9_000))
    with django_assert_max_num_queries(110) as few:
        browse(ADD, **form(kind="static", file=file("many1\n")))
    with django_assert_max_num_queries(len(few)):
        browse(ADD, **form(name="B", slug="b", kind="static", file=file(text)))
    assert len(Segment.objects.get(slug="b")) == 9_000


def test_file__is_read_once(browse, monkeypatch):
    read = []
    original = ListReader.entries

    def entries(self, source):
        read.append(source)
        return original(self, source)

    monkeypatch.setattr(ListReader, "entries", entries)
    browse(ADD, **form(kind="static", file=file("u1\n")))
    assert len(read) == 1


def test_form__says_what_a_list_may_be(browse):
    page = browse(ADD)
    assert row_of(page, "One user a line, 2.5\xa0MB at most.") == "static_ids"
    assert row_of(page, "It may have millions of lines.") == "file"
    assert '<option value="username">Username</option>' in page
    assert 'enctype="multipart/form-data"' in page
