"""What all segments share: two schemas, some views, and some functions."""

import hashlib
import re
from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition.kinds import KINDS, QUERY_KINDS
from segments.pgviews.comments import comment_columns, comment_text, comment_view, key_comment
from segments.sql import names, owned
from segments.sql.locks import lock_shared
from segments.sql.session import (
    PINNED_SETTINGS,
    fetch_all,
    fetch_value,
    run_ddl,
)
from segments.sql.statements import compose, sql_text

RENAME = "rename the segment with segment.rename(), then run manage.py sync_segments"
"""What to do about a segment that has the name of a shared view."""

DECLARATION = re.compile(r"CREATE OR REPLACE FUNCTION \{function\} (\(.*?\))\s+RETURNS", re.DOTALL)
"""Matches a statement that creates a function, and captures the function's arguments."""


def ensure_shared_exists(connection: BaseDatabaseWrapper) -> None:
    """Create what all segments share if any of it is missing, also in schemas of others."""
    if _missing(connection):
        ensure_shared(connection)


def ensure_shared(connection: BaseDatabaseWrapper) -> None:
    """Create or replace what all segments share. Other sessions wait."""
    lock_shared(connection)
    for schema in (conf.schema(), conf.live_schema()):
        if not fetch_value(connection, "select_schema", schema=schema):
            run_ddl(connection, "create_schema", schema=sql.Identifier(schema))
    before = key_type_of(connection, "membership")
    if before not in (None, names.key_type(connection)):
        _drop_keyed(connection, before)
    for name, signature in owned.RETIRED_FUNCTIONS:
        former = {"function": function(name), "arguments": sql.SQL(signature)}
        run_ddl(connection, "drop_function", **former)
    former = fetch_value(connection, "reset_settings", names=[*PINNED_SETTINGS])
    views = creatable_views(connection)
    left_out = {view.statement for view in owned.VIEWS if view not in views}
    for name, parts in _statements(connection):
        if name not in left_out:
            run_ddl(connection, name, **parts)
    fetch_value(connection, "restore_settings", former=former)
    for identifier, arguments in functions(connection):
        run_ddl(connection, "grant_execute", function=identifier, arguments=arguments)
    for view in views:
        comment_view(connection, shared_view(view.name), view.comment)
        grant(connection, shared_view(view.name))
        has_key = {"user_id": key_comment()} if view.detached else {}
        comment_columns(connection, view.name, has_key | dict(view.columns))
    members = comment_text("Members of segments, at their last refresh.", _fingerprint(connection))
    live = comment_text("Members of segments, computed on each read.")
    for schema, comment in ((conf.schema(), members), (conf.live_schema(), live)):
        run_ddl(connection, "comment_schema", schema=sql.Identifier(schema), comment=comment)


def drift(connection: BaseDatabaseWrapper) -> list[str]:
    """Return in words what `ensure_shared` would repair."""
    missing = _missing(connection)
    comment = fetch_value(connection, "select_schema_comment", schema=conf.schema()) or ""
    what = [f"{name} is missing" for name in missing]
    if not missing and not comment.endswith(f"{_fingerprint(connection)}]"):
        what.append("what all segments share is of another version or other settings")
    taken = taken_names(connection)
    what += [f"{conf.schema()}.{name} is that of a segment: {RENAME}" for name in taken]
    for view in owned.VIEWS:
        name = f"{conf.schema()}.{view.name}"
        if name not in missing and view.name not in taken:
            denied = ungranted(connection, shared_view(view.name))
            what += [f"role {role} may not read {name}" for role, _ in denied]
    return what


