"""The gate: which functions a definition may call, however it becomes a view."""

from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

import segments
from segments import sync
from segments.definition.gate import HARMLESS, UNSTOPPABLE
from segments.exceptions import SegmentDefinitionError
from segments.models import Membership, Segment
from segments.validation.preview import preview
from tests.conftest import USERS

pytestmark = pytest.mark.django_db

CALLED = f"SELECT id FROM {USERS} WHERE nextval('calls') > 0"
MESSAGE = r"the definition calls nextval\(\), which may have side effects"


@pytest.fixture
def calls(query):
    """Return whether a sequence was ever called; no rollback undoes that."""
    query("CREATE SEQUENCE calls")
    return lambda: query("SELECT is_called FROM calls") == [(True,)]


def refused(make, definition):
    with pytest.raises(SegmentDefinitionError) as caught:
        make("x", definition=definition)
    assert caught.value.field == "definition"
    assert caught.value.slug == "x"
    return str(caught.value)


def test_function__with_lasting_effects_is_refused(users, make):
    assert refused(make, f"SELECT id FROM {USERS} WHERE pg_advisory_lock(1) IS NULL") == (
        'segment "x": the definition calls pg_advisory_lock(), which may have side effects\n'
        "Hint: A definition may only read. Of the volatile functions of Postgres, it may call "
        "those for random values and the clock, and pg_sleep()."
    )


@pytest.mark.parametrize(
    "call",
    [
        "query_to_xml('TABLE x', true, true, '')",
        "cursor_to_xmlschema('c', true, true, '')",
        "table_to_xml('shop_order', true, true, '')",
        "database_to_xml_and_xmlschema(true, true, '')",
        "ts_rewrite('a', 'SELECT query, query FROM x')",
        "ts_stat('SELECT x FROM x')",
    ],
)
def test_function__that_takes_its_query_as_text_is_refused(users, make, call):
    told = refused(make, f"SELECT id FROM {USERS} WHERE EXISTS (SELECT {call})")
    name = call.partition("(")[0]
    assert f"the definition calls {name}(), which hides what it reads\nHint: Read the same" in told


def test_function__that_hides_what_segment_it_reads_is_refused(users, make):
    make()
    for name in ("segments.is_member", "segments_live.is_member"):
        told = refused(make, f"SELECT id FROM {USERS} WHERE {name}('vip', id)")
        assert f"calls {name}(), which hides which segment it reads" in told
        assert "SELECT user_id FROM segments.vip" in told
    told = refused(make, "SELECT m FROM segments_live.members('vip') AS m")
    assert "calls segments_live.members()" in told
    make("y", definition="SELECT user_id FROM segments.vip")


PATH, POLYGON = "path '[(0,0),(1,1)]'", "polygon '((0,0),(1,1),(2,0))'"

ENDLESS = {
    f"{PATH} <-> {PATH}": "path_distance",
    f"path_distance({PATH}, {PATH})": "path_distance",
    f"{PATH} ?# {PATH}": "path_inter",
    f"{POLYGON} <-> {POLYGON}": "poly_distance",
    f"{POLYGON} && {POLYGON}": "poly_overlap",
    f"{POLYGON} @> {POLYGON}": "poly_contain",
    f"{POLYGON} <@ {POLYGON}": "poly_contained",
    f"{POLYGON} ~= {POLYGON}": "poly_same",
}


@pytest.mark.parametrize("call", ENDLESS)
def test_function__that_no_timeout_stops_is_refused(users, make, call):
    name = ENDLESS[call]
    told = refused(make, f"SELECT id FROM {USERS} WHERE ({call}) IS NOT NULL")
    assert f"the definition calls {name}(), which no timeout stops\nHint: Compare points" in told
    told = refused(make, f"SELECT id FROM {USERS} ORDER BY {call}")
    assert f"calls {name}()" in told


