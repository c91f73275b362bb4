"""The two views of a segment, and the views over all segments: create, change, drop, look up."""

from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.errors import InvalidObjectDefinition

from segments import conf
from segments.sql import names, text
from segments.sql.definition import Compiled, describe
from segments.sql.session import execute

MARK = "[django-segments"
"""Every comment of ours ends with this, a space and what it needs, and a bracket."""


@dataclass(frozen=True)
class Label:
    """How a segment presents itself to those who look at its views."""

    slug: str
    name: str
    description: str


@dataclass(frozen=True)
class State:
    """What Postgres has of a segment.

    Attributes:
        name: The name of both views.
        live: Whether there is a live view.
        members: The OID of the materialized view, or None.
        populated: Whether that was ever refreshed.
        indexed: Whether it has the unique index that a concurrent refresh needs.
        commented: Whether it says what it is.
        fingerprint: Of the SQL in the live view, or None.
        shape: The same, without what changes with time.
        ours: Whether this package made the views.
    """

    name: str
    live: bool = False
    members: int | None = None
    populated: bool = False
    indexed: bool = False
    commented: bool = False
    fingerprint: str | None = None
    shape: str | None = None
    ours: bool = False


def states(connection: BaseDatabaseWrapper, name: str | None = None) -> dict[str, State]:
    """Return the views in the two schemas by name; all of them, or those of one name."""
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_views"),
            {"schema": conf.schema(), "live_schema": conf.live_schema(), "name": name},
        )
        rows = cursor.fetchall()
    return {row[0]: _state(*row) for row in rows}


def state(connection: BaseDatabaseWrapper, slug: str) -> State:
    """Return what Postgres has of one segment."""
    name = names.view_name(slug)
    return states(connection, name).get(name, State(name))


def ensure_schemas(connection: BaseDatabaseWrapper) -> None:
    """Create the two schemas if they are missing, and in a new one what all segments share."""
    if not _schema_exists(connection, conf.live_schema()):
        ensure_base(connection)


def ensure_base(connection: BaseDatabaseWrapper) -> None:
    """Create or replace what all segments share: two schemas, two views, one function."""
    for schema, comment in (
        (conf.schema(), "Members of segments, as of their last refresh."),
        (conf.live_schema(), "Members of segments, computed on each read."),
    ):
        if not _schema_exists(connection, schema):
            name = sql.Identifier(schema)
            execute(connection, "create_schema", schema=name)
            execute(connection, "comment_schema", schema=name, comment=_comment(comment))
    segment = sql.Identifier("segments_segment")
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
    )
    for view, comment in (
        (membership, "Which user is in which segment, and since when."),
        (catalog, "Every segment, how it is doing, and how old its members are."),
    ):
        execute(connection, "comment_live_view", view=view, comment=_comment(comment))
        grant(connection, view)
    execute(
        connection,
        "replace_is_member_function",
        function=sql.Identifier(conf.schema(), "is_member"),
        schema=sql.Literal(conf.schema()),
    )


def ensure(connection: BaseDatabaseWrapper, label: Label, compiled: Compiled) -> State:
    """Bring a segment's views to what they should be; return what they were.

    A changed definition replaces the live view alone: the members keep their OID, rows, GRANTs,
    comment and whatever was built on them. The caller holds the segment's lock. Takes
    AccessExclusive on the live view where it is replaced.
    """
    ensure_schemas(connection)
    found = state(connection, label.slug)
    view, live = names.members_view(label.slug), names.live_view(label.slug)
    if not found.live or found.fingerprint != compiled.fingerprint:
        execute(connection, "replace_live_view", view=live, definition=compiled.as_sql())
        comment_live(connection, label, compiled.fingerprint, compiled.shape)
    if found.members is None:
        execute(connection, "create_members_view", view=view, live=live)
    if not found.indexed:
        execute(connection, "create_members_index", view=view)
    if not found.commented:
        comment_members(connection, label)
    grant(connection, view)
    return found


def missing_base(connection: BaseDatabaseWrapper) -> list[str]:
    """Return what of `ensure_base` is not there."""
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_missing_base"),
            {"schema": conf.schema(), "live_schema": conf.live_schema()},
        )
        return [row[0] for row in cursor.fetchall()]


def base_view(name: str) -> sql.Identifier:
    """Return one of the views over all segments."""
    return sql.Identifier(conf.schema(), name)


