"""Drafts: what a definition would give, looked at in views that the caller rolls back.

A draft is a plain view, which evaluates nothing. What evaluates, be it for the members or for a
plan, is a materialized view.
"""

import json
import re
from collections.abc import Iterator
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
from segments.sql import names, statement
from segments.sql.base import ensure_schemas
from segments.sql.calls import make_view
from segments.sql.definition import Compiled, describe
from segments.sql.session import as_owner, execute, milliseconds, rows, value
from segments.sql.views import create_trial

TIME_WORD = re.compile(r"\b(now|today|yesterday|tomorrow)\b(?!\s*\()", re.IGNORECASE)
"""What Postgres reads as a time of its own clock, where it reads a time."""

NO_TIME = "nowhen"

MOST_WORDS = 50
"""How many of these words are looked into; each costs three round trips."""

EXISTS = ":subLinkType 0 :subLinkId 0 :testexpr <> :operName <> :subselect "
"""What stands before the query of an EXISTS, in a query as Postgres keeps it."""

UNORDERED = r":sortClause <> :limitOffset (?!<> :limitCount <>)"
"""A LIMIT or OFFSET without an ORDER BY, in a query as Postgres keeps it."""


@dataclass(frozen=True)
class Plan:
    """What the planner expects.

    Attributes:
        cost: In its own units, of which reading one page in order is 1.
        rows: How many members it expects.
    """

    cost: float
    rows: int


@dataclass(frozen=True)
class Evaluated:
    """What a definition gives.

    Attributes:
        count: How many members.
        sample: The keys of the first of them.
    """

    count: int
    sample: tuple[Any, ...]


def create(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> str:
    """Make a plain view of a definition that the caller rolls back; return that view's name."""
    ensure_schemas(connection)
    name = _name(connection, slug, "draft")
    make_view(connection, "replace_live_view", _in_live_schema(name), compiled)
    return name


def price(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> Plan:
    """Return what the planner expects of a definition. Leaves nothing behind, evaluates nothing.

    Planning calls those functions of a definition that are immutable or stable, to estimate rows.
    They run like the members, inside a materialized view: in an EXPLAIN of its own, such a
    function could undo a `SET LOCAL ROLE`.
    """
    with transaction.atomic(using=connection.alias):
        draft = create(connection, slug, compiled)
        planner = _in_live_schema(_name(connection, slug, "planner"))
        explain = f"EXPLAIN (FORMAT JSON) TABLE {_in_live_schema(draft).as_string()}"
        execute(connection, "create_planner", function=planner, explain=sql.Literal(explain))
        view = _in_live_schema(_name(connection, slug, "plan"))
        call = statement("call_planner", function=planner)
        execute(connection, "create_trial_view", view=view, definition=call)
        execute(connection, "populate_trial_view", view=view)
        with as_owner(connection), connection.cursor() as cursor:
            cursor.execute(statement("select_plan", view=view))
            (plan,) = json.loads(cursor.fetchone()[0])
        transaction.set_rollback(True, using=connection.alias)
    return Plan(float(plan["Plan"]["Total Cost"]), int(plan["Plan"]["Plan Rows"]))


def evaluate(
    connection: BaseDatabaseWrapper, slug: str, compiled: Compiled, limit: timedelta, sample: int
) -> Evaluated | None:
    """Evaluate a definition once, for as long as the limit says; None if that is too short.

    The timeout stays in force, and the view stays, until the caller rolls back.

    Args:
        limit: How long a statement may run; zero: without limit.
        sample: How many keys to return, in their order.
    """
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            value(connection, "set_statement_timeout", milliseconds=milliseconds(limit))
            view = _in_live_schema(create_trial(connection, slug, compiled))
            with as_owner(connection):  # Reading what is there evaluates nothing.
                cursor.execute(statement("count_members", view=view))
                count = cursor.fetchone()[0]
                cursor.execute(statement("select_sample", view=view), {"limit": sample})
                keys = tuple(key for (key,) in cursor.fetchall())
            return Evaluated(count, keys)
    except (django.db.Error, psycopg.Error) as error:
        if not isinstance(error.__cause__ or error, QueryCanceled):
            raise
        return None


def columns_read(connection: BaseDatabaseWrapper, draft: str) -> tuple[str, ...]:
    """Return the columns that a draft reads as `table.column`; without one, `table` alone."""
    view = _in_live_schema(draft).as_string()
    read = rows(connection, "select_read_columns", view=view)
    return tuple(table if column is None else f"{table}.{column}" for table, column in read)


def whole_tables(connection: BaseDatabaseWrapper, definition: str) -> list[str]:
    """Return the tables of which a definition gives every column, as `SELECT *` does."""
    columns = [column for column in describe(connection, definition) if column.table]
    found = rows(
        connection,
        "select_whole_tables",
        tables=[column.table for column in columns],
        numbers=[column.number for column in columns],
    )
    return [table for (table,) in found]


def opaque_functions(connection: BaseDatabaseWrapper, draft: str) -> list[tuple[str, bool]]:
    """Return functions whose bodies hide what they read, and volatile ones of Postgres.

    Returns:
        The names, each with whether it is one of those of Postgres.
    """
    query = statement(
        "select_opaque_functions",
        reads=statement("reads_of_segment", live=sql.Placeholder("live")),
        calls=statement("calls_of_segment"),
    )
    with connection.cursor() as cursor:
        cursor.execute(query, {"live": _in_live_schema(draft).as_string()})
        return list(cursor.fetchall())


def has_unordered_limit(connection: BaseDatabaseWrapper, draft: str) -> bool:
    """Return whether a draft has a LIMIT or OFFSET without an ORDER BY, but for EXISTS.

    Looks at the query as Postgres keeps it, in which braces nest and a backslash escapes.
    """
    tree = str(value(connection, "select_tree", view=_in_live_schema(draft).as_string()))
    opened: list[int] = []
    for token in re.finditer(rf"\\.|[{{}}]|{UNORDERED}", tree):
        match token[0][0]:
            case "{":
                opened.append(token.start())
            case "}":
                opened.pop()
            case ":" if not tree.endswith(EXISTS, 0, opened[-1]):
                return True
    return False


def frozen_words(connection: BaseDatabaseWrapper, query: str) -> Iterator[tuple[str, int]]:
    """Give the words in literals, such as 'yesterday', that Postgres has read as a time already.

    It does so when it parses them, and they stay that time. Whether a word is one of those,
    Postgres says itself: with a word in its place that is no time, it refuses the literal as one.
    So text that is compared to text, names of columns, comments and `'now'::text::timestamptz`,
    which is read at each evaluation, are told apart. Runs nothing of the query.

    Returns:
        The words, each with its index in the query.
    """
    for word in islice(TIME_WORD.finditer(query), MOST_WORDS):
        other = f"{query[: word.start()]}{NO_TIME}{query[word.end() :]}"
        try:
            with transaction.atomic(using=connection.alias):
                describe(connection, other)
        except InvalidDatetimeFormat:
            yield word[0], word.start()
        except (psycopg.Error, ValueError):  # The name of something, or text that is no time.
            continue


def _name(connection: BaseDatabaseWrapper, slug: str, what: str) -> str:
    # As that of a trial: no slug has a space in it, and no other session this number.
    raw: Any = connection.connection
    return f"{names.view_name(slug)[:40]} {what} {raw.info.backend_pid}"


def _in_live_schema(name: str) -> sql.Identifier:
    return sql.Identifier(conf.live_schema(), name)
