"""Text names objects: what recomputes a segment binds its text again, and a sync reports it."""

import pytest
from django.contrib.contenttypes.models import ContentType

from segments import sync
from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from tests.conftest import USERS
from tests.refreshing.test_unchanged import alone, holds, rested
from tests.shop.models import Order

pytestmark = pytest.mark.django_db(transaction=True)

WORLD = f"""
    CREATE SCHEMA extra;
    CREATE SCHEMA later;
    CREATE TABLE extra.gold (user_id bigint, buddy bigint, flag integer, word varchar(10));
    CREATE TABLE extra.silver (user_id bigint, buddy bigint, rest integer, word varchar(10));
    INSERT INTO extra.gold
        SELECT id, id + 1, right(username, 1)::integer, username
        FROM {USERS} WHERE username < 'u4';
    INSERT INTO extra.silver
        SELECT id, id - 1, 1, username FROM {USERS} WHERE username BETWEEN 'u3' AND 'u8';
    CREATE TABLE later.gold AS SELECT user_id FROM extra.silver;
    CREATE TYPE extra.mood AS ENUM ('sad', 'ok');
    CREATE TABLE extra.feeling AS
        SELECT user_id, (CASE WHEN flag > 1 THEN 'sad' ELSE 'ok' END)::extra.mood AS mood
        FROM extra.gold;
    CREATE VIEW extra.gold_view AS SELECT user_id FROM extra.gold;
    CREATE VIEW extra.silver_view AS SELECT user_id FROM extra.silver;
    CREATE MATERIALIZED VIEW extra.gold_kept AS SELECT user_id FROM extra.gold;
    CREATE MATERIALIZED VIEW extra.silver_kept AS SELECT user_id FROM extra.silver;
    CREATE FUNCTION extra.nice(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
    ANALYZE;
"""

GOLD = "SELECT user_id FROM extra.gold"
OVERLAP = "SELECT user_id FROM extra.gold WHERE ARRAY[flag] && ARRAY[1]"
OUTER = "SELECT user_id FROM extra.gold WHERE EXISTS (SELECT FROM extra.silver WHERE flag > 2)"


def swapped(kind, first, second, schema="extra."):
    """Return statements that swap the names of two objects."""
    return (
        f"ALTER {kind} {schema}{first} RENAME TO other",
        f"ALTER {kind} {schema}{second} RENAME TO {first}",
        f"ALTER {kind} {schema}other RENAME TO {second}",
    )


