"""The views of a segment: new definitions, renames, deletions, privileges and comments."""

import pytest
from django.db import connection, transaction

from segments.exceptions import SegmentDefinitionError, SegmentExecutionError
from segments.models import Membership, Segment, SegmentRefresh, StaticMember
from segments.pgviews import models as view_models
from tests.conftest import USERS, forget

pytestmark = pytest.mark.django_db

FEW = f"SELECT id FROM {USERS} WHERE username < 'u3'"


@pytest.mark.roles
def test_definition__changes_below_everything_built_on_it(
    users, make, query, owner, dba, relation, role
):
    segment = make(description="Those who pay")
    reader = role("reader")
    dba(f'GRANT CREATE ON SCHEMA segments TO "{reader}"')
    owner(f'GRANT SELECT ON segments.vip TO "{reader}"')
    owner(f'GRANT SELECT (user_id) ON segments_live.vip TO "{reader}"')
    owner(
        "CREATE VIEW segments.bi AS SELECT count(*) AS n "
        "FROM segments.vip JOIN segments_live.vip l USING (user_id)"
    )
    owner(f'ALTER VIEW segments.bi OWNER TO "{reader}"')
    before = relation("segments.vip"), relation("segments_live.vip")[0], relation("segments.bi")
    segment.definition = FEW
    segment.save()
    after = relation("segments.vip"), relation("segments_live.vip")[0], relation("segments.bi")
    assert after == before
    assert query("SELECT user_id FROM segments.vip ORDER BY 1") == [(u.pk,) for u in users[:3]]
    assert query(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'segments_live.vip'::regclass "
        "AND attacl IS NOT NULL"
    ) == [(1,)]


def test_definition__is_not_refreshed_where_the_setting_says_so(users, make, settings, query):
    settings.SEGMENTS_REFRESH_ON_SAVE = False
    segment = make()
    assert len(segment) == 10  # The first time always is.
    segment.definition = FEW
    segment.save()
    assert len(segment) == 10
    assert segment.members_live.count() == 3
    assert segment.refresh().removed == 7


def test_save__that_changes_no_definition_does_not_evaluate_it(users, make, query):
    segment = make(
        definition=f"SELECT id FROM {USERS} WHERE 1 / is_staff::int::numeric IS NULL OR true"
    )
    assert SegmentRefresh.objects.count() == 1
    query("DROP VIEW IF EXISTS nothing")
    segment.name, segment.is_active, segment.priority = "Other", False, 5
    segment.full_clean()
    segment.save()
    assert SegmentRefresh.objects.count() == 1


@pytest.mark.roles
def test_save__of_a_broken_segment_may_rename_it(users, make, query):
    query("CREATE TABLE gone (id bigint)")
    segment = make(definition="SELECT id FROM gone")
    Segment.objects.update(definition="SELECT id FROM really_gone")
    segment.refresh_from_db()
    segment.slug, segment.is_active = "ex-vip", False
    segment.full_clean()
    segment.save()
    assert query("SELECT count(*) FROM segments.ex_vip") == [(0,)]


def test_save__does_not_put_back_a_state_of_before(users, make):
    stale = make()
    Segment.objects.get().refresh()
    users[0].delete()
    Segment.objects.get().refresh()
    stale.priority = 3
    stale.save()
    assert (stale.members_count, Segment.objects.get().members_count) == (9, 9)


def test_save__of_some_fields_leaves_the_views(users, make, relation):
    segment = make()
    segment.definition, segment.priority = FEW, 7
    segment.save(update_fields=["priority"])
    stored = Segment.objects.get()
    assert (stored.priority, stored.definition) == (7, f"SELECT id FROM {USERS}")
    assert stored.members_live.count() == 10


def test_copy__is_a_segment_of_its_own(users, make):
    segment = make(priority=3)
    first = segment.pk
    segment.pk, segment.slug = None, "copy"
    segment._state.adding = True
    segment.save()
    assert Segment.objects.count() == 2
    assert segment.pk != first
    assert segment.refreshes.count() == 1


