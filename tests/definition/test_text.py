"""Characters that nobody sees: replaced where they mean nothing, named elsewhere."""

import pytest

from segments.definition.text import clean_sql, strip_blanks, unseen_in
from segments.exceptions import SegmentDefinitionError
from segments.models import Segment
from tests.conftest import USERS

BOM, ZERO, JOINER, NO_BREAK, LINE = "\ufeff", "\u200b", "\u200c", "\u00a0", "\u2028"


@pytest.mark.parametrize(
    ("pasted", "cleaned"),
    [
        (f"{BOM}SELECT id", " SELECT id"),
        (f"SELECT{NO_BREAK}id{NO_BREAK}", "SELECT id "),
        (f"SELECT\u2003id\u3000FROM{LINE}t", "SELECT id FROM t"),
        (f"SELECT {ZERO}id, {ZERO}{BOM}x FROM t{ZERO}", "SELECT  id,   x FROM t "),
        (f"count({ZERO}id{ZERO}){ZERO}>1", "count( id ) >1"),
        (f"a{ZERO}={ZERO}1", "a = 1"),
        (f"a{ZERO}{NO_BREAK}b", "a  b"),
        (f"a -- x{NO_BREAK}y{ZERO}\n,{NO_BREAK}b", f"a -- x{NO_BREAK}y{ZERO}\n, b"),
        (f"a /* /* {ZERO} */ {LINE} */{NO_BREAK}b", f"a /* /* {ZERO} */ {LINE} */ b"),
        (f"'x{NO_BREAK}''{ZERO}'{NO_BREAK}", f"'x{NO_BREAK}''{ZERO}' "),
        (f'"x{ZERO}y"{NO_BREAK}', f'"x{ZERO}y" '),
        (f"e'\\'{NO_BREAK}'{NO_BREAK}", f"e'\\'{NO_BREAK}' "),
        (f"e'a'\n'\\'{NO_BREAK}'{NO_BREAK}", f"e'a'\n'\\'{NO_BREAK}' "),
        (f"'\\'{NO_BREAK}", "'\\' "),
        (f"$${ZERO}$a$ $${NO_BREAK}", f"$${ZERO}$a$ $$ "),
        (f"$a${ZERO}$$ $a${NO_BREAK}", f"$a${ZERO}$$ $a$ "),
        (f"x$1${NO_BREAK}$1$", "x$1$ $1$"),
        (f"'open {NO_BREAK}", f"'open {NO_BREAK}"),
        (f"/* open {NO_BREAK}", f"/* open {NO_BREAK}"),
        ("SELECT é FROM naïve", "SELECT é FROM naïve"),
        (f"SELECT می{JOINER}خواهم", f"SELECT می{JOINER}خواهم"),
    ],
    ids=ascii,
)
def test_clean_sql__puts_spaces_where_nothing_is_meant(pasted, cleaned):
    assert clean_sql("vip", pasted) == cleaned
    assert len(pasted) == len(cleaned)


@pytest.mark.parametrize(
    ("pasted", "named", "line", "column"),
    [
        (f"SELECT id\nFROM us{ZERO}ers", "U+200B in a word", 2, 8),
        (f"a >{BOM}= b", "U+FEFF in a word", 1, 4),
        (f"t.{ZERO}id", "U+200B in a word", 1, 3),
        (f"e{ZERO}'x'", "U+200B in a word", 1, 2),
        (f"us{JOINER}ers", "U+200C in a word", 1, 3),
        (f"SELECT id -- all{LINE}WHERE a", "the comment does not end at U+2028", 1, 17),
        ("SELECT id -- all\x85WHERE a", "the comment does not end at U+0085", 1, 17),
    ],
    ids=ascii,
)
def test_clean_sql__names_what_may_mean_something(pasted, named, line, column):
    with pytest.raises(SegmentDefinitionError) as caught:
        clean_sql("vip", pasted)
    assert named in str(caught.value)
    assert f"(line {line}, column {column})" in str(caught.value)
    assert caught.value.field == "definition"


def test_ids__lose_what_nobody_sees_at_their_ends():
    assert strip_blanks(f"{BOM}{NO_BREAK} 17{ZERO}\t\u202c\u2060") == "17"
    assert strip_blanks(f"{BOM}{ZERO} ") == ""
    assert strip_blanks(f"a{JOINER}b") == f"a{JOINER}b"
    assert unseen_in(f"1{ZERO}7{NO_BREAK}{ZERO}é") == "U+200B, U+00A0"


PASTED = (
    f"{BOM}SELECT{NO_BREAK}id{ZERO}\nFROM {USERS}{NO_BREAK}WHERE{NO_BREAK}username{ZERO} >= 'u5'"
)


@pytest.mark.django_db
@pytest.mark.roles
def test_pasted_sql__has_the_members_that_it_seems_to_have(users, make):
    segment = make(definition=PASTED)
    assert set(segment.members) == set(users[5:])
    assert segment.preview().members_count == 5
    segment.full_clean()
    result = segment.refresh(force=True)
    assert (result.members_count, result.added, result.removed) == (5, 0, 0)
    assert Segment.objects.get().definition == PASTED


@pytest.mark.django_db
def test_pasted_sql__keeps_the_positions_of_errors(users, make):
    with pytest.raises(SegmentDefinitionError) as caught:
        make(definition=f"{BOM}SELECT{NO_BREAK}id{ZERO}\nFROM{NO_BREAK}nowhere")
    assert (caught.value.line, caught.value.column) == (2, 6)


@pytest.mark.django_db
def test_preview__warns_of_what_nobody_sees_in_quotes(users):
    text = f"SELECT id FROM {USERS}\nWHERE username <> 'u{ZERO}1'"
    (warning,) = Segment(slug="x", definition=text).preview().warnings
    assert warning == "The text in quotes in line 2 has characters that nobody sees: U+200B."
    assert Segment(slug="x", definition=f"SELECT id FROM {USERS}").preview().warnings == ()
