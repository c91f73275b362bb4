"""The fast path of what a user is asked: one query, with as little Python around it as possible.

Django's cursor wrapper, its lookup of settings and a new cursor for each query took a fifth of a
check, so this module calls the driver itself. `make bench` compares it to bare psycopg.
"""

from asyncio import _get_running_loop
from functools import lru_cache
from typing import Any, cast

import django.db
import psycopg
from django.db import connections
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from segments import conf
from segments.sql import names
from segments.sql.keys import user_key_type
from segments.sql.owned import MEMBERSHIP, SEGMENT
from segments.sql.statements import compose

MAX_VIEWS = 16_384

VIEWS: dict[tuple[str, str, Any], int] = {}
"""The OID of the view that answered a probe, by its alias, its text and the key of the segment.

A view keeps its OID when it is renamed, and its segment.
"""

POPULATED: set[tuple[str, str, str]] = set()
"""The slugs that had a populated view when they were last asked for, by alias and schema."""

GONE = {"3F000", "42P01", "55000"}
"""The SQLSTATEs of a probe whose view has been dropped, with its schema or alone, or emptied."""

SEGMENTS_OF = {
    "segment_ids": ("call_segment_ids", "select_segment_ids"),
    "segment_slugs": ("call_segment_slugs", "select_segment_slugs"),
}
"""The statements that are fastest where each is planned, and where the connection keeps plans."""

KEPT = "_segments_cursor"
"""The attribute of a connection of Django that has the cursor for the next query, and its fit."""

NO_CURSOR: tuple[Any, Any] = (None, None)

OWN: Any = vars(connections._connections).get("_storage")  # type: ignore[attr-defined]
"""Where asgiref keeps the connections of a thread in which no event loop runs."""


def is_member(alias: str, segment: Any, slug: str, key: object) -> bool | None:
    """Return whether the key is in the segment's view and belongs to a user.

    Returns None if the segment has another slug by now. One query, unless another view answers
    than before.

    Args:
        segment: The key of the segment.
    """
    connection = _connection(alias)
    query = _probe(conf.schema(), slug, _keeps_plans(connection), user_key_type().model)
    known = VIEWS.get((alias, query, segment))
    if known is not None:
        rows, result = ask(connection, query, (key,))
        if result.ftable(0) == known:
            return bool(rows)
    rows, result = ask(connection, _probe_own(conf.schema(), slug), (key, segment))
    view = result.ftable(0)
    if not rows or rows[0][2] != view:
        return None
    if len(VIEWS) >= MAX_VIEWS:
        VIEWS.clear()
    VIEWS[alias, query, segment] = view
    answer: bool = rows[0][1]
    return answer


def is_member_by_slug(alias: str, slug: str, key: object) -> bool | None:
    """Return whether the key is in the segment; None unless it is populated.

    One query; two if a view that was there before has been dropped. The view itself is asked if it
    is known to be there. Otherwise, and in a transaction, which a missing view would break, a
    function is asked that looks for it.
    """
    connection = _connection(alias)
    view, raw = (alias, conf.schema(), slug), connection.connection
    if view in POPULATED and raw is not None and raw.autocommit:
        try:
            query = _probe(view[1], slug, _keeps_plans(connection), user_key_type().model)
            return bool(ask(connection, query, (key,))[0])
        except django.db.Error as error:
            if getattr(error.__cause__, "sqlstate", None) not in GONE:
                raise
            POPULATED.discard(view)
    query = _probe_slug(view[1], _key_type(alias, user_key_type().model))
    answer: bool | None = ask(connection, query, (slug, key))[0][0][0]
    if answer is not None and len(POPULATED) < MAX_VIEWS:
        POPULATED.add(view)
    return answer


def segments_of(alias: str, what: str, key: object) -> list[Any]:
    """Return the ids or the slugs of the segments that the user of this key is in. One query.

    Args:
        what: `segment_ids` or `segment_slugs`.
    """
    connection = _connection(alias)
    call, select = SEGMENTS_OF[what]
    kept = _keeps_plans(connection)
    query = query_of_segments(alias, select if kept else call)
    found: list[Any] = ask(connection, query, {"key": key} if kept else (key,))[0][0][0]
    return found