@pytest.mark.roles
def test_rename__moves_both_views_and_what_is_on_them(users, make, query, relation, names):
    segment = make()
    query("CREATE VIEW bi AS SELECT count(*) AS n FROM segments.vip")
    oids = relation("segments.vip")[0], relation("segments_live.vip")[0]
    segment.slug = "gold-card"
    segment.save()
    assert (relation("segments.gold_card")[0], relation("segments_live.gold_card")[0]) == oids
    assert relation("segments.vip") is None
    assert query("SELECT n FROM bi") == [(10,)]
    assert 'segment "gold-card"' in relation("segments.gold_card")[2]
    assert 'segment "gold-card"' in relation("segments_live.gold_card")[2]
    assert segment.refresh(force=True).status == "refreshed"
    make("vip")
    assert len(Segment.objects.get(slug="vip")) == 10


@pytest.mark.roles
def test_rename__together_with_a_new_definition(users, make, query):
    segment = make()
    segment.slug, segment.definition = "gold", FEW
    segment.save()
    assert query("SELECT count(*) FROM segments.gold") == [(3,)]


def test_rename__that_keeps_the_view_name(users, make, relation):
    segment = make("a-b")
    segment.slug = "a_b"
    segment.save()
    assert len(segment) == 10
    assert 'segment "a_b"' in relation("segments.a_b")[2]


@pytest.mark.roles
def test_comments__say_what_a_view_is(make, relation, query):
    segment = make(description="Those who pay")
    assert relation("segments.vip")[2].startswith(
        'Members of segment "vip" at its last refresh. Vip: Those who pay'
    )
    assert relation("segments_live.vip")[2].startswith('Members of segment "vip", computed')
    segment.description = "It's \\ 100 % \"gold\"; {} '"
    segment.save()
    assert segment.description in relation("segments.vip")[2]
    assert query("SELECT col_description('segments.vip'::regclass, 1)") == [
        ('Key of the user ("accounts_segmentableuser".id)',)
    ]


@pytest.mark.roles
def test_readers__get_select_on_members_only(users, make, settings, role, query):
    settings.SEGMENTS_READER_ROLES = [role("bi"), role("Other Reader")]
    make()
    for reader in settings.SEGMENTS_READER_ROLES:
        query(f'SET LOCAL ROLE "{reader}"')
        assert query("SELECT count(*) FROM segments.vip") == [(10,)]
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            query("SELECT * FROM segments_live.vip")
        query("RESET ROLE")


@pytest.mark.roles
def test_readers__that_do_not_exist_are_reported(users, make, settings):
    from segments import checks, conf, sync

    settings.SEGMENTS_READER_ROLES = ["nobody_by_this_name"]
    assert make().refresh().members_count == len(users)
    (entry,) = sync.check()
    assert entry.what == ["role nobody_by_this_name of SEGMENTS_READER_ROLES does not exist"]
    (message,) = checks.check_server(databases=[conf.exec_connection()])
    assert message.id == "segments.E008"
    assert "nobody_by_this_name" in message.msg


@pytest.mark.roles
def test_delete__leaves_nothing_behind(users, make, names):
    before = names()
    make("listed", static_ids=users[:2]).delete()
    make().delete()
    assert names() == before
    for model in (Segment, Membership, SegmentRefresh, StaticMember):
        assert not model.objects.exists()


def test_delete__after_an_unsaved_rename_drops_its_own_views(users, make, relation):
    other = make("other")
    segment = make()
    segment.slug = "other"
    segment.delete()
    assert relation("segments.vip") is None
    assert len(other) == 10


@pytest.mark.roles
def test_delete__is_refused_while_others_read_it(users, make, query, relation):
    segment = make()
    make("second", definition="SELECT user_id FROM segments.vip")
    query("CREATE VIEW bi AS SELECT count(*) AS n FROM segments.second")
    with pytest.raises(SegmentExecutionError) as caught:
        segment.delete()
    text = str(caught.value)
    assert "view segments_live.second depends on materialized view segments.vip" in text
    assert "view bi depends on materialized view segments.second" in text
    assert "CASCADE" not in text
    assert Segment.objects.count() == 2
    assert len(segment) == 10
    assert Membership.objects.filter(segment=segment).count() == 10
    with pytest.raises(SegmentExecutionError):
        Segment.objects.all().delete()
    assert Segment.objects.count() == 2


