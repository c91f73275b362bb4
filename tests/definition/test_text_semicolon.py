"""A semicolon at the end of a definition: it is taken away, and nothing else is."""

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segments import sync
from segments.definition.select import describe
from segments.definition.text import without_semicolon
from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from tests.conftest import EVEN, USERS

pytestmark = pytest.mark.django_db

ENDS = {
    "alone": ("", ";"),
    "after blanks": ("  \n ", ";"),
    "before blanks": ("", "; \t\r\n\f "),
    "several": ("", ";; ;"),
    "before a comment": ("", "; -- done; really"),
    "before a long comment": ("", ";\n/* a ; /* nested ; */ ' $$ */\n"),
    "between comments": (" -- it's\n", '; /* " */ ; -- $$'),
    "after a comment without blanks": ("/**/", ";/*;*/"),
}
"""What stands between a statement and its semicolon, and the rest."""

KEPT = {
    "in a literal": "SELECT ';'",
    "in a literal with a quote": "SELECT 'it''s;'",
    "in an escaped literal": r"SELECT E'\';'",
    "in a literal on two lines": "SELECT E'a'\n -- b\n '\\';'",
    "in a literal after a backslash": r"SELECT '\', ';'",
    "in a Unicode literal": r"SELECT U&'\003b;'",
    "in a bit string": "SELECT B'1', ';'",
    "in a name": 'SELECT 1 AS ";"',
    "in a name with a quote": 'SELECT 1 AS "a"";"',
    "in dollar quotes": "SELECT $$;$$",
    "in dollar quotes with a tag": "SELECT $a$ $b$ ; $$ ; $a$",
    "in dollar quotes with a letter": "SELECT $ä$ ; $ä$",
    "in a line comment": "SELECT 1 -- ;",
    "in a comment": "SELECT 1 /* ; */",
    "in a nested comment": "SELECT 1 /* /* */ ; */",
    "in a comment after an operator": "SELECT 1 +/* ; */ 2",
}


ends = pytest.mark.parametrize("end", [*map("".join, ENDS.values())], ids=ENDS)


@pytest.mark.parametrize(("before", "after"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_semicolon__goes_and_those_of_the_statement_stay(text, before, after):
    assert without_semicolon(text) == text
    assert without_semicolon(f"{text}\n{before}{after}") == f"{text}\n{before}"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1; SELECT 2",
        "SELECT a$$; SELECT $$",
        "; SELECT 1",
        r"SELECT E'\\'; SELECT '",
        "SELECT 1; /* open",
        'SELECT 1; "',
    ],
)
def test_semicolon__before_anything_else_stays(text):
    assert without_semicolon(text) == text


def test_semicolon__where_backslashes_escape():
    text = r"SELECT 'a\'; "
    assert without_semicolon(text) == r"SELECT 'a\'"
    assert without_semicolon(rf"{text}b';", escapes=True) == rf"{text}b'"


@pytest.mark.roles
@ends
def test_definition__with_a_semicolon_works_everywhere(end, staff, make, query):
    text = f"SELECT id FROM {USERS} WHERE is_staff AND ';' = $$;$$"
    Segment(name="New", slug="new", definition=f"{text}{end}").clean()
    preview = Segment(name="New", slug="new", definition=f"{text}{end}").preview()
    assert (preview.members_count, preview.exact) == (5, True)
    segment = make(definition=f"{text}{end}")
    segment.refresh_from_db()
    assert segment.definition == f"{text}{end}"
    assert len(segment) == segment.members_live.count() == 5
    staff(1)
    assert (segment.refresh().members_count, segment.refresh(force=True).members_count) == (1, 1)
    assert sync.check() == []
    ((before,),) = query("SELECT pg_get_viewdef('segments_live.vip'::regclass)")
    segment.definition = text
    segment.save()
    assert query("SELECT pg_get_viewdef('segments_live.vip'::regclass)") == [(before,)]


@ends
def test_definition__of_two_statements_is_refused(end, users):
    segment = Segment(name="Bad", slug="bad", definition=f"{EVEN}; DELETE FROM {USERS}{end}")
    with pytest.raises(SegmentDefinitionError, match="multiple commands"):
        segment.save()
    with pytest.raises(ValidationError, match="multiple commands"):
        segment.clean()


def test_definition__of_semicolons_only_is_refused(users):
    with pytest.raises(SegmentDefinitionError, match="returns no columns"):
        Segment(name="Bad", slug="bad", definition=" ; -- nothing\n ;").save()


def test_error__points_into_what_was_typed(users):
    text = f"-- ; first\nSELECT id FROM {USERS}\nWHERE plan = ';' ; -- ;\n"
    with pytest.raises(SegmentDefinitionError, match='column "plan" does not exist') as caught:
        Segment(name="Bad", slug="bad", definition=text).save()
    assert (caught.value.line, caught.value.column) == (3, 7)


def test_list__beside_a_definition_with_a_semicolon(staff, users, make):
    segment = make(definition=f"{EVEN} ; -- all", static_ids=[users[1]])
    assert len(segment) == 6


NASTY = st.text(alphabet="';\"\\$-/*\nab é", max_size=8)


def _escaped(content):
    return "E'" + content.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _doubled(content):
    return "'" + content.replace("\\", "").replace("'", "''") + "'"


TOKENS = st.one_of(
    NASTY.map(_doubled),
    NASTY.map(_escaped),
    NASTY.map(lambda content: f"$q${content.replace('$', '')}$q$"),
    NASTY.map(lambda content: '1 AS "x' + content.replace('"', '""') + '"'),
    NASTY.map(lambda content: f"2 -- {content}".replace("\n", " ") + "\n"),
    NASTY.map(lambda content: f"3 /*/* {content.replace('/', '')} */*/"),
    st.sampled_from(["4 AS a$$", "5 - - 6", "E'a'\n'\\';'", "U&';'", "7 AS é$b$", "B'1'"]),
)

BLANKS = st.lists(
    st.sampled_from([" ", "\n", "\t", "-- a ' ; \n", "/* ; ' /* $$ */ */", ";"]), max_size=6
).map("".join)


@pytest.mark.slow
@settings(
    max_examples=300, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(tokens=st.lists(TOKENS, min_size=1, max_size=5), blanks=BLANKS, plain=st.booleans())
def test_random__statement_keeps_all_but_its_end(tokens, blanks, plain, db):
    """What Postgres takes for one statement, it takes in parentheses as well."""
    text = f"SELECT 0 AS id, {', '.join(tokens)};{blanks}"
    with transaction.atomic():
        with connection.cursor() as cursor:
            value = "on" if plain else "off"
            cursor.execute("SELECT set_config('escape_string_warning', 'off', true)")
            cursor.execute("SELECT set_config('standard_conforming_strings', %s, true)", [value])
        try:
            columns = [(column.name, column.type) for column in describe(connection, text)]
        except psycopg.Error:  # A Unicode literal where backslashes escape.
            assert not plain
            transaction.set_rollback(True)
            return
        statement = without_semicolon(text, escapes=not plain)
        assert text.startswith(statement)
        wrapped = f"SELECT * FROM (\n{statement}\n) AS q"
        assert [(c.name, c.type) for c in describe(connection, wrapped)] == columns
        assert without_semicolon(f"{statement}\n;{blanks}", escapes=not plain) == f"{statement}\n"
        transaction.set_rollback(True)