def taken_names(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of shared views that segments have, since they are older than the views.

    Such a view is left out until the segment is renamed, and everything else works.
    """
    names_of_views = [view.name for view in owned.VIEWS]
    return [name for (name,) in fetch_all(connection, "select_taken_names", names=names_of_views)]


def creatable_views(connection: BaseDatabaseWrapper) -> list[owned.SharedView]:
    """Return the shared views whose names are free and whose tables exist.

    While a migration runs that adds a table, the table may be missing; the sync at the end of
    `migrate` creates the view.
    """
    taken = taken_names(connection)
    return [
        view
        for view in owned.VIEWS
        if view.name not in taken and fetch_all(connection, "select_relation", name=view.table)
    ]


def functions(connection: BaseDatabaseWrapper) -> Iterator[tuple[sql.Identifier, sql.Composed]]:
    """Yield the shared functions, each with the arguments that its statement declares."""
    parts = dict(_statements(connection))
    for function in owned.FUNCTIONS:
        yield _identifier(function), _arguments(function, parts[function.statement])


def shared_view(name: str) -> sql.Identifier:
    """Return one of the views over all segments."""
    return sql.Identifier(conf.schema(), name)


def function(name: str) -> sql.Identifier:
    """Return one of the functions that all segments share."""
    return sql.Identifier(conf.schema(), name)


def live_function(name: str) -> sql.Identifier:
    """Return one of the functions that evaluate a definition. Readers may not use their schema."""
    return sql.Identifier(conf.live_schema(), name)


def due_expression() -> sql.Composed:
    """Return the SQL for a segment's due time; NULL means never."""
    every = sql.SQL("{}::interval").format(sql.Literal(conf.refresh_every()))
    expression: sql.Composed = compose("due_of_segment", every=every)
    return expression


def key_type_of(connection: BaseDatabaseWrapper, name: str) -> str | None:
    """Return the type of the user ids in a shared view; None without a view."""
    view = shared_view(name).as_string()
    key_type: str | None = fetch_value(connection, "select_key_type", view=view)
    return key_type


def _missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of shared objects that do not exist."""
    rows = fetch_all(
        connection,
        "select_missing_shared",
        views=[view.name for view in owned.VIEWS],
        functions=[function.name for function in owned.FUNCTIONS if not function.live],
        live_functions=[function.name for function in owned.FUNCTIONS if function.live],
    )
    return [name for (name,) in rows]


def _drop_keyed(connection: BaseDatabaseWrapper, key_type: str | None) -> None:
    """Drop what has the former type of the user key in its signature: it cannot be replaced."""
    for view in creatable_views(connection):
        if view.detached:
            run_ddl(connection, "drop_shared_view", view=shared_view(view.name))
    parts = dict(_statements(connection))
    for function in owned.FUNCTIONS:
        if function.keyed:
            former = parts[function.statement] | {"key_type": sql.SQL(key_type or "")}
            arguments = _arguments(function, former)
            run_ddl(
                connection, "drop_function", function=_identifier(function), arguments=arguments
            )


def _arguments(function: owned.SharedFunction, parts: dict[str, sql.Composable]) -> sql.Composed:
    """Return the arguments that the statement of a function declares."""
    declaration = DECLARATION.match(sql_text(function.statement))
    if declaration is None:
        raise ValueError(f"the statement {function.statement} declares no function")
    return sql.SQL(declaration[1]).format(**parts)


def _identifier(function: owned.SharedFunction) -> sql.Identifier:
    return sql.Identifier(conf.live_schema() if function.live else conf.schema(), function.name)


def _statements(connection: BaseDatabaseWrapper) -> list[tuple[str, dict[str, sql.Composable]]]:
    """Return the statements that create the shared views and functions, each with its parts."""
    users = names.user_table()
    key_type = sql.SQL(names.key_type(connection))
    parts: dict[str, sql.Composable] = {
        "membership": sql.Identifier(owned.MEMBERSHIP),
        "segment": sql.Identifier(owned.SEGMENT),
        "refresh": sql.Identifier(owned.REFRESH),
        "change": sql.Identifier(owned.CHANGE),
        "segments": _located(connection, sql.Identifier(owned.SEGMENT)),
        "schema": sql.Literal(conf.schema()),
        "live_schema": sql.Literal(conf.live_schema()),
        "key_type": key_type,
        "key": sql.Identifier(names.user_key_column()),
        "users": _located(connection, users),
        "path": _path(connection, users),
        "kind": _kind_expression(),
        "due": due_expression(),
        "reads": sql.SQL(sql_text("reads_of_segment")).format(live=sql.SQL("live_view")),
        "read_digest": function("read_digest"),
        "time_zone": sql.Literal(conf.time_zone()),
        "settings": sql.SQL(" ").join(
            compose("keep_setting", name=sql.Identifier(name))
            for name in _settings(connection)
            if name != "search_path"
        ),
    }
    return [
        *((view.statement, parts | {"view": shared_view(view.name)}) for view in owned.VIEWS),
        *((item.statement, parts | {"function": _identifier(item)}) for item in owned.FUNCTIONS),
    ]


def _kind_expression() -> sql.Composed:
    """Return the SQL for the kind of a segment, as a word."""
    cases = [
        compose("kind_of_segment", column=sql.Identifier(kind.field), word=sql.Literal(kind.word))
        for kind in QUERY_KINDS
        if kind.field
    ]
    return sql.SQL("CASE {} ELSE {} END").format(
        sql.SQL(" ").join(cases), sql.Literal(KINDS[-1].word)
    )


def _located(connection: BaseDatabaseWrapper, table: sql.Identifier) -> sql.Identifier:
    """Return the name of a table with its schema, if the table exists."""
    rows = fetch_all(connection, "select_relation", name=table.as_string())
    return sql.Identifier(*rows[0][:2]) if rows else table


def _path(connection: BaseDatabaseWrapper, table: sql.Identifier) -> sql.Composable:
    """Return a `SET search_path` for functions that read a table.

    It is empty if reading the table runs no code of the project.
    """
    rows = fetch_all(connection, "select_path", name=table.as_string())
    if not rows:
        return sql.SQL("")
    schemas = sql.SQL(", ").join(sql.Identifier(schema) for (schema,) in rows)
    setting: sql.Composed = compose("search_path_setting", schemas=schemas)
    return setting


def _settings(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the settings that the shared functions keep, with their values for this role."""
    return dict(fetch_all(connection, "select_settings", names=[*PINNED_SETTINGS]))


def _fingerprint(connection: BaseDatabaseWrapper) -> str:
    texts = [compose(name, **parts).as_string() for name, parts in _statements(connection)]
    texts += [f"{name} = {value}" for name, value in _settings(connection).items()]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def ungranted(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[tuple[str, bool]]:
    """Return the roles of `SEGMENTS_READER_ROLES` that cannot read the view.

    Each comes with whether it may already use the schema. Roles that do not exist are left out.
    """
    roles = conf.reader_roles()
    if not roles:
        return []
    rows = fetch_all(connection, "select_ungranted", roles=roles, view=view.as_string())
    return [(role, may_use) for role, may_use in rows]


def missing_roles(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the roles of `SEGMENTS_READER_ROLES` that do not exist."""
    rows = fetch_all(connection, "select_missing_roles", roles=conf.reader_roles())
    return [role for (role,) in rows]


def grant(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[str]:
    """Let the roles of `SEGMENTS_READER_ROLES` read the view; return the new readers."""
    roles = ungranted(connection, view)
    for name, may_use in roles:
        role = sql.Identifier(name)
        if not may_use:
            lock_shared(connection)
            run_ddl(connection, "grant_usage", schema=sql.Identifier(conf.schema()), role=role)
        run_ddl(connection, "grant_select", view=view, role=role)
    return [name for name, _ in roles]
