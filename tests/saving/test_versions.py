"""Versions: what is kept of a change, how versions differ, and how one is restored."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

import segments
from segments import conf
from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentExecutionError,
)
from segments.models import ListChange, Segment, SegmentVersion, StaticMember
from segments.saving import diffs
from tests.conftest import EVEN, USERS
from tests.shop.models import Order
from tests.test_docs import blocks

pytestmark = pytest.mark.django_db

ALL = f"SELECT id FROM {USERS}"


@pytest.fixture
def changed(staff, make):
    """A segment of five members, whose definition was changed to all ten."""
    segment = make(definition=EVEN)
    segment.definition = ALL
    segment.save()
    return segment


def listed(segment):
    """Return the names of the users in a list."""
    ids = StaticMember.objects.filter(segment=segment).values_list("user__username", flat=True)
    return sorted(ids)


def numbers(version):
    version.refresh_from_db()
    return version.members_before, version.entered, version.left, version.members_after


# What is kept.


@pytest.mark.roles
def test_change__keeps_the_version_before(changed, users):
    (version,) = changed.versions.all()
    assert version.fields["definition"] == version.text == EVEN
    assert numbers(version) == (5, 5, 0, 10)
    assert version.replaced_by is None
    assert abs(version.replaced_at - changed.updated_at).total_seconds() < 10
    assert str(version).startswith("Vip until 20")


def test_versions__are_newest_first(changed):
    changed.definition = f"{ALL} LIMIT 3"
    changed.save()
    assert [version.text for version in changed.versions.all()] == [ALL, EVEN]
    assert [numbers(version) for version in changed.versions.all()] == [
        (10, 0, 7, 3),
        (5, 5, 0, 10),
    ]


def test_new_segment__has_no_version(make):
    assert not make().versions.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda segment: setattr(segment, "name", "Other"),
        lambda segment: setattr(segment, "priority", 7),
        lambda segment: setattr(segment, "static_ids", segment.static_ids),
        lambda segment: segment.refresh(force=True),
    ],
    ids=["name", "priority", "same list", "refresh"],
)
def test_no_version__without_a_change_of_the_definition(users, make, change):
    segment = make(static_ids=users[:3], definition=ALL)
    change(segment)
    segment.save()
    assert not SegmentVersion.objects.exists()
    assert not ListChange.objects.exists()


def test_every_kind_of_change__keeps_a_version(orders, users, make):
    segment = make(static_ids=users[:3])
    segment.manager_method, segment.model = "buyers", ContentType.objects.get_for_model(Order)
    segment.save()
    segment.model, segment.manager_method, segment.definition = None, "", EVEN
    segment.save()
    segment.static_ids = users[2:6]
    segment.save()
    assert [version.text for version in segment.versions.all()] == [
        f"{EVEN}\nids: 3",
        "model: shop.order\nmanager_method: buyers\nids: 3",
        "ids: 3",
    ]
    newest = segment.versions.first()
    assert (newest.ids_count, newest.ids_added, newest.ids_removed) == (3, 3, 2)
    changes = ListChange.objects.values_list("user__username", "added")
    assert set(changes) == {(f"u{n}", n > 2) for n in (0, 1, 3, 4, 5)}


def test_refused_change__keeps_no_version(changed):
    changed.definition = "SELECT id FROM nowhere"
    with pytest.raises(SegmentDefinitionError):
        changed.save()
    assert changed.versions.count() == 1


def test_numbers__are_those_of_the_refresh_that_followed(staff, make, settings):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment = make(definition=EVEN)
    for limit in (2, 3):
        segment.definition = f"{ALL} LIMIT {limit}"
        segment.save()
    newest, oldest = segment.versions.all()
    assert numbers(newest) == (5, None, None, None)
    staff()
    segment.refresh()
    newest_numbers = numbers(newest)
    assert newest_numbers[0] - newest_numbers[2] + newest_numbers[1] == newest_numbers[3] == 3
    assert numbers(oldest) == (5, None, None, None)  # No refresh followed it.
    segment.refresh(force=True)
    assert numbers(newest) == newest_numbers
    assert numbers(oldest) == (5, None, None, None)


def test_numbers__wait_for_a_refresh_that_succeeds(staff, make, settings, orders, query):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    query("UPDATE shop_order SET amount = 1 WHERE amount = 0")
    segment = make(definition=ALL)
    segment.definition = "SELECT user_id FROM shop_order WHERE 1 / amount < 1"
    segment.save()
    query("UPDATE shop_order SET amount = 0 WHERE amount = 1")
    with pytest.raises(SegmentExecutionError):
        segment.refresh()
    assert numbers(segment.versions.get()) == (10, None, None, None)
    query("DELETE FROM shop_order WHERE amount = 0")
    segment.refresh()
    assert numbers(segment.versions.get()) == (10, 0, 1, 9)


def test_rename__keeps_the_text_that_it_rewrites(make):
    vip = make()
    above = make("above", definition="SELECT user_id FROM segments.vip")
    vip.rename("gold", rewrite=True)
    assert above.versions.get().text == "SELECT user_id FROM segments.vip"
    assert not vip.versions.exists()


@pytest.mark.usefixtures("clean_views")
@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
def test_version__where_views_follow_on_commit(exec_alias, staff, make):
    segment = make(definition=EVEN)
    segment.definition = ALL
    segment.save()
    assert numbers(segment.versions.get()) == (5, 5, 0, 10)


# Who.


@pytest.mark.parametrize("by", ["user", "key", "visitor", "nobody"])
def test_actor__is_in_the_version(users, make, by):
    segment = make(definition=EVEN)
    segment.definition = ALL
    who = {"user": users[2], "key": users[2].pk, "visitor": AnonymousUser(), "nobody": None}[by]
    with segments.acting(who):
        segment.save()
    known = by in ("user", "key")
    assert segment.versions.get().replaced_by == (users[2] if known else None)
    segment.definition = EVEN
    segment.save()
    assert segment.versions.first().replaced_by is None


def test_actor__who_is_none_is_refused(make):
    with pytest.raises(TypeError), segments.acting(Order()):
        pass


def test_actor__is_the_user_of_the_admin(changed, admin_client, admin_user):
    from tests.admin.test_segment import form

    admin_client.post(
        f"/admin/segments/segment/{changed.pk}/change/", form(definition=EVEN), follow=True
    )
    assert changed.versions.first().text == ALL
    assert changed.versions.first().replaced_by == admin_user


def test_actor__who_is_deleted_leaves_the_version(changed, users):
    SegmentVersion.objects.update(replaced_by=users[1])
    users[1].delete()
    assert changed.versions.get().replaced_by is None


# How versions differ.


def test_diff__is_unified(changed):
    version = changed.versions.get()
    first, second, *lines = version.diff().splitlines()
    assert first == f"--- until {version.replaced_at:%Y-%m-%d %H:%M:%S}"
    assert second == "+++ now"
    assert lines == ["@@ -1 +1 @@", f"-{EVEN}", f"+{ALL}"]


def test_diff__of_two_versions(changed):
    changed.definition = f"{ALL}\nLIMIT 2"
    changed.save()
    newest, oldest = changed.versions.all()
    assert f"-{EVEN}\n+{ALL}" in oldest.diff(newest)
    assert f"-{ALL}\n+{EVEN}" in newest.diff(oldest)
    assert newest.diff().endswith(f" {ALL}\n+LIMIT 2")
    assert newest.diff(newest) == ""


def test_diff__of_lists_of_one_length(users, make):
    segment = make(static_ids=users[:3])
    segment.static_ids = users[1:4]
    segment.save()
    segment.static_ids = users[1:9]
    segment.save()
    newest, oldest = segment.versions.all()
    assert oldest.diff(newest).splitlines()[3:] == [
        " ids: 3", "+(of the list: 1 added, 1 removed)",
    ]  # fmt: skip
    assert newest.diff(oldest).endswith("+(of the list: 1 added, 1 removed)")
    assert oldest.diff().splitlines()[3:] == [
        "-ids: 3", "+ids: 8", "+(of the list: 6 added, 1 removed)",
    ]  # fmt: skip


def marked(before, after):
    """Return a comparison as text: signs, and changed words in brackets."""
    signs = {"removed": "-", "added": "+", "same": " ", "gap": "…"}
    return [
        signs[line.kind]
        + (str(line.count) if line.kind == "gap" else "")
        + "".join(f"[{part}]" if differs else part for part, differs in line.parts)
        for line in diffs.compared(before, after)
    ]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("a\nb", "a\nb", []),
        ("", "SELECT 1", ["+SELECT 1"]),
        ("SELECT 1", "", ["-SELECT 1"]),
        (
            "SELECT id\nFROM shop WHERE total > 10",
            "SELECT id\nFROM shop WHERE total > 20 OR paid",
            [
                " SELECT id",
                "-FROM shop WHERE total > [10]",
                "+FROM shop WHERE total > [20 OR paid]",
            ],
        ),
        ("SELECT 1", "(a, b, c, d)", ["-SELECT 1", "+(a, b, c, d)"]),
        (
            "\n".join("abcdefghij"),
            "\n".join("abcdeXfghij"),
            ["…2", " c", " d", " e", "+X", " f", " g", " h", "…2"],
        ),
        ("x " * 300, "x " * 299 + "y ", ["-" + "x " * 300, "+" + "x " * 299 + "y "]),
    ],
)
def test_comparison__marks_lines_and_words(before, after, lines):
    assert marked(before, after) == lines


def test_comparison__names_fields_as_forms_do(changed, users):
    fields = changed.versions.get().fields | {"definition": "", "manager_method": "all"}
    assert diffs.text_for_people(fields) == "Manager method: all"
    assert diffs.text_for_people(changed.versions.get().fields) == EVEN
    now = changed.versions.get().fields
    assert diffs.fields_changed(fields, now) == ["Definition", "Manager method"]


def test_diff__of_two_segments_is_refused(changed, make):
    other = make("other")
    other.definition = EVEN
    other.save()
    with pytest.raises(ValueError, match="two segments"):
        changed.versions.get().diff(other.versions.get())


# Restoring.


def test_restore__is_a_new_change(changed, users):
    restored = changed.versions.get().restore()
    assert restored == changed
    assert (changed.definition, changed.members_count) == (EVEN, 5)
    assert Segment.objects.get().definition == EVEN
    assert [version.text for version in changed.versions.all()] == [ALL, EVEN]
    assert numbers(changed.versions.first()) == (10, 0, 5, 5)
    changed.versions.first().restore()
    assert len(Segment.objects.get()) == 10


def test_restore__changes_nothing_else(changed):
    Segment.objects.update(name="Other", priority=3)
    changed.versions.get().restore()
    stored = Segment.objects.get()
    assert (stored.name, stored.priority, stored.definition) == ("Other", 3, EVEN)


@pytest.mark.slow
def test_restore__of_a_list_undoes_all_changes_since(users, make):
    segment = make(static_ids=users[:5])
    for ids in (users[3:8], [], users[:1], users[9:]):
        segment.static_ids = ids
        segment.save()
    lists = [["u0"], [], [f"u{n}" for n in range(3, 8)], [f"u{n}" for n in range(5)]]
    keys = list(segment.versions.values_list("pk", flat=True))
    for key, names in zip(keys, lists, strict=True):
        SegmentVersion.objects.get(pk=key).restore()
        assert listed(segment) == names
        assert sorted(user.username for user in segment.members) == names


@pytest.mark.slow
def test_load__keeps_a_version_and_is_undone(users, make):
    segment = make(static_ids=users[:5])
    segment.load_ids([users[7].pk])
    segment.add(users[8])
    segment.remove(users[7])
    assert listed(segment) == ["u8"]
    lists = [["u7", "u8"], ["u7"], [f"u{n}" for n in range(5)]]
    assert [version.ids_count for version in segment.versions.all()] == [2, 1, 5]
    for version, names in zip(list(segment.versions.all()), lists, strict=True):
        SegmentVersion.objects.get(pk=version.pk).restore()
        assert listed(segment) == names == sorted(user.username for user in segment.members)


def test_load__is_undone_with_changes_that_were_saved(users, make):
    segment = make(static_ids=users[:3])
    segment.static_ids = users[1:4]
    segment.save()
    first = segment.versions.get()
    segment.load_ids([user.pk for user in users[5:8]])
    assert "(of the list: 4 added, 4 removed)" in first.diff()
    first.restore()
    assert listed(segment) == ["u0", "u1", "u2"]


def test_load__that_changes_nothing_keeps_no_version(users, make):
    segment = make(static_ids=users[:3])
    segment.add(users[1])
    segment.load_ids([user.pk for user in users[:3]])
    segment.static_ids = users[:3]
    segment.save()
    assert not segment.versions.exists()
    assert segment.refreshes.count() == 1


@pytest.mark.slow
def test_list__beside_sql_is_taken_away_again(staff, users, make):
    segment = make(definition=EVEN)
    segment.add(users[1])
    segment.definition = f"{EVEN} LIMIT 3"
    segment.save()
    segment.add(users[3])
    added, changed, first = segment.versions.all()
    first.restore()
    assert (segment.kind, listed(segment)) == ("sql", [])
    SegmentVersion.objects.get(pk=added.pk).restore()
    assert listed(segment) == ["u1"]
    SegmentVersion.objects.get(pk=changed.pk).restore()
    assert (listed(segment), Segment.objects.get().definition) == (["u1"], EVEN)


def test_empty_list__that_is_filled_keeps_no_ids(users, make):
    """As a first population is no million changes, a first load is none."""
    segment = make(static_ids=[])
    segment.load_ids([user.pk for user in users])
    assert not ListChange.objects.exists()
    segment.remove(users[2])
    assert ListChange.objects.count() == 1
    loaded, filled = segment.versions.all()
    SegmentVersion.objects.get(pk=filled.pk).restore()
    assert listed(segment) == []
    SegmentVersion.objects.get(pk=loaded.pk).restore()
    assert len(listed(segment)) == 10


def test_restore__of_the_kind_before(users, make):
    segment = make(static_ids=users[:3])
    segment.definition, segment.static_ids = EVEN, []
    segment.save()
    segment.versions.get().restore()
    assert (segment.kind, listed(segment)) == ("static", ["u0", "u1", "u2"])
    segment.versions.first().restore()
    assert (segment.kind, listed(segment)) == ("sql", [])


def test_restore__of_an_empty_list(users, make):
    segment = make(static_ids=[])
    segment.definition = ALL
    segment.save()
    segment.versions.get().restore()
    assert (segment.kind, segment.members_count) == ("static", 0)


def test_restore__of_a_manager_method(orders, make):
    order = ContentType.objects.get_for_model(Order)
    segment = make(model=order, manager_method="buyers")
    segment.model, segment.manager_method, segment.definition = None, "", EVEN
    segment.save()
    segment.versions.get().restore()
    stored = Segment.objects.get()
    assert (stored.model, stored.manager_method, stored.definition) == (order, "buyers", "")
    assert stored.members_count == 10


def test_restore__of_a_model_that_is_gone(changed):
    SegmentVersion.objects.update(fields={"model": "shop.tariff", "manager_method": "all"})
    with pytest.raises(SegmentDefinitionError, match=r"model shop.tariff is not installed"):
        changed.versions.get().restore()
    assert Segment.objects.get().definition == ALL


def test_restore__of_a_table_that_is_gone(orders, users, make, query):
    query("CREATE TABLE gone AS SELECT id AS user_id FROM accounts_segmentableuser LIMIT 4")
    segment = make(definition="SELECT user_id FROM gone", static_ids=users[8:])
    segment.definition, segment.static_ids = ALL, users[:1]
    segment.save()
    query("DROP TABLE gone")
    version = segment.versions.get()
    with pytest.raises(SegmentDefinitionError, match='relation "gone" does not exist') as caught:
        version.restore()
    assert caught.value.slug == "vip"
    stored = Segment.objects.get()
    assert (stored.definition, stored.members_count, stored.status) == (ALL, 10, "refreshed")
    assert listed(segment) == ["u0"]
    assert segment.view.objects.count() == 10
    assert [kept.pk for kept in segment.versions.all()] == [version.pk]
    assert (segment.definition, segment.unsaved_static_ids) == (ALL, None)


def test_restore__of_a_cost_above_the_limit(changed, settings):
    settings.SEGMENTS_MAX_COST = 0.01
    with pytest.raises(SegmentCostError):
        changed.versions.get().restore()
    assert changed.versions.get().restore(allow_cost=True).members_count == 5


def test_restore__of_a_deleted_segment(changed):
    version = changed.versions.get()
    changed.delete()
    assert not SegmentVersion.objects.exists()
    with pytest.raises(SegmentExecutionError, match="has been deleted"):
        version.restore()


def test_restore__leaves_out_users_who_were_deleted(users, make, query):
    segment = make(static_ids=users[:4])
    segment.static_ids = users[5:]
    segment.save()
    users[0].delete()
    query(f"DELETE FROM {USERS} WHERE id = %s", users[1].pk)
    segment.versions.get().restore()
    assert listed(segment) == ["u2", "u3"]


# What is deleted.


def test_forgotten_user__leaves_versions(users, make):
    segment = make(static_ids=users[:4])
    segment.static_ids = users[5:]
    with segments.acting(users[0]):
        segment.save()
    call_command("forget_user", str(users[0].pk), str(users[6].pk))
    assert not ListChange.objects.filter(user__in=[users[0], users[6]]).exists()
    assert ListChange.objects.count() == 7
    assert segment.versions.get().replaced_by is None
    segment.versions.get().restore()
    assert listed(segment) == ["u1", "u2", "u3"]


def test_deleted_segment__takes_versions_along(users, make):
    segment, other = make(static_ids=users[:4]), make("other", static_ids=users[:1])
    for each in (segment, other):
        each.static_ids = users[5:]
        each.save()
    segment.delete()
    assert SegmentVersion.objects.get().segment == other
    assert ListChange.objects.count() == 6


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_setting__says_how_many_are_kept(users, make, settings, kept):
    settings.SEGMENTS_VERSIONS = kept
    segment = make(static_ids=users[:1])
    for n in range(2, 5):
        segment.static_ids = users[:n]
        segment.save()
    assert [version.ids_count for version in segment.versions.all()] == [3, 2][:kept]
    assert ListChange.objects.count() == kept
    if kept:
        segment.versions.last().restore()
        assert len(listed(segment)) == 4 - kept


def test_setting__of_zero_deletes_what_could_not_be_restored(users, make, settings):
    segment = make(static_ids=users[:1])
    segment.static_ids = users[:2]
    segment.save()
    settings.SEGMENTS_VERSIONS = 0
    segment.static_ids = users[:3]
    segment.save()
    assert not SegmentVersion.objects.exists()
    assert not ListChange.objects.exists()


@pytest.mark.parametrize("value", [-1, None, "10", True])
def test_setting__must_be_a_number(settings, value):
    settings.SEGMENTS_VERSIONS = value
    with pytest.raises(ImproperlyConfigured, match="SEGMENTS_VERSIONS"):
        conf.versions()


@pytest.mark.slow
def test_list__is_never_loaded(users, make):
    """The number of queries is the same for three ids and for three thousand."""
    model = type(users[0])
    segment = make(static_ids=users[:3])

    def queries(ids):
        with (
            CaptureQueriesContext(
                connection,
            ) as captured,
            transaction.atomic(),
        ):
            segment.static_ids = ids
            segment.save()
        return len(captured)

    few = queries(users[4:7])
    model.objects.bulk_create([model(username=f"more{n}") for n in range(3000)])
    assert queries(model.objects.filter(username__startswith="more")) <= few + 2
    segment.versions.first().restore()
    assert listed(segment) == ["u4", "u5", "u6"]


def test_docs__restore_as_told(staff, make, users, capsys):
    namespace = {"segment": make(definition=EVEN), "user": users[0]}
    for block in blocks("versions.md", "python"):
        exec(block, namespace)
    assert "+SELECT id" in capsys.readouterr().out
    assert Segment.objects.get().definition == EVEN
