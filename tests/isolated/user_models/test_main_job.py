"""The main job with the user model that SEGMENTS_TEST_USER names; test_each_model.py runs it."""

import json
from datetime import timedelta
from hashlib import md5
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.utils.functional import SimpleLazyObject

from segments import acting, overlap, sync
from segments.changes.output import as_json
from segments.checks import check_project
from segments.exceptions import SegmentDefinitionError
from segments.membership.overlap import users_in
from segments.models import Membership, Segment
from segments.pgviews import models as view_models
from segments.pgviews.members import LARGE
from segments.sql import names
from segments.users import is_member
from segments.users.prefetching import prefetch_segments
from segments.users.querysets import SegmentUserQuerySet
from tests.isolated.user_models.models import Note, Person

pytestmark = pytest.mark.django_db

User = get_user_model()
TABLE = names.user_table().as_string()
KEY = connection.ops.quote_name(User._meta.pk.column)


@pytest.fixture
def users():
    made = []
    for n in range(5):
        key = {"code": f"c{n}'\"%s"} if User.__name__ == "TextUser" else {}
        made.append(User.objects.create(username=f"u{n}", **key))
    return made


def create(slug, **fields):
    return Segment.objects.create(name=slug, slug=slug, **fields)


def test_preview__counts_and_samples(users):
    listed = Segment(slug="listed", definition=f"SELECT * FROM {TABLE}", static_ids=users[:2])
    preview = listed.preview(limit=3)
    assert (preview.members_count, len(preview.sample)) == (5, 3)
    assert set(preview.sample) < set(users)
    assert any("every column of" in warning for warning in preview.warnings)


def test_changes__have_keys_of_every_kind(users):
    segment = create("early", definition=f"SELECT {KEY} FROM {TABLE} WHERE username < 'u3'")
    with segment.consumer("crm") as delivery:
        rows = list(delivery)
    assert {row.user for row in rows} == {user.pk for user in users[:3]}
    assert {json.loads(as_json(row))["user"] for row in rows} <= {
        key for user in users[:3] for key in (user.pk, str(user.pk))
    }
    User.objects.filter(pk=users[3].pk).update(username="u0b")
    key = users[0].pk
    users[0].delete()
    segment.refresh()
    assert {(change.user, change.change) for change in segment.changes()} == {
        (key, "left"), (users[3].pk, "entered"),
    }  # fmt: skip
    assert list(segment.entered(timedelta(minutes=1)).users()) == [users[3]]
    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id FROM segments.changes WHERE change = 'left'")
        assert cursor.fetchall() == [(key,)]
    call_command("forget_user", str(key), stdout=StringIO())
    assert [change.user for change in segment.changes()] == [users[3].pk]


def test_sql__is_read_in_every_way(users):
    everyone = create("everyone", definition=f"SELECT * FROM {TABLE}")
    early = create("early", definition=f"SELECT {KEY} FROM {TABLE} WHERE username < 'u3'")
    late = create(
        "late",
        definition="SELECT user_id FROM segments.everyone EXCEPT "
        "SELECT user_id FROM segments.early",
    )
    assert set(late.members) == set(users[3:])
    assert set(late.member_ids()) == {user.pk for user in users[3:]}
    assert late.has_members(users) == {user.pk for user in users[3:]}
    for n, user in enumerate(users):
        assert user.is_member(everyone)
        assert user.is_member(early) is user.is_member("early") is (n < 3)
        assert user.is_member_live("late") is (n >= 3)
        assert user.segment_ids == [everyone.pk, (early if n < 3 else late).pk]
    users[4].delete()
    assert late.refresh().members_count == 1  # The view still lists the deleted user.
    assert (len(everyone), everyone.view.objects.count()) == (4, 5)
    assert everyone.refresh().removed == 1
    assert set(late.members) == {users[3]}


def test_sql__may_rename_the_key(users):
    Note.objects.create(author=users[1])
    segment = create("notes", definition="SELECT author_id AS user_id FROM user_models_note")
    assert list(segment.members) == [users[1]]


def test_static_ids__are_keys_of_users(users):
    segment = create("listed", static_ids="\n".join(str(user.pk) for user in users[:2]))
    assert set(segment.members) == set(users[:2])
    segment.static_ids = users[1:3]
    segment.save()
    assert set(segment.member_ids()) == {users[1].pk, users[2].pk}
    with pytest.raises(SegmentDefinitionError, match="line 1: "):
        create("strangers", static_ids=["not a key of anybody"])


