"""What this package owns in a database, declared once: tables, shared views and functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import LiteralString

from psycopg import sql

SEGMENT, STATIC_MEMBER = "segments_segment", "segments_staticmember"
MEMBERSHIP, REFRESH = "segments_membership", "segments_segmentrefresh"
CHANGE, CONSUMER = "segments_change", "segments_changeconsumer"

VERSION, LIST_CHANGE = "segments_segmentversion", "segments_listchange"

TABLES = (SEGMENT, STATIC_MEMBER, MEMBERSHIP, REFRESH, CHANGE, CONSUMER, VERSION, LIST_CHANGE)
"""The tables of the models, in `public` or wherever migrations have created them."""


@dataclass(frozen=True)
class SharedView:
    """A view over all segments.

    Attributes:
        name: Its name in the members' schema.
        statement: The statement that creates or replaces it.
        table: The youngest table that it reads.
        comment: What it is.
        columns: What its columns are, but for `user_id`.
        detached: The statement that detaches it from its table; only views with a `user_id` have
            one, since the type of that may change.
    """

    name: str
    statement: str
    table: str
    comment: str
    columns: Mapping[str, str] = field(default_factory=dict)
    detached: str = ""


@dataclass(frozen=True)
class SharedFunction:
    """A function that serves all segments.

    Attributes:
        name: Its name.
        statement: The statement that creates or replaces it, and so declares its arguments.
        live: Whether it evaluates or checks definitions, and so is in the schema of the live
            views, which readers may not use.
        keyed: Whether the type of the user key is part of its signature.
    """

    name: str
    statement: str
    live: bool = False
    keyed: bool = False


VIEWS = (
    SharedView(
        "membership",
        "replace_membership_view",
        MEMBERSHIP,
        "Which user is in which segment, and since when.",
        {
            "segment_id": "Key of the segment, as in the catalog.",
            "slug": "The segment's slug. The view of that name, with _ for -, has its members.",
            "entered_at": "When the refresh began that added the user; kept while they stay in.",
        },
        "detach_membership_view",
    ),
    SharedView(
        "catalog",
        "replace_catalog_view",
        REFRESH,
        "Every segment, how it is doing, and how old its members are.",
        {
            "segment_id": "Key of the segment, as in membership.",
            "slug": "The segment's unique name in code.",
            "name": "The segment's name for people.",
            "description": "What the segment is for.",
            "view_name": "The materialized view of its members, with its schema.",
            "kind": "What defines it: sql, static (a list of ids) or manager (a model's method).",
            "members_count": "How many members its last good refresh found; NULL before that.",
            "refreshed_at": "When its last good refresh began: its members are those of then.",
            "age": "The time since refreshed_at.",
            "status": "unpopulated, refreshed, outdated (its definition has changed since), "
            "failed or refused (too many would have left); the last three keep the former "
            "members.",
            "last_error": "Why the last refresh failed; empty if it did not.",
            "duration": "How long the last refresh took, good or failed.",
            "failures": "How many refreshes have failed since the last good one.",
            "due": "When the next refresh is due; NULL without an interval, or if not active.",
            "ids_from": "The column that user ids come from; NULL before the first refresh, and "
            "for lists of ids.",
        },
    ),
    SharedView(
        "changes",
        "replace_changes_view",
        CHANGE,
        "Who entered and who left which segment, and when; kept for SEGMENTS_CHANGES_DAYS.",
        {
            "change_id": "Grows with each change of a segment.",
            "segment_id": "Key of the segment, as in the catalog.",
            "slug": "The segment's slug.",
            "change": "entered or left.",
            "at": "When the refresh found it.",
            "refresh_id": "The refresh that found it, as in history.",
        },
        "detach_changes_view",
    ),
    SharedView(
        "history",
        "replace_history_view",
        REFRESH,
        "Every refresh: how many members it found, and how many entered and left.",
        {
            "refresh_id": "Key of the refresh, as in changes.",
            "segment_id": "Key of the segment, as in the catalog.",
            "slug": "The segment's slug.",
            "started_at": "When it began.",
            "duration": "How long it took.",
            "status": "refreshed, unchanged (nothing was written since the last one) or failed.",
            "size": "How many members it found, or the last ones if it failed.",
            "entered": "How many members were new; all of them at the first refresh.",
            "left": "How many members left. Write h.left: LEFT alone is a word of SQL.",
        },
    ),
)

FUNCTIONS = (
    SharedFunction("detached", "replace_detached_function"),
    SharedFunction("is_user", "replace_is_user_function", keyed=True),
    SharedFunction("is_segment", "replace_is_segment_function"),
    SharedFunction("is_member", "replace_is_member_function"),
    SharedFunction("is_member", "replace_is_member_in_zone_function", live=True, keyed=True),
    SharedFunction("members", "replace_members_in_zone_function", live=True, keyed=True),
    SharedFunction("is_member", "replace_is_live_member_function", live=True, keyed=True),
    SharedFunction("members", "replace_live_members_function", live=True, keyed=True),
    SharedFunction("settings", "replace_settings_function", live=True),
    SharedFunction("refresh", "replace_refresh_function", live=True),
    SharedFunction("offences", "replace_offences_function", live=True),
    SharedFunction("read_digest", "replace_read_digest_function"),
    SharedFunction("unchanged_until", "replace_unchanged_until_function"),
)

RETIRED_FUNCTIONS: tuple[tuple[str, LiteralString], ...] = (
    ("trace", "(regclass, regclass, regclass, name)"),
)
"""Functions of earlier versions, with their arguments; they are dropped."""


def package_relations(schema: str) -> list[str]:
    """Return the names of all tables and shared views, quoted as in SQL.

    Args:
        schema: The members' schema.
    """
    return [*TABLES, *(sql.Identifier(schema, view.name).as_string() for view in VIEWS)]


RESERVED_SLUGS = frozenset(view.name for view in VIEWS)
"""The shared views have these names, so no segment may."""
