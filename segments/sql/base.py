"""What all segments share: two schemas, two views, two functions."""

import hashlib

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.sql import names, statement
from segments.sql.labels import about, comment_live_view, grant
from segments.sql.session import execute, lock_base, rows, value


def ensure_schemas(connection: BaseDatabaseWrapper) -> None:
    """Create the two schemas if they are missing, and in a new one what all segments share."""
    if not _schema_exists(connection, conf.live_schema()):
        ensure_base(connection)


def ensure_base(connection: BaseDatabaseWrapper) -> None:
    """Create or replace what all segments share; one session at a time."""
    lock_base(connection)
    for schema in (conf.schema(), conf.live_schema()):
        if not _schema_exists(connection, schema):
            execute(connection, "create_schema", schema=sql.Identifier(schema))
    if membership_type(connection) not in (None, names.key_type(connection)):
        execute(connection, "drop_base_view", view=base_view("membership"))
    for file, parts in _statements(connection).items():
        execute(connection, file, **parts)
    for view, words in (
        (base_view("membership"), "Which user is in which segment, and since when."),
        (base_view("catalog"), "Every segment, how it is doing, and how old its members are."),
    ):
        comment_live_view(connection, view, words)
        grant(connection, view)
    for schema, comment in (
        (
            conf.schema(),
            about("Members of segments, as of their last refresh.", _fingerprint(connection)),
        ),
        (conf.live_schema(), about("Members of segments, computed on each read.")),
    ):
        execute(connection, "comment_schema", schema=sql.Identifier(schema), comment=comment)


def drift(connection: BaseDatabaseWrapper) -> list[str]:
    """Return in words what `ensure_base` would mend."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    missing = [name for (name,) in rows(connection, "select_missing_base", **schemas)]
    comment = value(connection, "select_schema_comment", schema=conf.schema()) or ""
    if not missing and not comment.endswith(f"{_fingerprint(connection)}]"):
        return ["what all segments share is of another version or other settings"]
    return [f"{name} is missing" for name in missing]


def _statements(connection: BaseDatabaseWrapper) -> dict[str, dict[str, sql.Composable]]:
    """Return the statements that make what all segments share, by file, with their parts."""
    segment, schema = sql.Identifier("segments_segment"), sql.Literal(conf.schema())
    return {
        "replace_detached_function": {"function": sql.Identifier(conf.schema(), "detached")},
        "replace_membership_view": {
            "view": base_view("membership"),
            "membership": sql.Identifier("segments_membership"),
            "segment": segment,
            "key_type": sql.SQL(names.key_type(connection)),
        },
        "replace_catalog_view": {
            "view": base_view("catalog"),
            "segment": segment,
            "refresh": sql.Identifier("segments_segmentrefresh"),
            "schema": schema,
            "due": due(),
        },
        "replace_is_member_function": {
            "function": sql.Identifier(conf.schema(), "is_member"),
            "schema": schema,
        },
    }


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