@pytest.mark.roles
def test_delete__of_many_takes_readers_first(users, make, names):
    before = names()
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    make("c", definition="SELECT user_id FROM segments_live.b")
    total, by_model = Segment.objects.all().delete()
    assert by_model["segments.Segment"] == 3
    assert total == sum(by_model.values())
    assert names() == before


@pytest.mark.roles
def test_delete__of_a_user_takes_all_memberships(users, make):
    make()
    make("listed", static_ids=users[:2])
    users[0].delete()
    assert not Membership.objects.filter(user_id=users[0].pk).exists()
    assert not StaticMember.objects.filter(user_id=users[0].pk).exists()


SLUGS = {
    "Vip": "starts with a letter",
    "1st": "starts with a letter",
    "": "starts with a letter",
    "vip gold": "starts with a letter",
    'vip"': "starts with a letter",
    "vip\n": "starts with a letter",
    "é": "starts with a letter",
    "a" * 64: "at most 63",
    "catalog": "reserved",
    "membership": "reserved",
    "changes": "reserved",
    "history": "reserved",
    "vip_user_id_idx": "reserved",
    "vip-idx12": "reserved",
}


@pytest.mark.parametrize(("slug", "says"), SLUGS.items())
def test_slug__that_can_name_no_view_is_refused(slug, says, users, make):
    with pytest.raises(SegmentDefinitionError, match=says) as caught:
        make(slug)
    assert caught.value.field == "slug"
    from django.core.exceptions import ValidationError

    with pytest.raises(ValidationError) as invalid:
        Segment(name="x", slug=slug, definition="SELECT 1 AS id").full_clean()
    assert "slug" in invalid.value.message_dict


def test_slug__that_clashes_is_refused(users, make):
    make("a-b")
    for slug in ("a-b", "a_b"):
        with pytest.raises(SegmentDefinitionError, match='"a-b" already has the view a_b'):
            make(slug)
    other = make("c")
    other.slug = "a_b"
    with pytest.raises(SegmentDefinitionError, match="already"):
        other.save()


def test_slug__of_63_characters_works(users, make, query):
    slugs = ["a" * 63, "a" * 62 + "b"]
    for slug in slugs:
        segment = make(slug)
        assert segment.refresh().members_count == 10
        segment.definition = FEW
        segment.full_clean()
        segment.save()
        assert query(f"SELECT count(*) FROM segments.{slug}") == [(3,)]


@pytest.mark.parametrize("slug", ["select", "user", "order", "table", "is_member"])
def test_slug__that_is_a_word_of_sql_works(slug, users, make):
    segment = make(slug)
    assert segment.has_member(users[0])
    assert users[0].is_member(slug)
    assert segment.members.count() == segment.refresh().members_count == 10
    assert segment.view.objects.count() == 10


def test_foreign_relation__under_the_name_is_left_alone(users, make, owner):
    make("first")
    owner("CREATE TABLE segments.vip (note text)")
    with pytest.raises(SegmentExecutionError, match="vip"):
        make()
    assert owner("SELECT count(*) FROM segments.vip") == [(0,)]


@pytest.mark.roles(
    "one_role", "exec_role", reason="there a failure after the commit is stored on the row"
)
def test_foreign_view__under_the_name_is_not_taken_over(users, make, owner):
    make("first")
    owner("CREATE MATERIALIZED VIEW segments.vip AS SELECT 1::bigint AS user_id")
    with pytest.raises(SegmentExecutionError, match="this package has not created"):
        make()
    assert owner("SELECT count(*) FROM segments.vip") == [(1,)]


@pytest.mark.roles(
    "one_role", "exec_role", reason="with an alias, the view of an orphan keeps its name"
)
def test_rename__to_the_name_of_an_orphan_replaces_it(users, make):
    make("gold", definition=FEW)
    forget(Segment.objects.filter(slug="gold"))
    segment = make()
    segment.slug = "gold"
    segment.save()
    assert len(Segment.objects.get(slug="gold")) == 10


