"""The gate, with definitions that are composed at random from dangerous pieces."""

from contextlib import suppress

import django.db
import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segments.exceptions import SegmentDefinitionError, SegmentError, SegmentExecutionError
from segments.models import Segment
from segments.saving import try_definition
from tests.conftest import USERS
from tests.gate.positions import ALLOWED_CALL, DEFINITIONS, EXPRESSIONS, ORDERS, REFUSED_CALLS

pytestmark = pytest.mark.django_db

FIXED = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}

VALID = [
    f"SELECT id FROM {USERS}",
    f"(SELECT id FROM {USERS})",
    "TABLE segments.vip",
    "SELECT user_id FROM shop_order WHERE amount > 100",
    "SELECT user_id, count(*) FROM shop_order GROUP BY user_id HAVING sum(amount) > 100",
    f"WITH few AS (SELECT id FROM {USERS} LIMIT 3) SELECT id FROM few",
    "VALUES (1::bigint), (NULL), (999999999)",
    f"SELECT id FROM {USERS} UNION ALL SELECT user_id FROM shop_order",
    'SELECT user_id AS "a b" FROM shop_order -- all',
    f"SELECT u.id FROM {USERS} u LEFT JOIN shop_order o ON o.user_id = u.id WHERE $x$;$x$ <> ''",
]

PIECES = [
    "(", ")", "((", "))", ";", "'", '"', "--", "--\n", "/*", "*/", "$$", "$x$", "\\", "E'", "U&'",
    'U&"', "'; ", "\n", "\r", "\t", "\0", "%s", "{definition}", "$1", ",", ".", "::", "::bigint",
    "AS id", "AS definition", ") AS definition", ") AS definition WHERE true", "u.id",
    "definition.id", "UNION ALL SELECT 999999999::bigint", "FROM (SELECT 1 AS id",
    "WHERE 1 IN (SELECT 1", "*", "; DROP TABLE vault", "; DROP TABLE vault --", "; COMMIT",
    "; SET ROLE none", "; DELETE FROM vault", "WITH w AS (DELETE FROM vault RETURNING id) ",
    "INTO stolen", "FOR UPDATE", "LIMIT 1", "OFFSET 1", "ORDER BY 1", "EXPLAIN ANALYZE ",
    "COPY (", ") TO PROGRAM 'true'", "RETURNING id", "vault", "secret", "NULL", "-1", "1e400",
    "0x", "set_config('role', 'none', true)", "pg_catalog.", "pg_temp.vip", "LATERAL",
    "TABLESAMPLE SYSTEM (1)", "WINDOW w AS ()", "GROUPING SETS (())", "UESCAPE '!'", "\ud800",
    "\u00a0", "\u202e", "\uff08", "\U0001f600", "segments_live.is_member('vip', 1::bigint)",
    "1 / 0", "pg_try_advisory_lock(4242)", "AND lo_create(0) > 0", ", nextval('public.calls')",
    "UNION SELECT pg_notify('segments', 'x')::text::bigint", ", set_config('app.x', 'y', false)",
]  # fmt: skip