def query_of_segments(alias: str, statement: str) -> str:
    """Return a query for the segments of a user, whose parameter is the user's key."""
    return _query_of_segments(conf.schema(), statement, alias, user_key_type().model)


def ask(connection: Any, query: str, params: Any, *, keep: bool = True) -> tuple[list[Any], Any]:
    """Run a query, and return its rows and the driver's result.

    Postgres keeps the plan if the connection has the option `prepare_threshold`. Django's own
    cursors merge parameters into the text, unless the option `server_side_binding` is set, and so
    never send the same statement twice. To merge many keys takes longer than to send them beside
    it. Tools that watch queries see this query like any other; without them, Django's wrapper
    around the cursor is not used.

    Args:
        connection: A connection of Django.
        keep: Whether to keep the cursor, which holds on to its result until the next query. If
            not, the parameters are taken to be large.
    """
    state = vars(connection)
    # A debug toolbar replaces it, and so does a test without a database.
    if "cursor" in state:
        cursor: Any = connection.cursor()
        cursor.execute(query, params)
        return cursor.fetchall(), cursor.pgresult
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    raw = connection.connection
    fit = (raw, raw.prepare_threshold, raw.cursor_factory)
    # Nobody else can have the cursor until it is put back.
    kept, fits = state.pop(KEPT, NO_CURSOR)
    try:
        if fits != fit or not keep:
            own = raw.prepare_threshold is not None or not keep
            kept = psycopg.Cursor(raw) if own else raw.cursor()
        cursor = kept
        if connection.queries_logged:
            cursor = connection.make_debug_cursor(kept)
        elif connection.execute_wrappers or hasattr(CursorWrapper.execute, "__wrapped__"):
            cursor = connection.make_cursor(kept)  # Tracers wrap its methods.
        cursor.execute(query, params)
        rows, result = kept.fetchall(), kept.pgresult
    except psycopg.Error:
        with connection.wrap_database_errors:
            raise
    if keep:
        state[KEPT] = kept, fit
    return rows, result


def _connection(alias: str) -> Any:
    """Return `connections[alias]`, in a tenth of its time.

    Where no event loop runs, asgiref learns of that by an exception, which takes 6 to 10 us.
    """
    if _get_running_loop() is None:
        connection = getattr(OWN, alias, None)
        if connection is not None:
            return connection
    return connections[alias]


def _keeps_plans(connection: Any) -> bool:
    """Return whether Postgres keeps the plans of queries, as far as that is known already."""
    raw = connection.connection
    return raw is not None and raw.prepare_threshold is not None


@lru_cache(maxsize=16)
def _key_type(alias: str, user_model: object) -> str:
    """Return the SQL type of the user model's keys, which Django takes 20 us to find out."""
    return names.key_type(connections[alias])


@lru_cache(maxsize=4096)
def _probe(schema: str, slug: str, kept: bool, user_model: object) -> str:
    query = compose(
        "probe_kept_member" if kept else "probe_member",
        view=sql.Identifier(schema, names.view_name(slug)),
        is_user=sql.Identifier(schema, "is_user"),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
    )
    return cast(str, query.as_string())


@lru_cache(maxsize=4096)
def _probe_own(schema: str, slug: str) -> str:
    name = names.view_name(slug)
    query = compose(
        "probe_own_member",
        view=sql.Identifier(schema, name),
        is_user=sql.Identifier(schema, "is_user"),
        segment=sql.Identifier(SEGMENT),
        name=sql.Literal(name),
        schema=sql.Literal(sql.Identifier(schema).as_string()),
    )
    return cast(str, query.as_string())


@lru_cache(maxsize=16)
def _probe_slug(schema: str, key_type: str) -> str:
    function = sql.Identifier(schema, "is_member")
    query = compose("probe_slug", function=function, key_type=sql.SQL(key_type))
    return cast(str, query.as_string())


@lru_cache(maxsize=16)
def _query_of_segments(schema: str, statement: str, alias: str, user_model: object) -> str:
    query = compose(
        statement,
        segment_ids=sql.Identifier(schema, "segment_ids"),
        segment_slugs=sql.Identifier(schema, "segment_slugs"),
        key_type=sql.SQL(_key_type(alias, user_model)),
        memberships=sql.Identifier(MEMBERSHIP),
        segments=sql.Identifier(SEGMENT),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
    )
    return cast(str, query.as_string())