@pytest.mark.parametrize(
    "call",
    [
        f"{PATH} <-> point '(1,2)'",
        f"{PATH} + {PATH}",
        f"{POLYGON} @> point '(1,1)'",
        f"point '(1,1)' <@ {POLYGON}",
        f"{POLYGON} << {POLYGON}",
        "box '((0,0),(1,1))' && box '((0,0),(1,1))'",
        "lseg '[(0,0),(1,1)]' ?# lseg '[(0,1),(1,0)]'",
    ],
)
def test_function__of_geometry_that_ends_soon_is_allowed(users, make, call):
    assert len(make(definition=f"SELECT id FROM {USERS} WHERE ({call}) IS NOT NULL")) == 10


def test_functions__that_no_timeout_stops_exist(query):
    known = query("SELECT DISTINCT prosrc FROM pg_proc WHERE prosrc = ANY (%s)", list(UNSTOPPABLE))
    assert {name for (name,) in known} == set(UNSTOPPABLE)


def test_row_lock__is_refused(users, make):
    told = refused(make, f"SELECT id FROM (SELECT id FROM {USERS} FOR UPDATE) AS q")
    assert "the definition locks rows that it reads\nHint: Remove FOR UPDATE" in told
    assert "locks rows" in refused(make, f"SELECT id FROM {USERS} FOR KEY SHARE SKIP LOCKED")


def test_functions__that_are_harmless_are_allowed(users, make, query):
    """One definition calls every variant of each function that the server has."""
    times, numbers = "timestamp with time zone", ("integer", "bigint", "numeric")
    given = {times: "now()", "interval": "'0'::interval", "anyarray": "ARRAY[1]"}
    given |= dict.fromkeys(("double precision", *numbers), "0")
    found = query(
        "SELECT proname, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) AS t) "
        "FROM pg_proc WHERE oid < 16384 AND proname = ANY (%s)",
        list(HARMLESS),
    )
    assert {name for name, _ in found} >= {"random", "pg_sleep", "clock_timestamp"}
    calls = [f"{name}({', '.join(given[each] for each in types)})" for name, types in found]
    definition = f"SELECT u.id, {', '.join(calls)} FROM {USERS} u"
    assert len(make(definition=definition)) == 10


def test_functions__that_are_harmless_are_volatile(query):
    wrong = query(
        "SELECT proname FROM pg_proc "
        "WHERE oid < 16384 AND proname = ANY (%s) AND provolatile <> 'v'",
        list(HARMLESS),
    )
    assert wrong == []


def test_functions__of_the_project_and_of_its_views_are_allowed(users, make, calls, query):
    query(
        "CREATE FUNCTION next() RETURNS bigint LANGUAGE plpgsql AS "
        "'BEGIN RETURN nextval(''public.calls''); END'"
    )
    query("CREATE VIEW numbered AS SELECT nextval('calls') AS number")
    both = f"SELECT id FROM {USERS} WHERE next() > 0 AND EXISTS (SELECT FROM numbered)"
    assert len(make(definition=both)) == 10
    assert calls()


def test_functions__are_recognised_by_identity_and_not_by_name(users, make, query):
    query("CREATE SCHEMA app")
    query(
        "CREATE FUNCTION app.set_config(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'"
    )
    query("CREATE OPERATOR @#@ (FUNCTION = pg_try_advisory_lock, RIGHTARG = bigint)")
    assert len(make(definition=f"SELECT id FROM {USERS} WHERE app.set_config('x') = 'x'")) == 10
    told = refused(make, f"SELECT id FROM {USERS} WHERE @#@ id")
    assert "calls pg_try_advisory_lock()" in told


def test_validation__refuses_and_evaluates_nothing(users, calls):
    with pytest.raises(ValidationError, match=MESSAGE):
        Segment(name="x", slug="x", definition=CALLED).clean()
    assert not calls()


def test_save__refuses_and_evaluates_nothing(users, make, names, calls, settings):
    before = names()
    for at_once in (True, False):
        settings.SEGMENTS_REFRESH_ON_SAVE = at_once
        with pytest.raises(SegmentDefinitionError, match=MESSAGE):
            make(definition=CALLED)
    segment = make()
    segment.definition = CALLED
    with pytest.raises(SegmentDefinitionError, match=MESSAGE):
        segment.save()
    segment.refresh_from_db()
    assert segment.definition != CALLED
    assert {"segments.vip", "segments_live.vip"} < names() - before
    assert not calls()


