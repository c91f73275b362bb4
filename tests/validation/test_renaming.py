"""A rename never changes what other definitions mean: it is refused, or rewrites them."""

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.expressions import RawSQL

from segments import sync
from segments.exceptions import SegmentDefinitionError, SegmentLockedError
from segments.models import Segment
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

FEW = f"SELECT id FROM {USERS} WHERE username < 'u3'"


@pytest.fixture
def vip(users, make):
    """A segment of the first three users."""
    return make(definition=FEW)


def stored(slug):
    return Segment.objects.get(slug=slug)


def by_save(segment, slug):
    segment.slug = slug
    segment.save()


def by_clean(segment, slug):
    segment.slug = slug
    with pytest.raises(ValidationError) as caught:
        segment.full_clean()
    raise caught.value.error_dict["__all__"][0].__cause__


@pytest.mark.slow
@pytest.mark.roles
@pytest.mark.parametrize("how", [by_save, by_clean, Segment.rename])
def test_rename__is_refused_and_names_the_readers(how, vip, make, names):
    make("loyal", definition="SELECT user_id FROM segments.vip")
    make("live", definition="SELECT user_id FROM segments_live.vip")
    make("indirect", definition="SELECT user_id FROM segments.loyal")
    make("vip-only-in-words", definition=f"{FEW} -- not segments.vip")
    before = names()
    with pytest.raises(SegmentDefinitionError, match="read segments.vip: live, loyal\n") as caught:
        how(vip, "gold")
    assert caught.value.field == "slug"
    assert 'segment.rename("gold", rewrite=True)' in caught.value.hint
    assert names() == before
    assert len(stored("vip")) == 3


def test_rename__without_readers_changes_the_slug_only(vip, make, query):
    make("vip-too", definition=f"{FEW} OR username = 'vip'")
    vip.name, vip.priority = "Unsaved", 7
    vip.rename("gold")
    assert (vip.slug, stored("gold").name, stored("gold").priority) == ("gold", "Vip", 0)
    assert query("SELECT count(*) FROM segments.gold") == [(3,)]
    assert sync.check() == []


def test_rename__that_keeps_the_view_name_changes_no_text(make, users):
    segment = make("a-b", definition=FEW)
    make("loyal", definition="SELECT user_id FROM segments.a_b")
    segment.rename("a_b")
    assert stored("loyal").definition == "SELECT user_id FROM segments.a_b"
    assert sync.check() == []