@st.composite
def definitions(draw):
    """Compose a definition from valid ones: insert some pieces, cut others out."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["put", "put", "cut", "wrap", "join", "end"])):
            case "put":
                text = text[:place] + draw(st.sampled_from(PIECES)) + text[place:]
            case "cut":
                text = text[:place] + text[place + draw(st.integers(1, 9)) :]
            case "wrap":
                before, after = draw(
                    st.sampled_from(
                        [
                            ("(", ")"),
                            ("SELECT * FROM (", ") q"),
                            ("/*", "*/"),
                            ("$$", "$$"),
                            ("SELECT 1 AS id) AS definition) UNION (", " WHERE ((true"),
                            ("WITH q AS (", ") SELECT * FROM q"),
                        ]
                    )
                )
                text = before + text + after
            case "join":
                between = draw(
                    st.sampled_from([";", " UNION ", " EXCEPT ", "\n", " ) ( ", "--\n"])
                )
                text = text + between + draw(st.sampled_from(VALID))
            case "end":
                text = f"{text} {draw(st.sampled_from(PIECES))}"
    return text


@st.composite
def calls(draw):
    """Compose a definition with a random call deep in expressions and queries."""
    expression = "{call}"
    for _ in range(draw(st.integers(0, 4))):
        around = draw(st.sampled_from([*EXPRESSIONS.values()]))
        # Converts a value of any type to an integer.
        expression = around.replace("{call}", f"length(({expression})::text)")
    text = draw(st.sampled_from([*DEFINITIONS.values()]))
    text = text.replace("{call}", f"length(({expression})::text)")
    for _ in range(draw(st.integers(0, 2))):
        around = draw(
            st.sampled_from(
                [
                    "SELECT * FROM ({text}) q",
                    "WITH q AS ({text}) SELECT * FROM q",
                    f"{ORDERS} WHERE EXISTS ({{text}})",
                    f"{ORDERS} WHERE (SELECT count(*) FROM ({{text}}) q) >= 0",
                ]
            )
        )
        text = around.replace("{text}", text)
    return text, draw(st.sampled_from([*REFUSED_CALLS.values()]))


@pytest.fixture
def fuzz(vip, look, users, query):
    """Evaluate a definition in one way; return whether it was accepted."""
    everyone = {user.pk for user in users}
    start = look()

    def evaluate(text):
        members, segment = None, Segment(name="x", slug="x", definition=text)
        try:
            with transaction.atomic():
                segment.save()
                members = set(segment.member_ids())
                live = {user.pk for user in users if segment.has_member_live(user)}
                listed = set(segment.members_live.values_list("pk", flat=True))
                transaction.set_rollback(True)
        except SegmentError:
            pass
        assert look() == start
        if members is None:
            return False
        assert members <= everyone
        # A volatile definition, or a LIMIT without an order, may return other users each time.
        assert (live | listed) <= everyone
        return True

    return evaluate


@pytest.mark.slow
def test_composed_definition__changes_nothing(fuzz):
    came = []

    @settings(max_examples=200, **FIXED)
    @given(definitions())
    def check(text):
        came.append(fuzz(text))

    check()
    assert came.count(True) > 10
    assert came.count(False) > 10


@pytest.mark.slow
def test_composed_call__is_seen_however_deep_it_stands(vip, look):
    start = look()

    @settings(max_examples=200, **FIXED)
    @given(calls())
    def check(composed):
        text, call = composed
        with pytest.raises(SegmentDefinitionError) as caught, transaction.atomic():
            Segment(name="x", slug="x", definition=text.replace("{call}", call)).save()
        assert caught.value.message.startswith("the definition calls ")
        # A harmless call is accepted, even if its evaluation fails.
        with suppress(SegmentExecutionError), transaction.atomic():
            try_definition(
                Segment(name="x", slug="x", definition=text.replace("{call}", ALLOWED_CALL)), None
            )

    check()
    assert look() == start


@pytest.mark.slow
def test_text__is_refused(fuzz):
    @settings(max_examples=40, **FIXED)
    @given(st.text(min_size=1))
    def check(text):
        assert not fuzz(text)

    check()


def test_gate__compiles_what_it_takes_within_its_wrapper(vip, query):
    """Postgres parses the whole as one SELECT with the one expected column."""
    from django.db import connection

    from segments.definition.select import Definition, compile_definition, describe

    @settings(max_examples=150, **FIXED)
    @given(definitions())
    def check(text):
        try:
            with transaction.atomic():
                compiled = compile_definition(connection, Definition("x", text))
                whole = describe(connection, compiled.select)
                # Without a LIMIT, so that a definition that breaks out shows.
                query(f"SELECT count(*) FROM (\n{compiled.select.replace('%', '%%')}\n) q LIMIT 0")
        except (SegmentDefinitionError, django.db.Error):
            return
        assert [column.name for column in whole] == ["user_id"]
        assert compiled.select.endswith(("IS NOT NULL", ") AS definition)"))

    check()
