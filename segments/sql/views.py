"""The two views of a segment: create, change, drop, look up."""

import json
from dataclasses import dataclass, replace
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.errors import InvalidObjectDefinition

from segments import conf
from segments.exceptions import SegmentExecutionError
from segments.sql import names
from segments.sql.base import ensure_schemas
from segments.sql.calls import make_view
from segments.sql.definition import Compiled, describe
from segments.sql.labels import MARK, Label, comment_live, comment_members
from segments.sql.readers import grant, ungranted
from segments.sql.session import execute, rows

DETACHED, HELD = "detached", "held"
"""What the comment of a detached live view has: until the next refresh, or until a sync."""


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
        key_type: The type of the user ids in the live view, or None.
        detached: Whether the live view is detached from its tables.
        held: Whether that was done by hand, so that no refresh attaches it.
        reads: What a detached view used to read.
        repairs: What had gone from views that were populated, and `ensure` has put back; in words.
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
    key_type: str | None = None
    detached: bool = False
    held: bool = False
    reads: Any = None
    repairs: tuple[str, ...] = ()


def states(connection: BaseDatabaseWrapper, name: str | None = None) -> dict[str, State]:
    """Return the views in the two schemas by name; all of them, or those of one name."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    return {row[0]: _state(*row) for row in rows(connection, "select_views", name=name, **schemas)}


def state(connection: BaseDatabaseWrapper, slug: str) -> State:
    """Return what Postgres has of one segment."""
    name = names.view_name(slug)
    return states(connection, name).get(name, State(name))


def ensure(
    connection: BaseDatabaseWrapper, label: Label, compiled: Compiled, found: State
) -> State:
    """Bring a segment's views from what was found to what they should be.

    A changed definition replaces the live view alone: the members keep their OID, rows, GRANTs,
    comment and whatever was built on them. Where the key of the user model has got another type,
    both views are made anew; Postgres refuses that while others read them. The caller holds the
    segment's lock. Takes AccessExclusive on the live view where it is replaced.

    Returns:
        What was found, or nothing at all where the views were made anew, and what was put back.
    """
    if not found.live:
        ensure_schemas(connection)
    if found.key_type not in (None, names.key_type(connection)):
        drop(connection, label.slug)
        found = State(found.name)
    if (found.live or found.members is not None) and not found.ours:
        raise SegmentExecutionError(
            f"a view {found.name} is there that this package has not made",
            slug=label.slug,
            hint="Rename or drop it, or give the segment another slug.",
        )
    view, live = names.members_view(label.slug), names.live_view(label.slug)
    repairs = []
    if not found.live or found.fingerprint != compiled.fingerprint:
        if found.members is not None and not found.detached:
            # A lock on the members comes first, as in a REFRESH by hand; that of a detached
            # segment fails before it could wait for this one.
            comment_members(connection, label)
        make_view(connection, "replace_live_view", live, compiled)
        comment_live(connection, label.slug, compiled.fingerprint, compiled.shape)
    if found.members is None:
        execute(connection, "create_members_view", view=view, live=live)
    if not found.indexed:
        execute(connection, "create_members_index", view=view)
        repairs.append("its unique index was missing")
    if not found.commented:
        comment_members(connection, label)
        repairs.append("its comment was missing")
    repairs += [f"role {role} could not read it" for role in grant(connection, view)]
    return replace(found, repairs=tuple(repairs)) if found.populated else found


def is_current(
    connection: BaseDatabaseWrapper, label: Label, compiled: Compiled, found: State
) -> bool:
    """Return whether views are there, whole and populated, and have this definition."""
    return (
        found.live
        and found.populated
        and found.indexed
        and found.commented
        and found.fingerprint == compiled.fingerprint
        and found.key_type == names.key_type(connection)
        and not ungranted(connection, names.members_view(label.slug))
    )


def create_trial(connection: BaseDatabaseWrapper, slug: str, compiled: Compiled) -> str:
    """Evaluate a definition into a view that the caller rolls back; return that view's name."""
    raw: Any = connection.connection
    # No slug has a space in it, and no other session this number.
    name = f"{names.view_name(slug)[:40]} trial {raw.info.backend_pid}"
    view = sql.Identifier(conf.live_schema(), name)
    make_view(connection, "create_trial_view", view, compiled)
    execute(connection, "populate_trial_view", view=view)
    return name


def relabel(connection: BaseDatabaseWrapper, old_slug: str, label: Label) -> None:
    """Give both views of a segment the name of its new slug, and comments that fit.

    AccessExclusive on both, for an instant. Views on top follow; texts that name them do not.
    """
    found, name = state(connection, old_slug), sql.Identifier(names.view_name(label.slug))
    renamed = found.name != names.view_name(label.slug)
    if renamed and state(connection, label.slug).ours:
        drop(connection, label.slug)  # Of a segment that is no more.
    if found.live:
        if renamed:
            execute(connection, "rename_live_view", view=names.live_view(old_slug), name=name)
        if not found.detached:
            comment_live(connection, label.slug, *filter(None, (found.fingerprint, found.shape)))
    if found.members is not None:
        if renamed:
            view = names.members_view(old_slug)
            execute(connection, "rename_members_view", view=view, name=name)
        comment_members(connection, label)


def drop(connection: BaseDatabaseWrapper, name: str) -> None:
    """Drop both views of one name; Postgres refuses that while anything else reads them.

    What somebody else has made under that name stays.
    """
    if not state(connection, name).ours:
        return
    execute(connection, "drop_members_view", view=names.members_view(name))
    execute(connection, "drop_live_view", view=names.live_view(name))


def reads(connection: BaseDatabaseWrapper) -> dict[str, set[str]]:
    """Return, by view name, the segments that each segment reads, itself included if it does."""
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    graph: dict[str, set[str]] = {}
    for segment, read in rows(connection, "select_reads", **schemas):
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


def _state(
    name: str,
    live: int | None,
    live_comment: str | None,
    key_type: str | None,
    members: int | None,
    members_comment: str | None,
    populated: bool,
    indexed: bool,
    paired: bool,
) -> State:
    kept = (live_comment or "").rpartition(f"{MARK} ")[2].removesuffix("]")
    first, _, rest = kept.partition(" ")
    detached = first in (DETACHED, HELD)
    return State(
        name=name,
        live=live is not None,
        members=members,
        populated=populated,
        indexed=indexed,
        commented=MARK in (members_comment or ""),
        fingerprint=first if rest and not detached else None,
        shape=rest if rest and not detached else None,
        # Others, such as Citus, make both anew without their comments.
        ours=paired or MARK in (live_comment or "") or MARK in (members_comment or ""),
        key_type=key_type,
        detached=detached,
        held=first == HELD,
        reads=json.loads(rest) if detached else None,
    )
