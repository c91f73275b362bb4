"""What can go wrong with a segment, and the one place where the driver's errors become that."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import django.db
import psycopg

NEXT_STEPS = {
    "2BP01": "Change or delete what reads it first.",
    "25006": "Run this on a connection that may write; a replica cannot.",
    "40001": "Refreshes need READ COMMITTED: leave the isolation level of this connection at it.",
    "42883": "Check its name, and the types of what it is given. If it is a function of the "
    "segments' schema, this creates it: manage.py sync_segments",
    "42P01": "Check its name. If it is the view of a segment, this creates it: "
    "manage.py sync_segments",
    "42601": "A definition is one SELECT that gives user ids, with no semicolon at its end.",
    "3F000": "Check its name. If it is that of the segments, this creates it: "
    "manage.py sync_segments",
    "42501": "Grant this right to the database role that owns the segments' views; with a role "
    "of its own: manage.py grant_segments. Or read what it may; SELECT * reads all columns.",
    "53200": "Work on fewer segments in one transaction: each takes some 20 locks.",
    "55000": "If it is the view of a segment, refresh it: manage.py refresh_segments",
    "55P03": "Somebody else works on it; try again, or raise SEGMENTS_LOCK_TIMEOUT.",
    "57014": "If it took too long, make the definition cheaper (is an index missing?), or raise "
    "SEGMENTS_STATEMENT_TIMEOUT.",
}
"""What to do next, by SQLSTATE."""

DETACHED = re.compile(r'segment ".*" is detached')
"""What reading a detached live view says; its hint is of this package, and fits."""

WIDTH = 120
"""How much of a line a message shows."""

SAFE_SQLSTATE_CLASSES = {"08", "25", "2B", "3F", "40", "42", "53", "54", "55", "57", "58"}
"""The classes of SQLSTATE whose messages name objects and limits, and never values of rows."""

UNSAFE_SQLSTATES = {"42601"}
"""syntax_error: quotes what a definition has there, be it a value."""

LOCK_STATES = {"55P03", "40P01"}
"""lock_not_available and deadlock_detected."""


class SegmentError(Exception):
    """Something is wrong with a segment.

    Attributes:
        slug: The segment that it happened on, if any.
        field: The field of the segment that is to be changed, if one is.
        sqlstate: Postgres' five-letter error code, if Postgres refused.
        line, column: Where in the definition, both from 1, if Postgres said so.
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
        named = not self.slug or self.message.startswith(f'segment "{self.slug}" ')
        text = self.message if named else f'segment "{self.slug}": {self.message}'
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
    """Somebody else is changing or refreshing the segment."""


def for_log(error: Exception) -> str:
    """Return what an error says without what it may quote of the data, or of a definition.

    Postgres' messages and details repeat values where it is values that are wrong.
    """
    if not isinstance(error, SegmentError):
        error = from_driver(error, SegmentError)
    state, cause = error.sqlstate, error.__cause__
    if state and (state[:2] not in SAFE_SQLSTATE_CLASSES or state in UNSAFE_SQLSTATES):
        said = f"an error of Postgres, SQLSTATE {state}"
    elif cause is None or isinstance(cause, SegmentError | django.db.Error | psycopg.Error):
        said = error.message.partition("\n")[0]
    else:
        said = f"{type(cause).__name__} was raised"
    return f'segment "{error.slug}": {said}' if error.slug else said


@contextmanager
def translated(
    kind: type[SegmentError],
    slug: str | None = None,
    *,
    field: str | None = None,
    source: str = "",
    offset: int = 0,
) -> Iterator[None]:
    """Turn the driver's errors into `kind`; a lock that was not had becomes SegmentLockedError.

    Args:
        kind: What to raise.
        slug: The segment that is being worked on.
        field: The field of the segment that holds `source`.
        source: The text its author wrote, to point into.
        offset: How many characters stand before `source` in the statement that is sent.
    """
    try:
        yield
    except (django.db.Error, psycopg.Error) as error:
        raise from_driver(error, kind, slug, field, source, offset) from error


def from_driver(
    error: Exception,
    kind: type[SegmentError],
    slug: str | None = None,
    field: str | None = None,
    source: str = "",
    offset: int = 0,
) -> SegmentError:
    """Return the `SegmentError` that says what the driver's error says; see `translated`."""
    cause = error.__cause__ if isinstance(error, django.db.Error) else error
    if not isinstance(cause, psycopg.Error):
        return kind(str(error), slug=slug, field=field)
    if cause.sqlstate in LOCK_STATES:
        kind = SegmentLockedError
    message = cause.diag.message_primary or str(cause)
    if cause.diag.message_detail:
        message += f"\n{cause.diag.message_detail}"
    result = kind(message, slug=slug, field=field)
    own = cause.diag.message_primary and DETACHED.match(cause.diag.message_primary)
    given = cause.diag.message_hint
    result.hint = given if own else NEXT_STEPS.get(cause.sqlstate or "") or given
    result.sqlstate = cause.sqlstate
    if cause.diag.statement_position:
        _locate(result, source, int(cause.diag.statement_position) - offset - 1)
    return result


def _locate(error: SegmentError, source: str, index: int) -> None:
    """Set line, column and excerpt for a position, if it lies in the source."""
    if not 0 <= index <= len(source):
        return
    before = source[:index]
    error.line = before.count("\n") + 1
    error.column = index - (before.rfind("\n") + 1) + 1
    line = source.split("\n")[error.line - 1].replace("\t", " ").rstrip("\r")
    place = error.column - 1
    if len(line) > WIDTH:  # Shown around the place alone.
        start = max(0, place - WIDTH // 2)
        before, after = "..." if start else "", "..." if start + WIDTH < len(line) else ""
        line, place = f"{before}{line[start : start + WIDTH]}{after}", place - start + len(before)
    error.excerpt = f"  {line}\n  {' ' * place}^"