CASES = {
    "tables": (GOLD, swapped("TABLE", "gold", "silver")),
    "a table and a new one": (
        GOLD,
        ("ALTER TABLE extra.gold RENAME TO old", "CREATE TABLE extra.gold (user_id bigint)"),
    ),
    "tables that are both read": (
        f"{GOLD} EXCEPT SELECT user_id FROM extra.silver",
        swapped("TABLE", "gold", "silver"),
    ),
    "columns": (
        GOLD,
        (
            "ALTER TABLE extra.gold RENAME user_id TO other",
            "ALTER TABLE extra.gold RENAME buddy TO user_id",
        ),
    ),
    "columns that are both read": (
        "SELECT user_id FROM extra.gold WHERE user_id < buddy",
        (
            "ALTER TABLE extra.gold RENAME user_id TO other",
            "ALTER TABLE extra.gold RENAME buddy TO user_id",
            "ALTER TABLE extra.gold RENAME other TO buddy",
        ),
    ),
    "a column that hides one outside": (
        OUTER,
        ("ALTER TABLE extra.silver RENAME rest TO flag",),
    ),
    "a new column that hides one outside": (
        OUTER,
        ("ALTER TABLE extra.silver ADD flag integer",),
    ),
    "a new column of a natural join": (
        "SELECT user_id FROM extra.gold NATURAL JOIN later.gold",
        ("ALTER TABLE later.gold ADD flag integer",),
    ),
    "views": (
        "SELECT user_id FROM extra.gold_view",
        swapped("VIEW", "gold_view", "silver_view"),
    ),
    "materialized views": (
        "SELECT user_id FROM extra.gold_kept",
        swapped("MATERIALIZED VIEW", "gold_kept", "silver_kept"),
    ),
    "schemas": (GOLD, swapped("SCHEMA", "extra", "later", "")),
    "labels of an enum": (
        "SELECT user_id FROM extra.feeling WHERE mood = 'sad'",
        (
            "ALTER TYPE extra.mood RENAME VALUE 'sad' TO 'other'",
            "ALTER TYPE extra.mood RENAME VALUE 'ok' TO 'sad'",
            "ALTER TYPE extra.mood RENAME VALUE 'other' TO 'ok'",
        ),
    ),
    "labels in an array": (
        "SELECT user_id FROM extra.feeling WHERE mood = ANY ('{sad}')",
        (
            "ALTER TYPE extra.mood RENAME VALUE 'sad' TO 'other'",
            "ALTER TYPE extra.mood RENAME VALUE 'ok' TO 'sad'",
        ),
    ),
    "a schema that is found earlier": (
        "SELECT user_id FROM silver",
        ("CREATE TABLE later.silver AS SELECT user_id FROM extra.gold",),
    ),
    "an overload of the project's function": (
        "SELECT user_id FROM extra.gold WHERE extra.nice(flag)",
        (
            "CREATE FUNCTION extra.nice(integer) RETURNS boolean IMMUTABLE LANGUAGE sql "
            "AS 'SELECT $1 > 2'",
        ),
    ),
    "an overload of a function of Postgres": (
        "SELECT user_id FROM extra.gold WHERE upper(word) = 'U1'",
        (
            "CREATE FUNCTION extra.upper(varchar) RETURNS text IMMUTABLE LANGUAGE sql "
            "AS 'SELECT ''U1'''",
        ),
    ),
    "an overload of an operator of Postgres": (
        OVERLAP,
        (
            "CREATE FUNCTION extra.never(integer[], integer[]) RETURNS boolean IMMUTABLE "
            "LANGUAGE sql AS 'SELECT $1[1] > 2'",
            "CREATE OPERATOR extra.&& (FUNCTION = extra.never, LEFTARG = integer[], "
            "RIGHTARG = integer[])",
        ),
    ),
}


@pytest.fixture
def world(users, clean_views, query):
    """Pairs of objects whose names can be swapped; no other session is connected."""
    query("SET search_path = public")
    query(WORLD)
    query("SET search_path = later, extra, public")
    list(sync.sync())  # Definitions keep the path of the last sync.
    alone(query)
    yield
    query("RESET search_path")
    list(sync.sync())
    Segment.objects.all().delete()
    query("DROP SCHEMA extra CASCADE")
    query("DROP SCHEMA later CASCADE")


def found():
    return {step.slug: "; ".join(step.what) or str(step.error) for step in sync.check()}


def bound_at(query):
    """Return the version of the live view."""
    return query(
        "SELECT xmin::text FROM pg_rewrite WHERE ev_class = 'segments_live.vip'::regclass"
    )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("how", ["refresh", "force", "sync"])
@pytest.mark.parametrize(("definition", "happens"), CASES.values(), ids=CASES)
def test_names__that_mean_something_else_are_bound_again(definition, happens, how, make, query):
    calls_own = "extra.nice" in definition
    segment = make(definition=definition) if calls_own else rested(make, definition)
    before = set(segment.member_ids())
    assert found() == {}
    for statement in happens:
        query(statement)
    users = {key for (key,) in query(f"SELECT id FROM {USERS}")}
    meant = {key for (key,) in query(definition)} & users
    assert meant != before
    if how == "sync":
        assert "its text means something else by now" in found()["vip"]
        assert [step.error for step in sync.sync()] == [None]
        assert found() == {}
    assert segment.refresh(force=how == "force").status == "refreshed"
    assert set(segment.member_ids()) == meant
    assert holds(segment, query)
    assert found() == {}
    if not calls_own and "OPERATOR" not in str(happens) and "upper" not in str(happens):
        assert segment.refresh().status == "unchanged"


@pytest.mark.usefixtures("world")
def test_check__says_what_the_text_reads_and_what_the_view_reads(make, query):
    make(definition=GOLD)
    for statement in CASES["tables"][1]:
        query(statement)
    assert found()["vip"] == (
        "its text means something else by now: it reads column user_id of table extra.gold, "
        "and the view reads column user_id of table silver"
    )