TEXTS = {
    "plain": ("SELECT user_id FROM segments.vip", "SELECT user_id FROM segments.gold"),
    "live": ("SELECT user_id FROM segments_live.vip", "SELECT user_id FROM segments_live.gold"),
    "in quotes": (
        'SELECT user_id FROM "segments"."vip"',
        'SELECT user_id FROM "segments"."gold"',
    ),
    "half in quotes": (
        'SELECT user_id FROM "segments".vip',
        'SELECT user_id FROM "segments".gold',
    ),
    "without its schema": ("SELECT user_id FROM vip", "SELECT user_id FROM gold"),
    "in capitals": ("SELECT user_id FROM Segments.VIP", "SELECT user_id FROM Segments.gold"),
    "TABLE": ("TABLE segments.vip", "TABLE segments.gold"),
    "in several lines": (
        "SELECT user_id\nFROM segments . /* vip */\n vip -- vip\nWHERE user_id > 0",
        "SELECT user_id\nFROM segments . /* vip */\n gold -- vip\nWHERE user_id > 0",
    ),
    "after other characters": (
        "SELECT user_id FROM segments.vip WHERE 'ü€😀 segments.vip' <> 'vip' "
        "AND user_id IN (SELECT user_id FROM segments.vip)",
        "SELECT user_id FROM segments.gold WHERE 'ü€😀 segments.vip' <> 'vip' "
        "AND user_id IN (SELECT user_id FROM segments.gold)",
    ),
    "that qualifies columns": (
        "SELECT vip.user_id FROM segments.vip WHERE segments.vip.user_id > 0 AND vip IS NOT NULL",
        "SELECT gold.user_id FROM segments.gold WHERE segments.gold.user_id > 0 "
        "AND gold IS NOT NULL",
    ),
    "with every column": (
        "SELECT vip.* FROM segments.vip",
        "SELECT gold.* FROM segments.gold",
    ),
    "as its own alias": (
        "SELECT vip.user_id FROM segments.vip AS vip",
        "SELECT vip.user_id FROM segments.gold AS vip",
    ),
    "of a CTE, too": (
        "WITH vip AS (SELECT user_id FROM segments.vip) SELECT user_id FROM vip",
        "WITH vip AS (SELECT user_id FROM segments.gold) SELECT user_id FROM vip",
    ),
    "in both schemas": (
        "SELECT user_id FROM segments.vip INTERSECT SELECT user_id FROM segments_live.vip",
        "SELECT user_id FROM segments.gold INTERSECT SELECT user_id FROM segments_live.gold",
    ),
    "joined to itself": (
        "SELECT vip.user_id FROM segments.vip JOIN segments.vip AS b USING (user_id)",
        "SELECT gold.user_id FROM segments.gold JOIN segments.gold AS b USING (user_id)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), TEXTS.values(), ids=TEXTS)
def test_rewrite__changes_each_reference_and_no_member(before, after, vip, make, query, relation):
    query("SET search_path = public, segments")
    list(sync.sync())  # Definitions keep the path of the last sync.
    loyal = make("loyal", definition=before)
    rows = query("SELECT xmin::text, ctid::text, user_id FROM segments.loyal")
    oids = relation("segments.loyal")[0], relation("segments_live.loyal")[0]
    vip.rename("gold", rewrite=True)
    assert stored("loyal").definition == after
    assert query("SELECT xmin::text, ctid::text, user_id FROM segments.loyal") == rows
    assert (relation("segments.loyal")[0], relation("segments_live.loyal")[0]) == oids
    assert sync.check() == []
    version = "SELECT xmin FROM pg_rewrite WHERE ev_class = 'segments_live.loyal'::regclass"
    bound = query(version)
    loyal.refresh(force=True)
    assert query(version) == bound
    assert len(loyal) == len(rows) == 3


@pytest.mark.slow
@pytest.mark.roles
def test_rewrite__of_several_readers_with_lists_of_their_own(vip, users, make):
    make("loyal", definition="SELECT user_id FROM segments.vip", static_ids=users[8:])
    make(
        "both",
        definition="SELECT user_id FROM segments.vip INTERSECT SELECT user_id FROM segments.loyal",
    )
    vip.rename("gold", rewrite=True)
    assert (
        "segments.gold INTERSECT SELECT user_id FROM segments.loyal" in stored("both").definition
    )
    assert (len(stored("loyal")), len(stored("both"))) == (5, 3)
    assert sync.check() == []
    assert [segment.refresh(force=True).status for segment in Segment.objects.all()] == [
        "refreshed"
    ] * 3


def test_rewrite__puts_a_word_of_sql_in_quotes(vip, make):
    make("loyal", definition="SELECT user_id FROM segments.vip")
    vip.rename("order", rewrite=True)
    assert stored("loyal").definition == 'SELECT user_id FROM segments."order"'


@pytest.mark.slow
def test_names__may_be_swapped_in_three_steps(vip, users, make):
    late = make("late", definition=f"SELECT id FROM {USERS} WHERE username > 'u7'")
    make("first", definition="SELECT user_id FROM segments.vip")
    make("last", definition="SELECT user_id FROM segments.late")
    vip.rename("other", rewrite=True)
    late.rename("vip", rewrite=True)
    vip.rename("late", rewrite=True)
    assert stored("first").definition == "SELECT user_id FROM segments.late"
    assert stored("last").definition == "SELECT user_id FROM segments.vip"
    for segment in Segment.objects.all():
        segment.refresh(force=True)
    assert set(stored("first").member_ids()) == {user.pk for user in users[:3]}
    assert set(stored("last").member_ids()) == {user.pk for user in users[8:]}
    assert sync.check() == []


BLOCKED = {
    "a literal": (
        "SELECT user_id FROM segments.vip WHERE 'segments.vip'::regclass <> 0::oid",
        "line 1",
    ),
    "a name that is hidden by another": (
        "SELECT user_id FROM vip",
        "its definition would mean something else",
    ),
    "a clash with the new name": (
        f"SELECT vip.user_id FROM segments.vip, {USERS} AS gold WHERE gold.id = vip.user_id",
        'with the new name: table name "gold" specified more than once',
    ),
}


@pytest.mark.parametrize(("definition", "says"), BLOCKED.values(), ids=BLOCKED)
def test_rewrite__that_is_not_safe_is_refused(definition, says, vip, make, query):
    query("CREATE SCHEMA hidden")
    query("CREATE VIEW hidden.vip AS SELECT 0::bigint AS user_id")
    query("SET search_path = public, segments, hidden")
    list(sync.sync())  # Definitions keep the path of the last sync.
    make("loyal", definition=definition)
    with pytest.raises(SegmentDefinitionError, match="loyal") as caught:
        vip.rename("gold", rewrite=True)
    assert says in str(caught.value)
    assert (vip.slug, stored("loyal").definition) == ("vip", definition)
    assert sync.check() == []


def test_manager_method__that_reads_it_prevents_a_rename(vip, make, monkeypatch):
    def members(manager):
        return manager.filter(pk__in=RawSQL("SELECT user_id FROM segments.vip", ()))

    monkeypatch.setattr(type(get_user_model().objects), "readers", members, raising=False)
    make("method", manager_method="readers")
    for rewrite in (False, True):
        with pytest.raises(SegmentDefinitionError, match="method .its manager method reads it"):
            vip.rename("gold", rewrite=rewrite)


@pytest.mark.slow
def test_reader__that_is_detached_counts(vip, make):
    make("loyal", definition="SELECT user_id FROM segments.vip")
    list(sync.detach(["loyal"]))
    with pytest.raises(SegmentDefinitionError, match="read segments.vip: loyal"):
        vip.rename("gold")
    vip.rename("gold", rewrite=True)
    assert [step.error for step in sync.sync()] == [None]
    assert stored("loyal").definition == "SELECT user_id FROM segments.gold"
    assert len(stored("loyal")) == 3


def test_reader__whose_text_is_not_valid_counts_by_its_view(vip, make):
    make("loyal", definition="SELECT user_id FROM segments.vip")
    Segment.objects.filter(slug="loyal").update(definition="SELECT user_id FROM nowhere")
    with pytest.raises(SegmentDefinitionError, match="loyal .its definition is not valid"):
        vip.rename("gold", rewrite=True)


def test_rename__that_is_rolled_back_leaves_everything(vip, make, names):
    make("loyal", definition="SELECT user_id FROM segments.vip")
    before = names()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        vip.rename("gold", rewrite=True)
        1 / 0  # noqa: B018
    assert stored("loyal").definition == "SELECT user_id FROM segments.vip"
    assert names() == before
    vip.refresh_from_db()
    assert vip.slug == "vip"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
def test_rewrite__waits_for_a_reader_that_is_refreshed(users, make, session, settings):
    vip = make(definition=FEW)
    loyal = make("loyal", definition="SELECT user_id FROM segments.vip")
    settings.SEGMENTS_LOCK_TIMEOUT = 0.2
    other = session()
    other.autocommit = False
    key = f"segments:{loyal.pk}"
    other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
    with pytest.raises(SegmentLockedError):
        vip.rename("gold", rewrite=True)
    assert stored("loyal").definition == "SELECT user_id FROM segments.vip"
    other.rollback()
    vip.rename("gold", rewrite=True)
    assert stored("loyal").definition == "SELECT user_id FROM segments.gold"


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("clean_views", "exec_alias")
def test_rewrite__where_views_follow_on_commit(users, make):
    vip = make(definition=FEW)
    loyal = make("loyal", definition="SELECT user_id FROM segments.vip")
    with pytest.raises(SegmentDefinitionError, match="read segments.vip: loyal"):
        vip.rename("gold")
    vip.rename("gold", rewrite=True)
    assert stored("loyal").definition == "SELECT user_id FROM segments.gold"
    assert sync.check() == []
    assert len(loyal) == 3
