"""Ask the views of a segment: is a user in it, and which users are?"""

from typing import Any, cast

from django.db import connections
from psycopg import sql

from segments import conf
from segments.pgviews.probe import ask
from segments.pgviews.shared import function, live_function
from segments.sql import names
from segments.sql.keys import user_key_type
from segments.sql.session import fetch_value
from segments.sql.statements import compose

LARGE = 10_000
"""The members from which on a view's index is probed for each of many keys."""

MAX_KEPT = 1_000
"""The keys that a kept cursor may hold on to."""


def is_live_member(alias: str, segment: Any, slug: str, key: Any) -> bool:
    """Return whether the key is currently in the segment. Evaluates the definition for it."""
    connection = connections[alias]
    query = compose(
        "probe_live",
        function=live_function("is_member"),
        key_type=sql.SQL(names.key_type(connection)),
        check=check(segment, names.live_view(slug)),
    )
    return bool(fetch_value(connection, query, slug=slug, key=key, time_zone=conf.time_zone()))


def check(segment: Any, view: sql.Identifier) -> sql.Composed:
    """Return a condition that raises an error if a view is not that of the segment by now.

    Args:
        segment: The key of the segment.
    """
    key = sql.Literal(segment)
    condition: sql.Composed = compose(
        "check_segment",
        is_segment=function("is_segment"),
        key=key,
        view=sql.Literal(view.as_string()),
    )
    return condition


def live_query(segment: Any, slug: str) -> str:
    """Return a SELECT of the ids of the live members.

    It calls a function, since a view takes on the settings of the session that reads it. So
    Postgres computes all members before it goes on with the query that this is part of.
    """
    condition = check(segment, names.live_view(slug))
    query = compose("select_live_members", live=_live(slug), check=condition)
    return cast(str, query.as_string())


def members_among(
    alias: str, segment: Any, slug: str, keys: list[Any], *, live: bool = False, count: int = 0
) -> set[Any]:
    """Return the keys that are in the segment's view and belong to users. One query.

    Args:
        live: Ask the live view.
        count: About how many members there are.
    """
    connection = connections[alias]
    part = "keys_asked" if live or count < LARGE else "keys_looked_up"
    key_type = sql.SQL(names.key_type(connection))
    query = compose(
        "select_members_among",
        check=check(segment, names.live_view(slug) if live else names.members_view(slug)),
        members=_live(slug) if live else names.members_view(slug),
        keys=compose(part, key_type=key_type),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
    )
    asked: Any = keys
    if user_key_type().type is int:  # The driver would look at each number twice.
        asked = f"{{{str(keys)[1:-1]}}}"
    ((found,),), _ = ask(connection, query.as_string(), (asked,), keep=len(keys) <= MAX_KEPT)
    return set(found)


def _live(slug: str) -> sql.Composable:
    call: sql.Composed = compose(
        "call_live_members",
        function=live_function("members"),
        slug=sql.Literal(slug),
        time_zone=sql.Literal(conf.time_zone()),
    )
    return call
