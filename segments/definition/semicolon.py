"""Take away the semicolon at the end of a definition, which a view cannot contain.

This reads tokens as the lexer of Postgres does (`scan.l`), as far as needed to know whether a
semicolon ends the statement or is part of a literal, a name or a comment.
"""

import re
from functools import cache

LETTER = r"[A-Za-z_\x80-\U0010ffff]"

BLANK = r"[ \t\n\r\f\v]"

LINE_COMMENT = r"--[^\n\r]*"

ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
"""A literal in which a backslash escapes the next character."""

CONTINUED = rf"(?:(?:[ \t\f\v]|{LINE_COMMENT})*[\n\r](?:{BLANK}|{LINE_COMMENT}[\n\r])*{ESCAPED})*"
"""The parts of such a literal on the next lines. They need no prefix of their own."""

COMMENT_BOUNDARY = re.compile(r"/\*|\*/")


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
    """Return the index behind a comment and the comments in it; -1 if it does not end.

    Args:
        index: The index behind its start.
    """
    depth = 1
    for boundary in COMMENT_BOUNDARY.finditer(text, index):
        depth += 1 if boundary[0] == "/*" else -1
        if not depth:
            return boundary.end()
    return -1
