"""What all segments share: two schemas, two views, two functions."""

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
    for schema, comment in (
        (conf.schema(), "Members of segments, as of their last refresh."),
        (conf.live_schema(), "Members of segments, computed on each read."),
    ):
        if not _schema_exists(connection, schema):
            name = sql.Identifier(schema)
            execute(connection, "create_schema", schema=name)
            execute(connection, "comment_schema", schema=name, comment=about(comment))
    execute(
        connection,
        "replace_detached_function",
        function=sql.Identifier(conf.schema(), "detached"),
    )
    segment = sql.Identifier("segments_segment")
    if membership_type(connection) not in (None, names.key_type(connection)):
        execute(connection, "drop_base_view", view=base_view("membership"))
    membership, catalog = base_view("membership"), base_view("catalog")
    execute(
        connection,
        "replace_membership_view",
        view=membership,
        membership=sql.Identifier("segments_membership"),
        segment=segment,
        key_type=sql.SQL(names.key_type(connection)),
    )
    execute(
        connection,
        "replace_catalog_view",
        view=catalog,
        segment=segment,
        refresh=sql.Identifier("segments_segmentrefresh"),
        schema=sql.Literal(conf.schema()),
        due=due(),
    )
    for view, comment in (
        (membership, "Which user is in which segment, and since when."),
        (catalog, "Every segment, how it is doing, and how old its members are."),
    ):
        comment_live_view(connection, view, comment)
        grant(connection, view)
    execute(
        connection,
        "replace_is_member_function",
        function=sql.Identifier(conf.schema(), "is_member"),
        schema=sql.Literal(conf.schema()),
    )


def missing_base(connection: BaseDatabaseWrapper) -> list[str]:
    """Return what of `ensure_base` is not there."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    return [name for (name,) in rows(connection, "select_missing_base", **schemas)]


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