def test_versions__restore_lists(users):
    segment = create("listed", static_ids=users[:3])
    segment.static_ids = users[2:]
    assert segment.preview().comparison == "3 now; 3 then; 2 leave, 2 enter"
    with acting(users[4]):
        segment.save()
    version = segment.versions.get()
    assert (version.ids_added, version.ids_removed, version.replaced_by) == (2, 2, users[4])
    version.restore()
    assert set(segment.members) == set(users[:3])
    call_command("forget_user", str(users[3].pk), stdout=StringIO())
    segment.versions.first().restore()
    assert set(segment.members) == {users[2], users[4]}
    users[4].delete()
    assert segment.versions.last().replaced_by is None


def test_key__of_a_user_means_the_same_in_every_form(users):
    segment = create("listed", static_ids=users[:2])
    for user, expected in ((users[0], True), (users[4], False)):
        lazy = SimpleLazyObject(lambda: user)  # noqa: B023
        for form in (user, user.pk, str(user.pk), lazy, User(pk=user.pk), User(pk=str(user.pk))):
            assert segment.has_member(form) is segment.has_member_live(form) is expected
            assert is_member(form, "listed") is expected
            assert segment.has_members([form]) == ({user.pk} if expected else set())
            assert list(Segment.objects.for_user(form)) == [segment] * expected
        for threshold in (None, 0):
            connection.connection.prepare_threshold = threshold
            assert segment.has_member(user) is expected
            assert user.segment_ids == [segment.pk] * expected
            assert user.segment_slugs == ["listed"] * expected
    connection.connection.prepare_threshold = None
    forms = [users[0], users[1].pk, str(users[4].pk), AnonymousUser(), None]
    assert segment.has_members(forms) == {users[0].pk, users[1].pk}
    for count in (0, LARGE):
        segment.members_count = count
        assert segment.has_members(users) == segment.has_members([u.pk for u in users])
        assert segment.has_members(users) == {users[0].pk, users[1].pk}
    for visitor in (AnonymousUser(), SimpleLazyObject(AnonymousUser), None):
        assert is_member(visitor, "listed") is False
        assert not Segment.objects.for_user(visitor).exists()
    whole, uuid = [17], [UUID(int=17)]
    accepted = {"TextUser": whole + uuid, "UUIDUser": uuid}.get(User.__name__, whole)
    for key in (*whole, *uuid, 1.5, True, b"17"):
        if key in accepted and key is not True:
            assert segment.has_member(key) is False
        else:
            with pytest.raises(TypeError, match="is not a user"):
                segment.has_member(key)
    if User.__name__ != "TextUser":
        with pytest.raises(ValueError, match="is not a"):
            segment.has_member("nobody")


def test_key__of_a_related_model_is_refused_unless_shared(users):
    note = Note.objects.create(author=users[0])
    segment = create("listed", static_ids=users)
    with pytest.raises(TypeError, match='user_models.Note is not a user .*; take its "author_id"'):
        segment.has_member(note)
    with pytest.raises(TypeError, match=r'end it with .values_list\("author_id", flat=True\)'):
        segment.has_members(Note.objects.all())
    assert segment.has_members(Note.objects.values("author")) == {users[0].pk}
    assert segment.has_member(segment.view.objects.first())
    if User.__name__ == "ChildUser":
        person = Person.objects.get(pk=users[0].pk)
        assert segment.has_member(person)
        assert segment.has_members(Person.objects.filter(pk=person.pk)) == {users[0].pk}
        assert not segment.has_member(Person.objects.create(name="nobody"))


def test_many_users__are_asked_in_one_query(users, django_assert_num_queries):
    early, late = create("early", static_ids=users[:3]), create("late", static_ids=users[2:])
    people = SegmentUserQuerySet(User)
    with django_assert_num_queries(4):
        assert set(people.in_segment("early")) == set(users[:3])
        assert set(people.in_any("early", late)) == set(users)
        assert set(people.in_all("early", "late")) == {users[2]}
        assert set(people.not_in(early)) == set(users[3:])
    with django_assert_num_queries(1):
        prefetch_segments(users)
    with django_assert_num_queries(0):
        assert [user.is_member("early") for user in users] == [True] * 3 + [False] * 2
        assert users[2].segment_ids == sorted([early.pk, late.pk])
    with django_assert_num_queries(2):
        (both,) = people.prefetch_segments().in_all("early", "late")
        assert both.segment_slugs == ["early", "late"]
    with django_assert_num_queries(1):
        assert Segment.objects.for_users(users[:1]) == {users[0].pk: [early]}


