"""What people paste: unseen characters, and a semicolon at the end of a definition.

A view cannot contain the semicolon. Whether it ends the statement, or is part of a literal, a name
or a comment, is decided by reading tokens as the lexer of Postgres does (`scan.l`).
"""

import re
import string
from collections.abc import Iterator
from functools import cache

from segments.exceptions import SegmentDefinitionError, locate

SPACES = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""What looks like a space. Postgres takes all but the spaces of ASCII for letters."""

LINE_BREAKS = "\x85\u2028\u2029"
"""Those of them that look like the end of a line. They do not end a comment in SQL."""

JOINERS = "\u200c\u200d"
"""Characters without a width that are part of words in some scripts."""

ZERO_WIDTH = "\xad\u034f\u061c\u180e\u200b\u200e\u200f\ufeff" + JOINERS
ZERO_WIDTH += "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2060, 0x2070))))
"""What has no width: the byte order mark, marks of direction, and the like."""

UNSEEN = re.compile(f"[{SPACES}{ZERO_WIDTH}]+")

BLANKS = string.whitespace + SPACES + ZERO_WIDTH

NEUTRAL = "(),;[]" + string.whitespace
OPERATORS = "+-*/<>=~!@#%^&|`?:"

QUOTED_OR_COMMENT = re.compile(
    r"""
    (?P<comment> --[^\n\r]* )
    | (?P<block> /\* )
    | (?P<quoted>
        (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*(?:'(?:\s*\n\s*'(?:[^'\\]|\\.|'')*')*|\Z)
        | '(?:[^']|'')*(?:'|\Z)
        | "(?:[^"]|"")*(?:"|\Z)
        | (?<![\w$])\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$
            .*?(?:\$(?P=tag)\$|\Z)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
"""What Postgres takes literally, up to the end of the text if it is not closed."""

LETTER = r"[A-Za-z_\x80-\U0010ffff]"

BLANK = r"[ \t\n\r\f\v]"

LINE_COMMENT = r"--[^\n\r]*"

ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
"""A literal in which a backslash escapes the next character."""

CONTINUED = rf"(?:(?:[ \t\f\v]|{LINE_COMMENT})*[\n\r](?:{BLANK}|{LINE_COMMENT}[\n\r])*{ESCAPED})*"
"""The parts of such a literal on the next lines. They need no prefix of their own."""

COMMENT_BOUNDARY = re.compile(r"/\*|\*/")


def strip_blanks(text: str) -> str:
    """Return a text without spaces of any kind, and characters without a width, at its ends."""
    return text.strip(BLANKS)


def unseen_in(text: str) -> str:
    """Return the names of the characters that nobody sees, such as `U+200B, U+00A0`."""
    unseen = dict.fromkeys("".join(UNSEEN.findall(text)))
    return ", ".join(map(_name, unseen))


def clean_sql(slug: str, text: str, field: str = "definition") -> str:
    """Return a definition with ordinary spaces in place of characters that nobody sees.

    That is done where they can mean nothing: outside of quotes, comments, words and operators.
    Each becomes one space, so all positions stay the same.

    Raises:
        SegmentDefinitionError: naming a character inside a word or an operator, and one that
            looks like the end of a comment, but is not.
    """
    if not UNSEEN.search(text):
        return text
    cleaned = list(text)
    for kind, start, end in _parts(text):
        for match in UNSEEN.finditer(text, start, end) if kind == "code" else ():
            if _means_nothing(text, *match.span()):
                cleaned[match.start() : match.end()] = " " * len(match[0])
            elif not _is_joiner(text, *match.span()):
                raise _named(slug, text, match.start(), "the definition has {} in a word", field)
        for place in range(start, end) if kind == "comment" else ():
            if text[place] in LINE_BREAKS and strip_blanks(text[place:end]):
                raise _named(slug, text, place, "the comment does not end at {}", field)
    return "".join(cleaned)


def unseen_in_quotes(text: str) -> Iterator[tuple[int, str]]:
    """Yield the index and the names of the characters that nobody sees, where they may matter."""
    for kind, start, end in _parts(text):
        match = UNSEEN.search(text, start, end) if kind == "quoted" else None
        if match:
            yield match.start(), unseen_in(text[start:end])


def _parts(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (kind, start, end) of the parts of SQL: `code`, `quoted`, `comment` and `block`."""
    place = 0
    while match := QUOTED_OR_COMMENT.search(text, place):
        yield "code", place, match.start()
        kind, end = match.lastgroup or "", match.end()
        if kind == "block":
            end = _comment_end(text, end)
            end = len(text) if end < 0 else end
        yield kind, match.start(), end
        place = end
    yield "code", place, len(text)


def _sides(text: str, start: int, end: int) -> tuple[str, str]:
    """Return the characters on both sides of a place; a space at the ends of the text."""
    return text[start - 1 : start] or " ", text[end : end + 1] or " "


def _means_nothing(text: str, start: int, end: int) -> bool:
    """Return whether spaces in this place split nothing that is one word or one operator."""
    before, after = _sides(text, start, end)
    if before in NEUTRAL or after in NEUTRAL or set(text[start:end]) & set(SPACES):
        return True
    return (before in OPERATORS) != (after in OPERATORS)


def _is_joiner(text: str, start: int, end: int) -> bool:
    """Return whether a word in a script that needs it has a joiner in this place."""
    return set(text[start:end]) <= set(JOINERS) and min(_sides(text, start, end)) > "\x7f"


def _name(char: str) -> str:
    return f"U+{ord(char):04X}"


def _named(slug: str, text: str, place: int, reason: str, field: str) -> SegmentDefinitionError:
    error = SegmentDefinitionError(
        reason.format(_name(text[place])),
        slug=slug,
        field=field,
        hint="Nobody sees this character: delete it.",
    )
    locate(error, text, place)
    return error


def without_semicolon(text: str, escapes: bool = False) -> str:
    """Return a statement up to a semicolon that only semicolons, blanks and comments follow.

    Without such a semicolon, return the whole text. The result is always a start of the text, so
    positions in it are positions in the text.

    Args:
        text: One statement that Postgres has parsed, so all its literals and comments end.
        escapes: Whether a backslash escapes in plain literals, as it does if
            `standard_conforming_strings` is off.
    """
    if ";" not in text:
        return text
    token, end, index = _token(escapes), None, 0
    while match := token.match(text, index):
        index = match.end()
        if match.lastgroup == "comment":
            index = _comment_end(text, index)
            if index < 0:
                return text
        elif match.lastgroup == "semicolon":
            end = match.start() if end is None else end
        elif match.lastgroup != "blank":
            end = None
    return text[:end]


@cache
def _token(escapes: bool) -> "re.Pattern[str]":
    """Return the pattern of a token, or of a part of one if that cannot contain a semicolon."""
    plain = f"{ESCAPED}{CONTINUED}" if escapes else r"'(?:[^']|'')*'"
    return re.compile(
        rf"""
        (?P<blank>{BLANK}+|{LINE_COMMENT})
        | (?P<comment>/\*)  # Only its start: comments nest.
        | (?P<semicolon>;)
        | [eE]{ESCAPED}{CONTINUED}
        | {plain}
        | "(?:[^"]|"")*"
        | {LETTER}(?:{LETTER}|[0-9$])*
        | \$(?P<tag>(?:{LETTER}(?:{LETTER}|[0-9])*)?)\$.*?\$(?P=tag)\$
        | [0-9.,()]+
        | .
        """,
        re.DOTALL | re.VERBOSE,
    )


def _comment_end(text: str, index: int) -> int:
    """Return the index behind a comment and the comments nested in it; -1 if it does not end.

    Args:
        index: The index behind its start.
    """
    depth = 1
    for boundary in COMMENT_BOUNDARY.finditer(text, index):
        depth += 1 if boundary[0] == "/*" else -1
        if not depth:
            return boundary.end()
    return -1
