"""Ask the views of a segment: is a user in it, and which users are?"""

from collections.abc import Iterable
from typing import Any, cast

from django.db import connections
from psycopg import sql

from segments import conf
from segments.pgviews.shared import live_function
from segments.sql import names
from segments.sql.session import fetch_all, fetch_value
from segments.sql.statements import compose


def is_live_member(alias: str, slug: str, key: Any) -> bool:
    """Return whether the key is currently in the segment. Evaluates the definition for it."""
    connection = connections[alias]
    query = compose(
        "probe_live",
        function=live_function("is_member"),
        key_type=sql.SQL(names.key_type(connection)),
    )
    return bool(fetch_value(connection, query, slug=slug, key=key, time_zone=conf.time_zone()))


def live_query(slug: str) -> str:
    """Return a SELECT of the ids of the live members.

    It calls a function, since a view takes on the settings of the session that reads it. So
    Postgres computes all members before it goes on with the query that this is part of.
    """
    return cast(str, compose("select_live_members", live=_live(slug)).as_string())


def members_among(alias: str, slug: str, keys: Iterable[object], live: bool = False) -> set[Any]:
    """Return the keys that are in the segment's view. One query."""
    connection = connections[alias]
    query = compose(
        "select_members_among",
        members=_live(slug) if live else names.members_view(slug),
        key_type=sql.SQL(names.key_type(connection)),
        users=names.user_table(),
        key=sql.Identifier(names.user_key_column()),
    )
    return {key for (key,) in fetch_all(connection, query, keys=list(keys))}


def _live(slug: str) -> sql.Composable:
    call: sql.Composed = compose(
        "call_live_members",
        function=live_function("members"),
        slug=sql.Literal(slug),
        time_zone=sql.Literal(conf.time_zone()),
    )
    return call
