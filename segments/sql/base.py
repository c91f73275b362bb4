"""What all segments share: two schemas, two views, and the functions that ask them."""

import hashlib
import re
from collections.abc import Iterator
from typing import cast

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.sql import names, readers, statement, text
from segments.sql.labels import about, about_key, comment_columns, comment_live_view
from segments.sql.session import execute, lock_base, rows, value

MEMBERSHIP_COLUMNS = {
    "segment_id": "Key of the segment, as in the catalog.",
    "slug": "The segment's slug; its members alone are in the view of that name, with _ for -.",
    "entered_at": "When the refresh began that found the user in; kept for as long as they stay.",
}

DECLARED = re.compile(r"CREATE OR REPLACE FUNCTION \{function\} (\(.*?\))\s+RETURNS", re.DOTALL)
"""How a file begins that makes a function, with the arguments of that."""

CATALOG_COLUMNS = {
    "segment_id": "Key of the segment, as in membership.",
    "slug": "The segment's unique name in code.",
    "name": "The segment's name for people.",
    "description": "What the segment is for.",
    "view_name": "The materialized view of its members, with its schema.",
    "kind": "What defines it: sql, static (a list of ids) or manager (a method of a model).",
    "members_count": "How many members it had at its last good refresh; NULL before the first.",
    "refreshed_at": "When its last good refresh began: its members are as of then.",
    "age": "The time since refreshed_at, as of this query.",
    "status": "unpopulated, refreshed or failed; failed keeps the members of refreshed_at.",
    "last_error": "Why the last refresh failed; empty if it did not.",
    "duration": "How long the last refresh took, good or failed.",
    "failures": "How many refreshes have failed since the last good one.",
    "due": "When the next refresh is due; NULL if it is not refreshed by time, or not active.",
}


def ensure_schemas(connection: BaseDatabaseWrapper) -> None:
    """Create what all segments share if any of it is missing, as in schemas made by others."""
    if _missing(connection):
        ensure_base(connection)


def ensure_base(connection: BaseDatabaseWrapper) -> None:
    """Create or replace what all segments share; one session at a time."""
    lock_base(connection)
    for schema in (conf.schema(), conf.live_schema()):
        if not _schema_exists(connection, schema):
            execute(connection, "create_schema", schema=sql.Identifier(schema))
    before = membership_type(connection)
    if before not in (None, names.key_type(connection)):
        execute(connection, "drop_base_view", view=base_view("membership"))
        for named, taken in (
            (function("is_user"), f"({before})"),
            (live_function("is_member"), f"(text, {before})"),
            (live_function("members"), "(text)"),
        ):
            execute(connection, "drop_function", function=named, arguments=sql.SQL(taken))
    for file, parts in _statements(connection).items():
        execute(connection, file, **parts)
    for named, declared in functions(connection):
        execute(connection, "grant_execute", function=named, arguments=declared)
    for view, words in (
        (base_view("membership"), "Which user is in which segment, and since when."),
        (base_view("catalog"), "Every segment, how it is doing, and how old its members are."),
    ):
        comment_live_view(connection, view, words)
        readers.grant(connection, view)
    comment_columns(connection, "membership", {"user_id": about_key()} | MEMBERSHIP_COLUMNS)
    comment_columns(connection, "catalog", CATALOG_COLUMNS)
    for schema, comment in (
        (
            conf.schema(),
            about(
                "Members of segments, as of their last refresh.",
                *readers.kept(connection),
                _fingerprint(connection),
            ),
        ),
        (conf.live_schema(), about("Members of segments, computed on each read.")),
    ):
        execute(connection, "comment_schema", schema=sql.Identifier(schema), comment=comment)


def drift(connection: BaseDatabaseWrapper) -> list[str]:
    """Return in words what `ensure_base` would mend."""
    missing = _missing(connection)
    comment = value(connection, "select_schema_comment", schema=conf.schema()) or ""
    what = [f"{name} is missing" for name in missing]
    if not missing and not comment.endswith(f"{_fingerprint(connection)}]"):
        what.append("what all segments share is of another version or other settings")
    for view in ("membership", "catalog"):
        name = f"{conf.schema()}.{view}"
        if name not in missing:
            denied = readers.ungranted(connection, base_view(view))
            what += [f"role {role} may not read {name}" for role, _ in denied]
    what += [
        f"role {role} is no more in SEGMENTS_READER_ROLES, and may still read"
        for role in readers.former(connection)
    ]
    return what


