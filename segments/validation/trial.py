"""Trials: evaluate or price a definition in views that the caller rolls back.

A plain trial view evaluates nothing. Members and plans are computed in a materialized view.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import django.db
import psycopg
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.errors import InvalidDatetimeFormat, QueryCanceled

from segments import conf
from segments.definition.gate import create_checked_view
from segments.definition.select import Compiled, describe
from segments.pgviews.shared import ensure_shared_exists
from segments.sql import names
from segments.sql.session import (
    as_owner,
    fetch_all,
    fetch_value,
    milliseconds,
    pinned,
    run_ddl,
)
from segments.sql.statements import compose

TIME_WORD = re.compile(r"\b(now|today|yesterday|tomorrow)\b(?!\s*\()", re.IGNORECASE)
"""The words that Postgres replaces by a time of its clock wherever it expects a time."""

NOT_A_TIME = "nowhen"

MAX_WORDS = 50
"""How many of these words are examined. Each costs three round trips."""


@dataclass(frozen=True)
class Price:
    """What the planner expects of a definition.

    Attributes:
        cost: The cost in the planner's units; reading one page in sequence costs 1.
        rows: The number of members.
    """

    cost: float
    rows: int


@dataclass(frozen=True)
class Movement:
    """Users who would enter or leave.

    Attributes:
        count: How many.
        sample: The keys of the first ones.
    """

    count: int
    sample: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """What a definition returns, compared with the present members.

    Attributes:
        present: The number of present members.
        entering, leaving: Who would enter and leave.
    """

    present: int
    entering: Movement
    leaving: Movement


@dataclass(frozen=True)
class Evaluation:
    """What a definition returns.

    Attributes:
        count: The number of members.
        sample: The keys of the first members.
        comparison: How they differ from the present members, if there are any to compare with.
    """

    count: int
    sample: tuple[Any, ...]
    comparison: Comparison | None


def create(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> str:
    """Create a plain view of a definition, evaluating nothing; return the view's name."""
    ensure_shared_exists(connection)
    name = names.trial_name(connection, slug, "trial")
    create_checked_view(connection, "replace_live_view", _in_live_schema(name), compiled)
    return name