def test_save__refuses_when_it_is_priced_first(users, make, calls, settings):
    settings.SEGMENTS_MAX_COST = 1e9
    with pytest.raises(SegmentDefinitionError, match=MESSAGE):
        make(definition=CALLED)
    assert not calls()


def test_preview__refuses_and_evaluates_nothing(users, calls):
    with pytest.raises(SegmentDefinitionError, match=MESSAGE):
        preview(Segment(name="x", slug="x", definition=CALLED))
    assert not calls()


def test_refresh__refuses_a_definition_that_no_save_has_seen(users, make, calls):
    segment = make()
    Segment.objects.update(definition=CALLED)
    with pytest.raises(SegmentDefinitionError, match=MESSAGE):
        segment.refresh()
    segment.refresh_from_db()
    assert "nextval" in segment.last_error
    assert len(segment) == 10
    assert not calls()


def test_sync__refuses_a_definition_that_no_save_has_seen(users, make, calls, query, capsys):
    make()
    for missing in (False, True):
        Segment.objects.update(definition=CALLED)
        if missing:
            query("DROP MATERIALIZED VIEW segments.vip")
            query("DROP VIEW segments_live.vip")
        with pytest.raises(CommandError):
            call_command("sync_segments")
        assert "nextval(), which may have side effects" in "".join(capsys.readouterr())
        assert not calls()


def test_attaching__refuses_a_definition_that_no_save_has_seen(users, make, calls, query):
    make()
    assert [entry.what for entry in sync.detach()] == [["detached"]]
    Segment.objects.update(definition=CALLED)
    (entry,) = sync.sync()
    assert isinstance(entry.error, SegmentDefinitionError)
    assert "nextval" in str(entry.error)
    assert "nextval" in Segment.objects.get().last_error
    assert query("SELECT count(*) FROM segments.vip") == [(10,)]
    assert not calls()


def test_manager_method__is_refused_beside_its_field(users, make, monkeypatch):
    manager = type(users[0]).objects

    def locked(self):
        return self.select_for_update()

    monkeypatch.setattr(type(manager), "locked", locked, raising=False)
    with pytest.raises(SegmentDefinitionError, match="locks rows") as caught:
        make(manager_method="locked")
    assert caught.value.field == "manager_method"


def asked(captured):
    return sum(
        'FROM "segments_live"."offences"' in each["sql"] for each in captured.captured_queries
    )