@pytest.mark.usefixtures("world")
def test_check__shows_the_view_where_only_the_order_differs(make, query):
    make(definition=CASES["tables that are both read"][0])
    for statement in CASES["tables that are both read"][1]:
        query(statement)
    assert "the view still reads:" in found()["vip"]
    assert found()["vip"].index("FROM silver") < found()["vip"].index("FROM extra.gold")


@pytest.mark.usefixtures("world")
def test_refresh__notes_what_its_text_means_by_now(make, query):
    segment = make(definition=GOLD)
    for statement in CASES["tables"][1]:
        query(statement)
    (note,) = segment.refresh().notes
    assert "it reads column user_id of table extra.gold" in note


@pytest.mark.usefixtures("world")
def test_manager_method__is_bound_again(make, orders, query):
    segment = make(model=ContentType.objects.get_for_model(Order), manager_method="large")
    assert segment.members_count == 8
    query("ALTER TABLE shop_order RENAME TO shop_old")
    query("CREATE TABLE shop_order AS SELECT * FROM shop_old WHERE amount > 400")
    try:
        assert "it reads " in found()["vip"]
        assert segment.refresh().members_count == 1
        assert found() == {}
    finally:
        segment.delete()
        query("DROP TABLE shop_order")
        query("ALTER TABLE shop_old RENAME TO shop_order")


SAME = {
    "nothing": (GOLD, ()),
    "a new column": (GOLD, ("ALTER TABLE extra.gold ADD extra_column integer",)),
    "a column that is not read": (GOLD, ("ALTER TABLE extra.gold RENAME word TO words",)),
    "another table": (GOLD, ("ALTER TABLE extra.silver RENAME TO tin",)),
    "a frozen time": (f"SELECT id FROM {USERS} WHERE date_joined > 'now'", ()),
    "a range of frozen times": (
        f"SELECT id FROM {USERS} WHERE date_joined <@ '[now,)'::tstzrange",
        (),
    ),
    "names that need quotes": (
        """SELECT "user_id" AS "a (b) \\ {c}" FROM extra.gold AS "x ) :location 5" """,
        (),
    ),
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("definition", "happens"), SAME.values(), ids=SAME)
def test_view__is_not_replaced_where_its_text_means_the_same(definition, happens, make, query):
    segment = make(definition=definition)
    before = bound_at(query)
    for statement in happens:
        query(statement)
    assert found() == {}
    assert segment.refresh(force=True).status == "refreshed"
    assert bound_at(query) == before


@pytest.mark.usefixtures("world")
def test_view__is_not_replaced_after_its_segment_was_renamed(make, query):
    segment = make("long-slug", definition=f"{GOLD} WHERE flag > 0 -- all")
    segment.slug = "vip"
    segment.save()
    before = bound_at(query)
    segment.refresh(force=True)
    assert bound_at(query) == before


@pytest.mark.usefixtures("world")
def test_refresh__does_not_wait_for_a_reader_of_the_live_view(make, session, settings):
    settings.SEGMENTS_LOCK_TIMEOUT = 1
    segment, reader = make(definition=GOLD), session()
    reader.autocommit = False
    reader.execute("SELECT count(*) FROM segments_live.vip")
    assert segment.refresh(force=True).status == "refreshed"


@pytest.mark.usefixtures("world")
def test_circle__that_a_rename_closes_is_refused(make, query):
    make("first", definition=GOLD)
    second = make("second", definition="SELECT user_id FROM segments.first")
    query("CREATE VIEW extra.bridge AS SELECT user_id FROM segments.second")
    for statement in swapped("TABLE", "silver", "gold"):
        query(statement)
    query("ALTER TABLE extra.gold RENAME TO lead")
    query("ALTER VIEW extra.bridge RENAME TO gold")
    first = Segment.objects.get(slug="first")
    with pytest.raises(SegmentDefinitionError, match="first -> second -> first"):
        first.refresh()
    assert first.status == "failed"
    assert second.refresh().members_count == 4
    query("DROP VIEW extra.gold")