def populate(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> str:
    """Evaluate a definition into a materialized view; return the view's name."""
    name = names.trial_name(connection, slug, "populated trial")
    view = _in_live_schema(name)
    create_checked_view(connection, "create_trial_view", view, compiled)
    _evaluate(connection, view)
    return name


def price(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> Price:
    """Return what the planner expects of a definition, which is not evaluated. Leaves no views.

    To estimate rows, the planner calls immutable and stable functions of the definition. They run
    inside a materialized view, as they do for members: in a bare EXPLAIN, such a function could
    undo a `SET LOCAL ROLE`.
    """
    with transaction.atomic(using=connection.alias):
        trial = _in_live_schema(create(connection, slug, compiled))
        planner = _in_live_schema(names.trial_name(connection, slug, "planner"))
        explain = sql.Literal(compose("explain_view", view=trial).as_string())
        run_ddl(connection, "create_planner", function=planner, explain=explain)
        view = _in_live_schema(names.trial_name(connection, slug, "plan"))
        call = compose("call_planner", function=planner)
        run_ddl(connection, "create_trial_view", view=view, definition=call)
        _evaluate(connection, view)
        with as_owner(connection):
            (plan,) = json.loads(fetch_value(connection, compose("select_plan", view=view)))
        transaction.set_rollback(True, using=connection.alias)
    return Price(float(plan["Plan"]["Total Cost"]), int(plan["Plan"]["Plan Rows"]))


def evaluate(
    connection: BaseDatabaseWrapper,
    slug: str,
    compiled: Compiled,
    limit: timedelta,
    sample: int,
    members: sql.Identifier | None = None,
) -> Evaluation | None:
    """Evaluate a definition once; return None if that takes longer than the limit.

    The timeout applies, and the view exists, until the caller rolls back.

    Args:
        limit: How long a statement may run; zero means no limit.
        sample: How many keys to return, in order.
        members: The view of the present members to compare with.
    """
    with _in_time(connection, limit):
        view = _in_live_schema(populate(connection, slug, compiled))
        with as_owner(connection):  # Reading a materialized view evaluates nothing.
            count = fetch_value(connection, compose("count_members", view=view))
            keys = fetch_all(connection, compose("select_sample", view=view), limit=sample)
            comparison = _compare(connection, view, members, sample) if members else None
        return Evaluation(count, tuple(key for (key,) in keys), comparison)
    return None


def copy_moving(
    connection: BaseDatabaseWrapper,
    slug: str,
    compiled: Compiled,
    limit: timedelta,
    members: sql.Identifier,
    *,
    entering: bool,
    write: Callable[[bytes], Any],
) -> bool:
    """Write the keys of users who would enter or leave; return whether the limit was enough.

    Args:
        limit, members: As `evaluate` takes them.
        entering: Whether to write those who would enter, not those who would leave.
        write: Takes one block of the stream at a time.
    """
    with _in_time(connection, limit):
        view = _in_live_schema(populate(connection, slug, compiled))
        rows, others = (view, members) if entering else (members, view)
        query = compose("copy_moving", rows=rows, others=others)
        with (
            as_owner(connection),
            connection.cursor() as cursor,
            cursor.copy(query) as copy,
        ):
            for block in copy:
                write(bytes(block))
        return True
    return False


@contextmanager
def _in_time(connection: BaseDatabaseWrapper, limit: timedelta) -> Iterator[None]:
    """Leave the block, and undo what it did, when a statement takes longer than the limit."""
    try:
        with transaction.atomic(using=connection.alias):
            fetch_value(connection, "set_statement_timeout", milliseconds=milliseconds(limit))
            yield
    except (django.db.Error, psycopg.Error) as error:
        if not isinstance(error.__cause__ or error, QueryCanceled):
            raise


def _compare(
    connection: BaseDatabaseWrapper, view: sql.Identifier, members: sql.Identifier, limit: int
) -> Comparison:
    query = compose("compare_members", view=view, members=members)
    ((present, entering, leaving, first, last),) = fetch_all(connection, query, limit=limit)
    return Comparison(present, Movement(entering, tuple(first)), Movement(leaving, tuple(last)))


def columns_read(connection: BaseDatabaseWrapper, trial: str) -> tuple[str, ...]:
    """Return what a trial reads: `table.column`, or `table` if it reads no column of it."""
    view = _in_live_schema(trial).as_string()
    rows = fetch_all(connection, "select_read_columns", view=view)
    return tuple(table if column is None else f"{table}.{column}" for table, column in rows)


def whole_tables(connection: BaseDatabaseWrapper, definition: str) -> list[str]:
    """Return the tables of which a definition selects every column, as `SELECT *` does."""
    columns = [column for column in describe(connection, definition) if column.table]
    rows = fetch_all(
        connection,
        "select_whole_tables",
        tables=[column.table for column in columns],
        numbers=[column.number for column in columns],
    )
    return [table for (table,) in rows]


def opaque_functions(connection: BaseDatabaseWrapper, trial: str) -> list[tuple[str, bool]]:
    """Return the functions that hide what they read, and the volatile functions of Postgres.

    Returns:
        The names, each with whether it is a function of Postgres.
    """
    query = compose(
        "select_opaque_functions",
        reads=compose("reads_of_segment", live=sql.Placeholder("live")),
        calls=compose("calls_of_segment"),
    )
    rows = fetch_all(connection, query, live=_in_live_schema(trial).as_string())
    return [(name, of_postgres) for name, of_postgres in rows]


def frozen_words(connection: BaseDatabaseWrapper, query: str) -> Iterator[tuple[str, int]]:
    """Yield words in literals, such as 'yesterday', that stand for a fixed time, with their index.

    Postgres replaces such a word by a time when it parses the literal. To find these words, each
    one is replaced by a word that is not a time: if Postgres then refuses the literal, it was a
    time. This leaves out text that is compared to text, names of columns, comments, and
    `'now'::text::timestamptz`, which is computed at each evaluation. Runs nothing of the query.
    """
    for word in islice(TIME_WORD.finditer(query), MAX_WORDS):
        other = f"{query[: word.start()]}{NOT_A_TIME}{query[word.end() :]}"
        try:
            with transaction.atomic(using=connection.alias):
                describe(connection, other)
        except InvalidDatetimeFormat:
            yield word[0], word.start()
        except (psycopg.Error, ValueError):  # It is a name, or text that is not a time.
            continue


def _evaluate(connection: BaseDatabaseWrapper, view: sql.Identifier) -> None:
    """Populate a materialized view under the settings of all refreshes."""
    with pinned(connection, evaluate=True):
        run_ddl(connection, "populate_trial_view", view=view)


def _in_live_schema(name: str) -> sql.Identifier:
    return sql.Identifier(conf.live_schema(), name)
