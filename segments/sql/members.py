"""Members: is a user in it, which users are, and the index over all segments."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from segments import conf
from segments.sql import base, names, statement
from segments.sql.session import rows


class Counters(NamedTuple):
    """Rows inserted into and deleted from a view by this transaction, if the server counts."""

    inserted: int
    deleted: int
    counted: bool


def is_member(alias: str, slug: str, key: object) -> bool:
    """Return whether the key is that of a user, and in the segment's view. One query."""
    cursor = _execute(alias, _probe(conf.schema(), slug), (key,))
    return bool(cursor.rowcount)


def is_live_member(alias: str, slug: str, key: Any) -> bool:
    """Return whether the key is in the segment now. Evaluates its definition for this key."""
    query = statement(
        "probe_live",
        function=base.live_function("is_member"),
        key_type=sql.SQL(names.key_type(connections[alias])),
    )
    with connections[alias].cursor() as cursor:
        cursor.execute(query, (slug, key))
        answer: bool = cursor.fetchone()[0]
        return answer


def is_member_by_slug(alias: str, slug: str, key: object) -> bool | None:
    """Return whether the key is in the segment; None if none is populated. One query."""
    query = _probe_slug(conf.schema(), names.key_type(connections[alias]))
    cursor = _execute(alias, query, (slug, key))
    answer: bool | None = cursor.fetchone()[0]
    return answer


def live_query(slug: str) -> str:
    """Return a SELECT of the ids of those who are in the segment now.

    Of the live view, so that Postgres can plan it into a larger query; where definitions are
    evaluated with the rights of another role, of a function that has them.
    """
    query = statement("select_live_members", live=_live(slug))
    return cast(str, query.as_string())


def among(alias: str, slug: str, keys: Iterable[object], live: bool = False) -> set[Any]:
    """Return those of the keys that are in the segment's view. One query."""
    query = statement(
        "select_members_among",
        members=_live(slug) if live else names.members_view(slug),
        key_type=sql.SQL(names.key_type(connections[alias])),
        **_users(),
    )
    with connections[alias].cursor() as cursor:
        cursor.execute(query, (list(keys),))
        return {row[0] for row in cursor.fetchall()}


def count(connection: BaseDatabaseWrapper, slug: str) -> int:
    """Return the number of members. One scan of the view."""
    with connection.cursor() as cursor:
        cursor.execute(statement("count_members", view=names.members_view(slug)))
        return int(cursor.fetchone()[0])


def counters(connection: BaseDatabaseWrapper, slug: str) -> Counters:
    """Return what this transaction has inserted and deleted so far; only differences mean much."""
    (found,) = rows(connection, "select_counters", view=names.members_view(slug).as_string())
    return Counters(*found)


def reconcile(connection: BaseDatabaseWrapper, slug: str, segment: int) -> tuple[int, int]:
    """Bring the membership index to what the segment's view holds; return (entered, left).

    One statement, that costs one pass over the segment's members on both sides.
    """
    query = statement(
        "reconcile_membership",
        view=names.members_view(slug),
        membership=sql.Identifier("segments_membership"),
        **_users(),
    )
    with connection.cursor() as cursor:
        cursor.execute(query, {"segment": segment})
        entered, left = cursor.fetchone()
        return entered, left


def _execute(alias: str, query: str, params: tuple[object, ...]) -> Any:
    """Run a query and return its cursor; Postgres keeps the plan where the connection allows that.

    It does by the option `prepare_threshold`. Django's own cursors put parameters into the text,
    unless the option `server_side_binding` is set, and so never send the same statement twice.
    Whoever watches queries sees it as any other, but where nobody does, Django's wrapper around
    the cursor is left out: it takes a tenth of the time of all of a check.
    The cursor holds nothing on the server, and so needs no closing.
    """
    connection: Any = connections[alias]
    if "cursor" in vars(connection):  # Put there by a debug toolbar, or a test without a database.
        cursor: Any = connection.cursor()
        cursor.execute(query, params)
        return cursor
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    raw = connection.connection
    with connection.wrap_database_errors:
        cursor = raw.cursor() if raw.prepare_threshold is None else psycopg.Cursor(raw)
        if connection.queries_logged:
            cursor = connection.make_debug_cursor(cursor)
        elif connection.execute_wrappers or hasattr(CursorWrapper.execute, "__wrapped__"):
            cursor = connection.make_cursor(cursor)  # For tracers, which wrap its methods.
        cursor.execute(query, params)
    return cursor


def _live(slug: str) -> sql.Composable:
    if not conf.is_restricted():
        return names.live_view(slug)
    return sql.SQL("{}({})").format(base.live_function("members"), sql.Literal(slug))


@lru_cache(maxsize=4096)
def _probe(schema: str, slug: str) -> str:
    view = sql.Identifier(schema, names.view_name(slug))
    is_user = sql.Identifier(schema, "is_user")
    return cast(str, statement("probe_member", view=view, is_user=is_user).as_string())


def _users() -> dict[str, sql.Identifier]:
    """Return the table of users and its key, as the parts of a statement."""
    return {"users": names.user_table(), "key": sql.Identifier(names.user_key_column())}


@lru_cache(maxsize=16)
def _probe_slug(schema: str, key_type: str) -> str:
    return cast(
        str,
        statement(
            "probe_slug",
            function=sql.Identifier(schema, "is_member"),
            key_type=sql.SQL(key_type),
        ).as_string(),
    )