def test_check__costs_one_query_for_each_new_view_only(users, make):
    with CaptureQueriesContext(connection) as captured:
        segment = make()
    assert asked(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        segment.refresh(force=True)  # It compares the live view with a new one of the same text.
    assert asked(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        segment.refresh()
        segment.save()
        make("listed", static_ids=users[:2])
    assert asked(captured) == 0


def test_definition__becomes_a_view_in_one_place_only():
    folder = Path(segments.__file__).parent
    code = {path.name: path.read_text() for path in folder.rglob("*.py")}
    assert [name for name, text in code.items() if "compiled.as_sql()" in text] == ["gate.py"]


# What belongs to this package.

PACKAGE = {
    "memberships": (
        f"SELECT id FROM {USERS} WHERE id NOT IN (SELECT user_id FROM segments.membership)",
        "segments.membership",
    ),
    "the catalog": (
        f"SELECT id FROM {USERS} WHERE EXISTS (SELECT FROM segments.catalog)", "segments.catalog",
    ),
    "the table of memberships": (
        "SELECT user_id FROM segments_membership", "segments_membership",
    ),
    "the table of segments": (
        f"SELECT id FROM {USERS} WHERE id > (SELECT count(*) FROM segments_segment)",
        "segments_segment",
    ),
    "the history": (
        f"WITH r AS (TABLE segments_segmentrefresh) SELECT u.id FROM {USERS} u, r",
        "segments_segmentrefresh",
    ),
    "lists": ("SELECT user_id FROM segments_staticmember", "segments_staticmember"),
    "a view": ("SELECT user_id FROM entered", "segments.membership"),
    "a view of a view": ("SELECT user_id FROM recently", "segments.membership"),
    "a materialized view": ("SELECT user_id FROM stored", "segments.membership"),
    "a view in a set": (
        f"SELECT id FROM {USERS} EXCEPT SELECT user_id FROM recently", "segments.membership",
    ),
    "a view in their schema": ("SELECT user_id FROM segments.others", "segments.membership"),
}  # fmt: skip


@pytest.fixture
def views_of_others(make, owner):
    """Views that others have created, and that read memberships."""
    make()
    owner("CREATE VIEW public.entered AS SELECT user_id, slug FROM segments.membership")
    owner("CREATE VIEW public.recently AS SELECT * FROM public.entered")
    owner("CREATE MATERIALIZED VIEW public.stored AS TABLE segments.membership")
    owner("CREATE VIEW segments.others AS SELECT user_id FROM segments.membership")
    owner("CREATE VIEW public.checked AS SELECT segments.is_member('vip', 1::bigint) AS answer")


@pytest.mark.parametrize(("definition", "name"), PACKAGE.values(), ids=PACKAGE)
def test_package__is_not_read(definition, name, users, make, views_of_others):
    told = refused(make, definition)
    assert f"the definition reads {name}, which refreshes change" in told
    assert (
        'Hint: Read segments.<slug>, the view of a segment; for "vip" it is segments.vip.' in told
    )
    for attempt in (Segment.clean, Segment.preview):
        with pytest.raises((SegmentDefinitionError, ValidationError), match=f"reads {name}"):
            attempt(Segment(name="x", slug="x", definition=definition))


def test_package__is_not_read_by_manager_methods(users, make, monkeypatch):
    def entered(self):
        return self.filter(pk__in=Membership.objects.values("user_id"))

    monkeypatch.setattr(type(type(users[0]).objects), "entered", entered, raising=False)
    with pytest.raises(SegmentDefinitionError, match="reads segments_membership") as caught:
        make(manager_method="entered")
    assert caught.value.field == "manager_method"


def test_package__is_not_read_beside_a_list(users, make):
    segment = make("both", static_ids=users[:2], definition=f"SELECT id FROM {USERS} LIMIT 0")
    assert segment.refresh(force=True).members_count == 2
    segment.definition = "SELECT user_id FROM segments_staticmember"
    with pytest.raises(SegmentDefinitionError, match="reads segments_staticmember"):
        segment.save()


def test_package__function_in_a_view_of_others_is_refused(users, make, views_of_others):
    told = refused(make, f"SELECT id FROM {USERS} WHERE (SELECT answer FROM checked)")
    assert "calls segments.is_member(), which hides which segment it reads" in told


def test_package__other_segments_are_read(users, make, query):
    make("listed", static_ids=users[:3])
    make("live", definition="SELECT user_id FROM segments_live.listed")
    query("CREATE VIEW mine AS SELECT user_id FROM segments.live")
    assert len(make(definition="SELECT user_id FROM mine")) == 3


@pytest.mark.parametrize("force", [True, False])
def test_package__that_is_read_already_fails_and_keeps_members(users, make, monkeypatch, force):
    monkeypatch.setattr("segments.definition.gate._check_package_reads", lambda *args: None)
    flipping = f"SELECT id FROM {USERS} WHERE id NOT IN (SELECT user_id FROM segments.membership)"
    segment = make("flipping", definition=flipping)
    listed = make("listed", definition="SELECT user_id FROM segments.flipping")
    monkeypatch.undo()
    with pytest.raises(SegmentDefinitionError, match=r"(?s)segments.membership.*segments.<slug>"):
        segment.refresh(force=force)
    assert (segment.status, len(segment)) == ("failed", 10)
    assert "reads segments.membership" in segment.last_error
    assert listed.refresh(force=force).members_count == 10
    segment.definition = f"SELECT id FROM {USERS}"
    segment.save()
    assert segment.status == "refreshed"