def test_delete__of_a_stale_instance_leaves_a_new_segment_alone(users, make):
    segment = make()
    stale = Segment.objects.get()
    segment.delete()
    new = make()
    assert stale.delete()[0] == 0
    assert users[0].is_member(new)


def test_delete__of_a_proxy_drops_the_views(users, make, relation):
    make()
    proxy = type(
        "Proxy",
        (Segment,),
        {"__module__": "tests", "Meta": type("Meta", (), {"proxy": True, "app_label": "proxy"})},
    )
    proxy.objects.get().delete()
    assert relation("segments.vip") is None


def test_delete__makes_no_instances_of_memberships(users, make, query):
    from django.db.models.signals import post_init, pre_delete

    def listen(**kwargs):
        seen.append(kwargs["sender"])

    seen = []
    segment = make()
    pre_delete.connect(listen)
    post_init.connect(listen, sender=Membership)
    try:
        segment.delete()
    finally:
        pre_delete.disconnect(listen)
        post_init.disconnect(listen, sender=Membership)
    assert Membership not in seen
    assert query("SELECT count(*) FROM segments_membership") == [(0,)]


@pytest.mark.roles
@pytest.mark.usefixtures("creates_schemas")
def test_schema__has_the_name_of_the_setting(users, make, settings, query, owner):
    settings.SEGMENTS_SCHEMA = "audience"
    segment = make()
    assert query("SELECT count(*) FROM audience.vip") == [(10,)]
    assert owner("SELECT count(*) FROM audience_live.vip") == [(10,)]
    assert query("SELECT view_name FROM audience.catalog") == [("audience.vip",)]
    assert query("SELECT count(*) FROM audience.membership") == [(10,)]
    assert users[0].is_member(segment)
    assert users[0].is_member("vip")
    assert segment.members.count() == 10


@pytest.mark.roles
def test_catalog__shows_how_segments_are_doing(users, make, query):
    make(description="Those who pay")
    make("listed", static_ids=users[:2])
    make("method", manager_method="all")
    entries = {entry.slug: entry for entry in view_models.catalog_view().objects.all()}
    assert {slug: entry.kind for slug, entry in entries.items()} == {
        "vip": "sql", "listed": "static", "method": "manager",
    }  # fmt: skip
    vip = entries["vip"]
    assert (vip.name, vip.description, vip.view_name) == ("Vip", "Those who pay", "segments.vip")
    assert (vip.status, vip.members_count, vip.last_error) == ("refreshed", 10, "")
    assert vip.ids_from == entries["method"].ids_from == f"{USERS}.id"
    assert entries["listed"].ids_from is None
    assert vip.duration.total_seconds() > 0
    columns = [row[0] for row in query(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'segments.catalog'::regclass "
        "AND attnum > 0 ORDER BY attnum"
    )]  # fmt: skip
    assert columns == [
        "segment_id", "slug", "name", "description", "view_name", "kind", "members_count",
        "refreshed_at", "age", "status", "last_error", "duration", "failures", "due",
        "ids_from",
    ]  # fmt: skip


@pytest.mark.roles
def test_membership_view__joins_users_and_slugs(users, make):
    make()
    make("listed", static_ids=users[:2])
    rows = view_models.membership_view().objects.filter(user=users[0]).order_by("slug")
    assert [(row.slug, row.user) for row in rows] == [("listed", users[0]), ("vip", users[0])]
    with pytest.raises(NotImplementedError):
        rows.delete()


def test_no_information_schema__and_no_cascade_in_any_statement():
    from importlib.resources import files

    for path in files("segments.sql").iterdir():
        if path.name.endswith(".sql"):
            text = path.read_text().lower()
            assert "information_schema" not in text
            assert "cascade" not in text
            assert text.startswith("-- ")
    assert connection.vendor == "postgresql"


def test_delete__leaves_a_foreign_view_of_the_same_name(users, make, owner):
    segment = make()
    owner("DROP MATERIALIZED VIEW segments.vip")
    owner("DROP VIEW segments_live.vip")
    owner("CREATE MATERIALIZED VIEW segments.vip AS SELECT 1 AS theirs")
    segment.delete()
    assert owner("SELECT theirs FROM segments.vip") == [(1,)]