@pytest.mark.skipif(User.__name__ != "SoftUser", reason="hides users who are softly deleted")
def test_hidden_user__is_in_checks_and_sql_but_in_no_list(users, settings):
    User.all_objects.filter(pk=users[0].pk).update(deleted=True)
    users[0].refresh_from_db()
    for segment in (
        create("everyone", definition=f"SELECT {KEY} FROM {TABLE}"),
        create("listed", static_ids=users),
    ):
        for fresh in (False, True):
            if fresh:  # Never populated, so it answers from the live view.
                Segment.objects.filter(pk=segment.pk).update(refreshed_at=None)
                segment.refresh_from_db()
            others = {user.pk for user in users[1:]}
            assert segment.has_member(users[0])
            assert segment.has_member_live(users[0])
            assert is_member(users[0], segment.slug)
            assert segment.has_members(users) == segment.has_members(User.all_objects.all())
            assert segment.has_members(users) == others | {users[0].pk}
            assert segment.has_members(User.objects.all()) == others
            settings.SEGMENTS_USER_MANAGER = None
            assert {user.pk for user in segment.members} == others
            assert {user.pk for user in segment.members_live} == others
            assert set(segment.member_ids()) == others
            assert len(segment) == segment.count_members() == segment.members.count() == 4
            assert users[0] not in segment.preview().sample
            for name in ("all_objects", "_base_manager"):
                settings.SEGMENTS_USER_MANAGER = name
                assert set(segment.members) == set(segment.members_live) == set(users)
                assert set(segment.member_ids()) == {user.pk for user in users}
                assert len(segment) == segment.members_count == 5
                assert users[0] in segment.preview().sample
        assert segment.pk in users[0].segment_ids


def test_copies__and_comparisons_work_with_every_key(users):
    everyone = create("everyone", definition=f"SELECT {KEY} FROM {TABLE}")
    listed = create("listed", static_ids=users[:2])
    rest = Segment.objects.difference("rest", everyone, listed)
    assert set(rest.members) == set(users[2:])
    assert set(everyone.freeze("frozen").members) == set(listed.clone("copy").members) | set(
        rest.members
    )
    bits = [int(md5(f"7:{user.pk}".encode()).hexdigest()[:8], 16) for user in users]
    chosen = {user for user, number in zip(users, bits, strict=True) if number < 2**31}
    assert set(everyone.sample("half", 50).members) == chosen
    if User.__name__ == "SoftUser":
        User.all_objects.filter(pk=users[0].pk).update(deleted=True)
    shown = 4 if User.__name__ == "SoftUser" else 5
    found = overlap([everyone, listed, rest])
    assert found.counts == {"everyone": shown, "listed": shown - 3, "rest": 3}
    assert [pair.both for pair in found.pairs] == [shown - 3, 3, 0]
    assert set(users_in([everyone], [listed])) == set(users[2:])


def test_user_manager__that_is_not_there_is_an_error(users, settings):
    segment = create("listed", static_ids=users)
    for name in ("nowhere", "pk", 17):
        settings.SEGMENTS_USER_MANAGER = name
        (error,) = [e for e in check_project() if e.id == "segments.E007"]
        assert f'SEGMENTS_USER_MANAGER is "{name}"' in error.msg
        assert "it has: objects" in error.msg
        with pytest.raises(ImproperlyConfigured, match="has no such manager"):
            len(segment)
        assert segment.has_member(users[0])


def test_manager_method__of_users_and_of_another_model(users):
    Note.objects.create(author=users[1])
    notes = ContentType.objects.get_for_model(Note)
    assert set(create("early", manager_method="early").members) == set(users[:3])
    segment = create("authors", manager_method="all", model=notes)
    assert list(segment.members) == [users[1]]


def test_sql__of_the_wrong_type_is_refused(users):
    with pytest.raises(SegmentDefinitionError, match="user ids are of type"):
        create("wrong", definition="SELECT true AS id")


def test_views__have_the_type_of_the_key(users):
    create("everyone", definition=f"SELECT {KEY} FROM {TABLE}")
    expected = {"IntegerUser": "bigint", "UUIDUser": "uuid", "TextUser": "text"}
    with connection.cursor() as cursor:
        for view in ("segments.everyone", "segments_live.everyone", "segments.membership"):
            cursor.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attname = 'user_id'",
                [view],
            )
            assert cursor.fetchone() == (expected.get(User.__name__, "bigint"),)
    rows = view_models.membership_view().objects.filter(slug="everyone")
    assert {row.user for row in rows} == set(users)
    assert Membership.objects.count() == 5
    assert sync.check() == []


def test_migrations__are_complete(users):
    call_command("makemigrations", "--check", "--dry-run", "segments", "user_models", verbosity=0)
    call_command("check", "--database", "default", fail_level="WARNING")


KEY_GROWS = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("user_models", "0001_initial")]
    operations = [
        migrations.AlterField("integeruser", "id", models.BigAutoField(primary_key=True))
    ]
