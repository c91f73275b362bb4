"""The errors of segments, and the one place that translates the driver's errors into them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django.db
import psycopg
from django.apps import apps

from segments import conf

TRY_AGAIN = "Check that PostgreSQL is running, and try again."

NEXT_STEPS = {
    "2BP01": "First change or delete what reads it.",
    "25006": "Use a connection that can write; a replica cannot.",
    "40001": "Refreshes need READ COMMITTED: set no other isolation level on this connection.",
    "42501": "Grant this privilege to the role that owns the segments' views (if that is a role "
    "of its own: manage.py grant_segments), or read less: SELECT * reads all columns.",
    "53200": "Work on fewer segments in one transaction: each takes about 20 locks.",
    "53300": "Close other connections, or raise max_connections of the server.",
    "55000": "If it is the view of a segment, refresh it: manage.py refresh_segments",
    "55P03": "Another session holds it; try again, or raise SEGMENTS_LOCK_TIMEOUT.",
    "57014": "If it took too long, make the definition cheaper (is an index missing?), or raise "
    "the segment's timeout, which is SEGMENTS_STATEMENT_TIMEOUT if it has none of its own.",
    "57P01": TRY_AGAIN,
    "57P02": TRY_AGAIN,
    "57P03": TRY_AGAIN,
}
"""What to do next, by SQLSTATE."""

DEFINITION_STEPS = {
    "21": "Change the definition: where it expects one value, a query must return one row.",
    "22": "Change the definition, so that it can deal with every value that it reads.",
    "42601": "A definition is one SELECT that returns user ids.",
}
"""What to do next about a definition, by SQLSTATE or its class."""

DEFINITION_FIELDS = ("definition", "manager_method")
"""The fields whose errors are those of a definition."""

CONNECTION_STEPS = (
    (
        r"password|authentication|pg_hba|permission|role \"",
        "Check USER and PASSWORD in DATABASES, and which logins the server accepts.",
    ),
    (r"database \"", "Check NAME in DATABASES, or create this database."),
    (r"too many|slots|couldn't get a connection", NEXT_STEPS["53300"]),
    (r"", "Check that PostgreSQL is running, and HOST and PORT in DATABASES."),
)
"""What to do if there is no connection, by what the reason contains. The first one counts."""

POSTGRES_ENGINE = 'Change DATABASES: segments need "ENGINE": "django.db.backends.postgresql".'
"""What to do about a database of another kind."""

MIGRATE = "The database lacks what a migration adds. Run: manage.py migrate"

MISSING_TABLE, MISSING_COLUMN = "42P01", "42703"

MISSING = {MISSING_TABLE, MISSING_COLUMN, "42883", "3F000"}  # The last: function, schema.

# The message of a detached live view, which comes with the right hint.
DETACHED = re.compile(r'segment ".*" is detached')

WIDTH = 120  # How many characters of a line a message shows.

SAFE_SQLSTATE_CLASSES = {"08", "25", "2B", "3F", "40", "42", "53", "54", "55", "57", "58"}
"""The classes of SQLSTATE whose messages name objects and limits, and never quote rows."""

UNSAFE_SQLSTATES = {"42601"}  # syntax_error quotes the definition, and so perhaps a value.

LOCK_STATES = {"55P03", "40P01"}  # lock_not_available and deadlock_detected


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


class SegmentListError(SegmentDefinitionError):
    """Lines of a list cannot be used, and the list is unchanged.

    Attributes:
        report: What was read until then, as a `LoadReport`; None if the list could not be read.
    """

    report: Any = None


class SegmentReadersError(SegmentDefinitionError):
    """Definitions name a segment that gets another slug, and could be rewritten with it."""


class SegmentExecutionError(SegmentError):
    """Postgres could not evaluate or change the segment."""


class SegmentLossError(SegmentExecutionError):
    """A refresh would remove more members than max_loss allows.

    Attributes:
        before: How many members the segment has.
        removed: How many of them the refresh would remove.
    """

    before = 0
    removed = 0


class SegmentLockedError(SegmentExecutionError):
    """Another session is changing or refreshing the segment."""


class SegmentChangesError(SegmentError, ValueError):
    """The changes of the segment cannot be read from there, or were not delivered."""


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
        hint = POSTGRES_ENGINE if cause not in (None, error) else None
        return kind(str(error), slug=slug, field=field, hint=hint)
    if cause.sqlstate in LOCK_STATES:
        kind = SegmentLockedError
    message = cause.diag.message_primary or str(cause)
    if cause.sqlstate is None and isinstance(cause, psycopg.OperationalError):
        message = message.partition("\n")[0]  # The other lines guess, and repeat themselves.
    if cause.diag.message_detail:
        message += f"\n{cause.diag.message_detail}"
    result = kind(message, slug=slug, field=field)
    result.hint = _next_step(cause, message, field if field in DEFINITION_FIELDS else None)
    result.sqlstate = cause.sqlstate
    if cause.diag.statement_position:
        locate(result, source, int(cause.diag.statement_position) - offset - 1)
    return result


def _next_step(error: psycopg.Error, message: str, field: str | None) -> str | None:
    """Return what to do next about an error of Postgres.

    Args:
        field: The field that defines the segment, if its definition was parsed or evaluated.
    """
    state, hint = error.sqlstate or "", error.diag.message_hint
    if not state and isinstance(error, psycopg.OperationalError):
        reason = message.rpartition(" failed: ")[2]
        return next(step for pattern, step in CONNECTION_STEPS if re.search(pattern, reason))
    if DETACHED.match(message):
        return hint
    if state in MISSING:
        return _step_for_missing(error, message, field)
    step = NEXT_STEPS.get(state) or hint
    if step is None and field is not None:
        step = DEFINITION_STEPS.get(state) or DEFINITION_STEPS.get(state[:2])
    return step


def _step_for_missing(error: psycopg.Error, message: str, field: str | None) -> str | None:
    """Return what to do next about an error that names what does not exist.

    The server may speak any language, so only names are looked for in its message.
    """
    hint, words = error.diag.message_hint, set(re.findall(r"[\w.]+", message))
    own = (conf.schema(), conf.live_schema())
    if any(word.startswith(f"{schema}.") for word in words for schema in own):
        return (
            "Check its name. If it is a view or a function of segments, this creates it: "
            "manage.py sync_segments"
        )
    without_schema = error.sqlstate == "3F000" and words.intersection(own)
    if without_schema or _is_unmigrated(error, words):
        return MIGRATE
    if field is None:
        return hint or "Check its name."
    what = field.replace("_", " ")
    return f"Change the {what}. {hint}" if hint else f"Change the {what}: check this name."


def _is_unmigrated(error: psycopg.Error, words: set[str]) -> bool:
    """Return whether a table or column that is missing belongs to an installed model."""
    if error.sqlstate == MISSING_TABLE:
        tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
        # Postgres also reports a table that the query does not list, although it exists.
        return error.diag.source_function != "errorMissingRTE" and not words.isdisjoint(tables)
    if error.sqlstate != MISSING_COLUMN:
        return False
    parts = {part for word in words for part in word.split(".")}
    return any(
        model._meta.db_table in parts
        and not parts.isdisjoint(field.column for field in model._meta.concrete_fields)
        for model in apps.get_models(include_auto_created=True)
    )


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
