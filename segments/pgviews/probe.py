"""The fast path of a membership check: one query, with as little Python around it as possible.

Django's cursor wrapper and its lookup of settings took a tenth of a check, so this module calls
the driver itself. `make bench` measures it as `has_member`, and compares it to bare psycopg.
"""

from functools import lru_cache
from typing import Any, cast

import psycopg
from django.db import connections
from django.db.backends.utils import CursorWrapper
from psycopg import sql

from segments import conf
from segments.sql import names
from segments.sql.owned import SEGMENT
from segments.sql.statements import compose

MAX_VIEWS = 16_384

VIEWS: dict[tuple[str, str, Any], int] = {}
"""The OID of the view that answered a probe, by its alias, its text and the key of the segment.

A view keeps its OID when it is renamed, and its segment.
"""


def is_member(alias: str, segment: Any, slug: str, key: object) -> bool | None:
    """Return whether the key is in the segment's view and belongs to a user.

    Returns None if the segment has another slug by now. One query, unless another view answers
    than before.

    Args:
        segment: The key of the segment.
    """
    query = _probe(conf.schema(), slug)
    known = VIEWS.get((alias, query, segment))
    if known is not None:
        cursor = _execute(alias, query, (key,))
        if cursor.pgresult.ftable(0) == known:
            return bool(cursor.rowcount)
    cursor = _execute(alias, _probe_own(conf.schema(), slug), (key, segment))
    row = cursor.fetchone()
    view = cursor.pgresult.ftable(0)
    if row is None or row[2] != view:
        return None
    if len(VIEWS) >= MAX_VIEWS:
        VIEWS.clear()
    VIEWS[alias, query, segment] = view
    answer: bool = row[1]
    return answer


def is_member_by_slug(alias: str, slug: str, key: object) -> bool | None:
    """Return whether the key is in the segment; None unless it is populated. One query."""
    query = _probe_slug(conf.schema(), names.key_type(connections[alias]))
    cursor = _execute(alias, query, (slug, key))
    answer: bool | None = cursor.fetchone()[0]
    return answer


def _execute(alias: str, query: str, params: tuple[object, ...]) -> Any:
    """Run a query and return its cursor.

    Postgres keeps the plan if the connection has the option `prepare_threshold`. Django's own
    cursors merge parameters into the text, unless the option `server_side_binding` is set, and so
    never send the same statement twice. Tools that watch queries see this query like any other;
    without them, Django's wrapper around the cursor is not used. The cursor holds nothing on the
    server and need not be closed.
    """
    connection: Any = connections[alias]
    # A debug toolbar replaces it, and so does a test without a database.
    if "cursor" in vars(connection):
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
            cursor = connection.make_cursor(cursor)  # Tracers wrap its methods.
        cursor.execute(query, params)
    return cursor


@lru_cache(maxsize=4096)
def _probe(schema: str, slug: str) -> str:
    view = sql.Identifier(schema, names.view_name(slug))
    is_user = sql.Identifier(schema, "is_user")
    return cast(str, compose("probe_member", view=view, is_user=is_user).as_string())


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