"""


@pytest.mark.skipif(User.__name__ != "IntegerUser", reason="grows an integer key")
@pytest.mark.django_db(transaction=True)
def test_key__that_grows_takes_the_views_along(users, settings, tmp_path, monkeypatch):
    import tests.isolated.user_models.migrations as original

    everyone = create("everyone", definition=f"SELECT id FROM {TABLE}")
    create("listed", static_ids=users[:2])
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE VIEW bi AS SELECT m.user_id, m.slug FROM segments.membership m "
            "JOIN segments.everyone USING (user_id)"
        )
        cursor.execute("GRANT SELECT ON segments.everyone, segments.membership TO PUBLIC")
        look = (
            "SELECT oid, relacl::text FROM pg_class WHERE oid IN "
            "('segments.everyone'::regclass, 'segments.membership'::regclass)"
        )
        cursor.execute(look)
        before = cursor.fetchall()
    package = tmp_path / "grown"
    package.mkdir()
    (package / "__init__.py").touch()
    initial = Path(original.__file__).with_name("0001_initial.py").read_text()
    (package / "0001_initial.py").write_text(initial)
    (package / "0002_grown.py").write_text(KEY_GROWS)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.MIGRATION_MODULES = {"user_models": "grown"}
    out = StringIO()
    call_command("migrate", "user_models", stdout=out)
    assert "Warning" not in out.getvalue()
    with connection.cursor() as cursor:
        for table, column in (
            ("user_models_integeruser", "id"),
            ("segments_membership", "user_id"),
            ("segments_staticmember", "user_id"),
        ):
            cursor.execute(
                "SELECT format_type(atttypid, -1) FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attname = %s",
                [table, column],
            )
            assert cursor.fetchone() == ("bigint",), table
        cursor.execute(look)
        assert cursor.fetchall() == before
        cursor.execute("SELECT count(*) FROM bi")
        assert cursor.fetchone() == (7,)
        cursor.execute("DROP VIEW bi")
    assert sync.check() == []
    assert everyone.refresh().members_count == 5
    assert users[0].is_member("listed")
    Segment.objects.all().delete()


def test_key__of_another_type_has_the_views_recreated():
    """Views from a time when keys had another type are created again."""
    other = "uuid" if names.key_type(connection) != "uuid" else "bigint"
    segment = create("listed", static_ids=[])
    with connection.cursor() as cursor:
        for statement in (
            "DROP MATERIALIZED VIEW segments.listed",
            "DROP VIEW segments_live.listed",
            "DROP VIEW segments.membership",
            f"CREATE VIEW segments_live.listed AS SELECT NULL::{other} AS user_id",
            "COMMENT ON VIEW segments_live.listed IS '[django-segments detached []]'",
            "CREATE MATERIALIZED VIEW segments.listed AS SELECT user_id FROM segments_live.listed",
            f"CREATE VIEW segments.membership AS SELECT NULL::{other} AS user_id",
            "CREATE VIEW bi AS SELECT user_id FROM segments.listed",
        ):
            cursor.execute(statement)
    (entry,) = [entry for entry in sync.sync() if entry.slug]
    assert "view bi depends on materialized view segments.listed" in str(entry.error)
    told = f"the views have ids of type {other}, but ids of users are {names.key_type(connection)}"
    assert told in entry.what
    with connection.cursor() as cursor:
        cursor.execute("DROP VIEW bi")
    (entry,) = sync.sync()
    assert entry.error is None
    assert sync.check() == []
    assert segment.refresh().members_count == 0


def test_list__is_loaded_and_exported(users):
    segment = create("listed", static_ids=[])
    assert segment.load_ids("username\nu0\nu1\n", by="username").added == 2
    assert set(segment.members) == set(users[:2])
    assert segment.add(User.objects.filter(username__gte="u3")).added == 2
    assert segment.add(users[2]).added == 1
    assert segment.remove([users[0].pk, users[1]]).removed == 2
    file = StringIO()
    segment.export(file, ["pk", "username"])
    assert segment.load_ids(file.getvalue(), mode="remove").removed == 3
    assert segment.load_ids("\n".join(str(user.pk) for user in users)).added == 5
    with pytest.raises(SegmentDefinitionError, match="line 1: "):
        segment.load_ids(["not a key of anybody"])
    for header in ("username", "PASSWORD"):  # No key is such text, and no user has such a key.
        with pytest.raises(SegmentDefinitionError, match=f'the header "{header}"'):
            segment.load_ids(f"{header}\nx\n", skip_bad=True)
    assert set(segment.member_ids()) == {user.pk for user in users}