def _missing(connection: BaseDatabaseWrapper) -> list[str]:
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    return [name for (name,) in rows(connection, "select_missing_base", **schemas)]


def _statements(connection: BaseDatabaseWrapper) -> dict[str, dict[str, sql.Composable]]:
    """Return the statements that make what all segments share, by file, with their parts."""
    segment, schema = sql.Identifier("segments_segment"), sql.Literal(conf.schema())
    key_type = sql.SQL(names.key_type(connection))
    reads = sql.SQL(text("reads_of_segment")).format(live=sql.SQL("live_view"))
    return {
        "replace_detached_function": {"function": function("detached")},
        "replace_membership_view": {
            "view": base_view("membership"),
            "membership": sql.Identifier("segments_membership"),
            "segment": segment,
            "key_type": key_type,
        },
        "replace_catalog_view": {
            "view": base_view("catalog"),
            "segment": segment,
            "refresh": sql.Identifier("segments_segmentrefresh"),
            "schema": schema,
            "due": due(),
        },
        "replace_is_user_function": {
            "function": function("is_user"),
            "users": _located(connection, names.user_table()),
            "key": sql.Identifier(names.user_key_column()),
            "key_type": key_type,
            "path": _path(connection, names.user_table()),
        },
        "replace_is_member_function": {"function": function("is_member"), "schema": schema},
        "replace_is_live_member_function": {
            "function": live_function("is_member"),
            "schema": sql.Literal(conf.live_schema()),
            "key_type": key_type,
        },
        "replace_live_members_function": {
            "function": live_function("members"),
            "schema": sql.Literal(conf.live_schema()),
            "key_type": key_type,
        },
        "replace_trace_function": {"function": function("trace"), "reads": reads},
        "replace_unchanged_until_function": {
            "function": function("unchanged_until"),
            "trace": function("trace"),
        },
    }


def _located(connection: BaseDatabaseWrapper, table: sql.Identifier) -> sql.Identifier:
    """Return the name of a table with its schema."""
    found = rows(connection, "select_relation", name=table.as_string())
    return sql.Identifier(*found[0][:2]) if found else table


def _path(connection: BaseDatabaseWrapper, table: sql.Identifier) -> sql.Composable:
    """Return the setting for a function that reads a table; none where that runs nothing else.

    Temporary objects, which a caller may have made, come last.
    """
    schemas = [
        sql.Identifier(each) for (each,) in rows(connection, "select_path", name=table.as_string())
    ]
    if not schemas:
        return sql.SQL("")
    return sql.SQL("SET search_path = {}, pg_temp").format(sql.SQL(", ").join(schemas))


def functions(connection: BaseDatabaseWrapper) -> Iterator[tuple[sql.Identifier, sql.Composed]]:
    """Give the functions that all segments share, with the arguments that their files declare."""
    for file, parts in _statements(connection).items():
        declared = DECLARED.match(text(file))
        if declared:
            named = cast(sql.Identifier, parts["function"])
            yield named, sql.SQL(declared[1]).format(**parts)


def _fingerprint(connection: BaseDatabaseWrapper) -> str:
    made = (
        statement(file, **parts).as_string() for file, parts in _statements(connection).items()
    )
    return hashlib.sha256("\n".join(made).encode()).hexdigest()[:16]


def due() -> sql.Composed:
    """Return the expression for when a segment is due, of which NULL is never."""
    every = sql.Literal(conf.refresh_every())
    due: sql.Composed = statement("due_of_segment", every=sql.SQL("{}::interval").format(every))
    return due


def function(name: str) -> sql.Identifier:
    """Return one of the functions that all segments share."""
    return sql.Identifier(conf.schema(), name)


def live_function(name: str) -> sql.Identifier:
    """Return one of the functions that evaluate a definition; readers may not use their schema."""
    return sql.Identifier(conf.live_schema(), name)


def base_view(name: str) -> sql.Identifier:
    """Return one of the views over all segments."""
    return sql.Identifier(conf.schema(), name)


def membership_type(connection: BaseDatabaseWrapper) -> str | None:
    """Return the type of the user ids in the view over all memberships, or None without one."""
    found: str | None = value(
        connection, "select_key_type", view=base_view("membership").as_string()
    )
    return found


def _schema_exists(connection: BaseDatabaseWrapper, schema: str) -> bool:
    return bool(value(connection, "select_schema", schema=schema))