def create_trial(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> str:
    """Evaluate a definition into a view that the caller rolls back; return that view's name."""
    view = names.trial_view(slug)
    execute(connection, "create_trial_view", view=view, definition=compiled.as_sql())
    return names.trial_name(slug)


def comment_live(connection: BaseDatabaseWrapper, label: Label, *prints: str) -> None:
    """Say on the live view what it is, and keep the fingerprint and shape of its SQL there."""
    execute(
        connection,
        "comment_live_view",
        view=names.live_view(label.slug),
        comment=_comment(f'Members of segment "{label.slug}", computed on each read.', *prints),
    )


def comment_members(connection: BaseDatabaseWrapper, label: Label) -> None:
    """Say on the members what they are, in the words of the segment."""
    view = names.members_view(label.slug)
    about = f"{label.name}: {label.description}" if label.description else label.name
    execute(
        connection,
        "comment_members_view",
        view=view,
        comment=_comment(f'Members of segment "{label.slug}" as of its last refresh. {about}'),
    )
    execute(
        connection,
        "comment_members_column",
        column=sql.Identifier(conf.schema(), names.view_name(label.slug), "user_id"),
        comment=sql.Literal(
            f"Key of the user ({names.user_table().as_string()}.{names.user_key_column()})"
        ),
    )


def ungranted(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[str]:
    """Return the roles of `SEGMENTS_READER_ROLES` that cannot read the view."""
    roles = conf.reader_roles()
    if not roles:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_ungranted"),
            {"roles": roles, "schema": conf.schema(), "view": view.as_string()},
        )
        return [row[0] for row in cursor.fetchall()]


def grant(connection: BaseDatabaseWrapper, view: sql.Identifier) -> None:
    """Let the roles of `SEGMENTS_READER_ROLES` read the view."""
    for name in ungranted(connection, view):
        role = sql.Identifier(name)
        execute(connection, "grant_usage", schema=sql.Identifier(conf.schema()), role=role)
        execute(connection, "grant_select", view=view, role=role)


def relabel(connection: BaseDatabaseWrapper, old_slug: str, label: Label) -> None:
    """Give both views of a segment the name of its new slug, and comments that fit.

    AccessExclusive on both, for an instant. Views on top follow; texts that name them do not.
    """
    found, name = state(connection, old_slug), sql.Identifier(names.view_name(label.slug))
    renamed = found.name != names.view_name(label.slug)
    if found.live:
        if renamed:
            execute(connection, "rename_live_view", view=names.live_view(old_slug), name=name)
        comment_live(connection, label, *filter(None, (found.fingerprint, found.shape)))
    if found.members is not None:
        if renamed:
            view = names.members_view(old_slug)
            execute(connection, "rename_members_view", view=view, name=name)
        comment_members(connection, label)


def drop(connection: BaseDatabaseWrapper, name: str) -> None:
    """Drop both views of one name; Postgres refuses that while anything else reads them."""
    execute(connection, "drop_members_view", view=names.members_view(name))
    execute(connection, "drop_live_view", view=names.live_view(name))


def reads(connection: BaseDatabaseWrapper) -> dict[str, set[str]]:
    """Return, by view name, the segments that each segment reads, itself included if it does."""
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_reads"), {"schema": conf.schema(), "live_schema": conf.live_schema()}
        )
        graph: dict[str, set[str]] = {}
        for segment, read in cursor.fetchall():
            graph.setdefault(segment, set()).add(read)
    return graph


def reads_itself(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Return whether a live view reads live views in a circle; Postgres finds out on a Parse.

    That a view reads itself without a way round cannot be told from `pg_depend`, where every view
    depends on itself.
    """
    live = sql.Identifier(conf.live_schema(), name)
    try:
        describe(connection, f"TABLE {live.as_string()}")
    except InvalidObjectDefinition:
        return True
    return False


def _comment(about: str, *prints: str) -> sql.Literal:
    return sql.Literal(f"{about} {' '.join([MARK, *prints])}]")


def _schema_exists(connection: BaseDatabaseWrapper, schema: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(text("select_schema"), {"schema": schema})
        return bool(cursor.fetchone()[0])


def _state(
    name: str,
    live: int | None,
    live_comment: str | None,
    members: int | None,
    members_comment: str | None,
    populated: bool,
    indexed: bool,
) -> State:
    prints = (live_comment or "").rpartition(MARK)[2].strip(" ]").split() if live_comment else []
    fingerprint, shape = prints if len(prints) == 2 else (None, None)
    return State(
        name=name,
        live=live is not None,
        members=members,
        populated=populated,
        indexed=indexed,
        commented=MARK in (members_comment or ""),
        fingerprint=fingerprint,
        shape=shape,
        ours=MARK in (live_comment or "") or MARK in (members_comment or ""),
    )
