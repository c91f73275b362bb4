"""The errors of segments, and the one place that translates the driver's errors into them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django.db
import psycopg

NEXT_STEPS = {
    "2BP01": "First change or delete what reads it.",
    "25006": "Use a connection that can write; a replica cannot.",
    "40001": "Refreshes need READ COMMITTED: set no other isolation level on this connection.",
    "42883": "Check its name and the types of its arguments. If it is a function of the "
    "segments' schema, this creates it: manage.py sync_segments",
    "42P01": "Check its name. If it is the view of a segment, this creates it: "
    "manage.py sync_segments",
    "42601": "A definition is one SELECT that returns user ids, without a semicolon at its end.",
    "3F000": "Check its name. If it is the schema of the segments, this creates it: "
    "manage.py sync_segments",
    "42501": "Grant this privilege to the role that owns the segments' views (if that is a role "
    "of its own: manage.py grant_segments), or read less: SELECT * reads all columns.",
    "53200": "Work on fewer segments in one transaction: each takes about 20 locks.",
    "55000": "If it is the view of a segment, refresh it: manage.py refresh_segments",
    "55P03": "Another session holds it; try again, or raise SEGMENTS_LOCK_TIMEOUT.",
    "57014": "If it took too long, make the definition cheaper (is an index missing?), or raise "
    "SEGMENTS_STATEMENT_TIMEOUT.",
}
"""What to do next, by SQLSTATE."""

DETACHED = re.compile(r'segment ".*" is detached')
"""The message of a detached live view, which comes with the right hint."""

WIDTH = 120
"""How many characters of a line a message shows."""

SAFE_SQLSTATE_CLASSES = {"08", "25", "2B", "3F", "40", "42", "53", "54", "55", "57", "58"}
"""The classes of SQLSTATE whose messages name objects and limits, and never quote rows."""

UNSAFE_SQLSTATES = {"42601"}
"""syntax_error, which quotes the definition, and so perhaps a value."""

LOCK_STATES = {"55P03", "40P01"}
"""lock_not_available and deadlock_detected."""


class SegmentError(Exception):
    """Something is wrong with a segment.

    Attributes:
        slug: The segment, if the error concerns one.
        field: The field of the segment to change, if there is one.
        hint: What to do next, if known.
        sqlstate: Postgres' error code of five characters, if Postgres refused.
        line, column: The position in the definition, both from 1, if Postgres reported it.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        slug: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.slug, self.field, self.hint = slug, field, hint
        self.sqlstate: str | None = None
        self.line: int | None = None
        self.column: int | None = None
        self.excerpt = ""
        super().__init__(self.message)

    def __str__(self) -> str:
        text, subject = self.message, f'segment "{self.slug}"'
        if self.slug and not text.startswith(f"{subject} "):
            text = f"{subject}: {text}"
        if self.line:
            text += f" (line {self.line}, column {self.column})"
        if self.excerpt:
            text += f"\n{self.excerpt}"
        if self.hint:
            text += f"\nHint: {self.hint}"
        return text


class SegmentDefinitionError(SegmentError, ValueError):
    """The definition of the segment is not valid."""


class SegmentCostError(SegmentDefinitionError):
    """The planner prices the definition higher than SEGMENTS_MAX_COST."""


class SegmentExecutionError(SegmentError):
    """Postgres could not evaluate or change the segment."""


class SegmentLockedError(SegmentExecutionError):
    """Another session is changing or refreshing the segment."""


def for_log(error: Exception) -> str:
    """Return the text of an error without anything that it may quote from data or a definition.

    Postgres' messages and details quote values if the values are wrong.
    """
    if not isinstance(error, SegmentError):
        error = from_driver(error, SegmentError)
    state, cause = error.sqlstate, error.__cause__
    if state and (state[:2] not in SAFE_SQLSTATE_CLASSES or state in UNSAFE_SQLSTATES):
        text = f"an error of Postgres, SQLSTATE {state}"
    elif cause is None or isinstance(cause, SegmentError | django.db.Error | psycopg.Error):
        text = error.message.partition("\n")[0]
    else:
        text = f"{type(cause).__name__} was raised"
    return f'segment "{error.slug}": {text}' if error.slug else text


@contextmanager
def translated(
    kind: type[SegmentError], slug: str | None = None, **options: Any
) -> Iterator[None]:
    """Raise the driver's errors as `kind`, with the arguments of `from_driver`."""
    try:
        yield
    except (django.db.Error, psycopg.Error) as error:
        raise from_driver(error, kind, slug, **options) from error


def from_driver(
    error: Exception,
    kind: type[SegmentError],
    slug: str | None = None,
    *,
    field: str | None = None,
    source: str = "",
    offset: int = 0,
) -> SegmentError:
    """Return an error of the driver as a `SegmentError`.

    Args:
        error: The driver's error, or Django's around it.
        kind: The class of the result. A lock that could not be acquired becomes a
            SegmentLockedError instead.
        slug: The segment that is being worked on.
        field: The field of the segment that holds `source`.
        source: The text of its author, which line and column point into.
        offset: How many characters precede `source` in the statement that was sent.
    """
    cause = error.__cause__ if isinstance(error, django.db.Error) else error
    if not isinstance(cause, psycopg.Error):
        return kind(str(error), slug=slug, field=field)
    if cause.sqlstate in LOCK_STATES:
        kind = SegmentLockedError
    message = cause.diag.message_primary or str(cause)
    if cause.diag.message_detail:
        message += f"\n{cause.diag.message_detail}"
    result = kind(message, slug=slug, field=field)
    hint = cause.diag.message_hint
    detached = DETACHED.match(cause.diag.message_primary or "")
    result.hint = hint if detached else NEXT_STEPS.get(cause.sqlstate or "") or hint
    result.sqlstate = cause.sqlstate
    if cause.diag.statement_position:
        locate(result, source, int(cause.diag.statement_position) - offset - 1)
    return result


def locate(error: SegmentError, source: str, index: int) -> None:
    """Set line, column and excerpt for a position, if it lies in the source."""
    if not 0 <= index <= len(source):
        return
    before = source[:index]
    error.line = before.count("\n") + 1
    error.column = index - (before.rfind("\n") + 1) + 1
    line = source.split("\n")[error.line - 1].replace("\t", " ").rstrip("\r")
    place = error.column - 1
    if len(line) > WIDTH:  # Show only the part around the place.
        start = max(0, place - WIDTH // 2)
        before, after = "..." if start else "", "..." if start + WIDTH < len(line) else ""
        line, place = f"{before}{line[start : start + WIDTH]}{after}", place - start + len(before)
    error.excerpt = f"  {line}\n  {' ' * place}^"
