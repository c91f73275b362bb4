"""The two views of a segment: look them up, create, change and drop them."""

import json
from dataclasses import dataclass, replace
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.errors import InvalidObjectDefinition

from segments import conf
from segments.definition.gate import create_checked_view
from segments.definition.select import Compiled, Definition, describe
from segments.exceptions import SegmentExecutionError
from segments.pgviews.binding import difference
from segments.pgviews.comments import SIGNATURE, Label, comment_live, comment_members
from segments.pgviews.shared import ensure_shared_exists, grant, ungranted
from segments.sql import names
from segments.sql.session import fetch_all, run_ddl
from segments.sql.statements import compose

DETACHED, DETACHED_MANUALLY = "detached", "held"
"""What the comment of a detached live view keeps: it is so until a refresh, or until a sync."""


@dataclass(frozen=True)
class State:
    """The state of a segment's views in Postgres.

    Attributes:
        name: The name of both views.
        live: Whether the live view exists.
        live_oid, members_oid: The OIDs of the live view and of the materialized view, or None.
        populated: Whether the materialized view was ever refreshed.
        indexed: Whether it has the unique index that a concurrent refresh needs.
        commented: Whether it has its comment.
        fingerprint: The fingerprint of the SQL in the live view, or None.
        stable_fingerprint: The same, without the part that varies.
        source_fingerprint: The fingerprint of what the live view was compiled from.
        ours: Whether this package created the views.
        key_type: The type of the user ids in the live view, or None.
        detached: Whether the live view is detached from its tables.
        detached_manually: Whether somebody ran `detach_segments`, so that no refresh attaches it.
        reads: What a detached view used to read.
        rebound: Whether `ensure` has replaced a live view although its SQL is the same, because a
            new view of it reads something else by now.
        repairs: What `ensure` has restored on populated views, in words.
    """

    name: str
    live: bool = False
    live_oid: int | None = None
    members_oid: int | None = None
    populated: bool = False
    indexed: bool = False
    commented: bool = False
    fingerprint: str | None = None
    stable_fingerprint: str | None = None
    source_fingerprint: str | None = None
    ours: bool = False
    key_type: str | None = None
    detached: bool = False
    detached_manually: bool = False
    reads: Any = None
    rebound: bool = False
    repairs: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints that the live view has."""
        values = self.fingerprint, self.stable_fingerprint, self.source_fingerprint
        return tuple(filter(None, values))

    @property
    def whole(self) -> bool:
        """Whether the members are populated, and have their index and their comment."""
        return self.populated and self.indexed and self.commented


def states(connection: BaseDatabaseWrapper, name: str | None = None) -> dict[str, State]:
    """Return the state of all views in the two schemas, or of those with one name, by name."""
    return {row[0]: _state(*row) for row in fetch_all(connection, "select_views", name=name)}


def state(connection: BaseDatabaseWrapper, slug: str) -> State:
    """Return the state of a segment's views."""
    name = names.view_name(slug)
    return states(connection, name).get(name, State(name))


def ensure(
    connection: BaseDatabaseWrapper, label: Label, compiled: Compiled, current: State
) -> State:
    """Create or change the views of a segment, so that they match its label and definition.

    If the definition has changed, or names other objects by now, only the live view is replaced:
    the members keep their OID, rows, GRANTs, comment and all views that read them. If the type of
    the user key has changed, both views are recreated; Postgres refuses while anything else reads
    them. The caller holds the segment's lock. Takes AccessExclusive on the live view if it is
    replaced.

    Returns:
        The state before, with the repairs; an empty state if the views were recreated.
    """
    if not current.live:
        ensure_shared_exists(connection)
    if current.key_type not in (None, names.key_type(connection)):
        drop(connection, label.slug)
        current = State(current.name)
    if (current.live or current.members_oid is not None) and not current.ours:
        raise SegmentExecutionError(
            f"there is a view {current.name} that this package has not created",
            slug=label.slug,
            hint="Rename or drop it, or give the segment another slug.",
        )
    view, live = names.members_view(label.slug), names.live_view(label.slug)
    repairs = []
    redefined = not current.live or current.fingerprint != compiled.fingerprint
    changed = None if redefined else difference(connection, label.slug, compiled)
    if changed and changed.words:
        repairs.append(changed.words)
    if redefined or changed:
        if current.members_oid is not None and not current.detached:
            # A manual REFRESH locks the members before the live view, so do the same here. For a
            # detached segment, it fails before it could wait for a lock.
            comment_members(connection, label)
        create_checked_view(connection, "replace_live_view", live, compiled)
        comment_live(connection, label.slug, *compiled.fingerprints)
    if current.members_oid is None:
        run_ddl(connection, "create_members_view", view=view, live=live)
    if not current.indexed:
        run_ddl(connection, "create_members_index", view=view)
        repairs.append("its unique index was missing")
    if not current.commented:
        comment_members(connection, label)
        repairs.append("its comment was missing")
    repairs += [f"role {role} could not read it" for role in grant(connection, view)]
    repaired = tuple(repairs) if current.populated else ()
    return replace(current, rebound=changed is not None, repairs=repaired)


def is_current(
    connection: BaseDatabaseWrapper, label: Label, definition: Definition, current: State
) -> bool:
    """Return whether the views exist, are whole, and were compiled from this definition.

    What its text means may have changed since.
    """
    return (
        current.live
        and current.whole
        and current.source_fingerprint == definition.source_fingerprint
        and current.key_type == names.key_type(connection)
        and not ungranted(connection, names.members_view(label.slug))
    )


def relabel(connection: BaseDatabaseWrapper, old_slug: str, label: Label) -> None:
    """Rename both views of a segment after its new slug, and update their comments.

    Takes AccessExclusive on both for an instant. Views that read them follow the new name, and SQL
    that names them does not.
    """
    current, name = state(connection, old_slug), sql.Identifier(names.view_name(label.slug))
    renamed = current.name != names.view_name(label.slug)
    if renamed and state(connection, label.slug).ours:
        drop(connection, label.slug)  # They belong to a segment that no longer exists.
    if current.live:
        if renamed:
            run_ddl(connection, "rename_live_view", view=names.live_view(old_slug), name=name)
        if not current.detached:
            comment_live(connection, label.slug, *current.fingerprints)
    if current.members_oid is not None:
        if renamed:
            view = names.members_view(old_slug)
            run_ddl(connection, "rename_members_view", view=view, name=name)
        comment_members(connection, label)


def drop(connection: BaseDatabaseWrapper, name: str) -> None:
    """Drop both views of one name. Postgres refuses while anything else reads them.

    Views that somebody else has created stay.
    """
    if not state(connection, name).ours:
        return
    run_ddl(connection, "drop_members_view", view=names.members_view(name))
    run_ddl(connection, "drop_live_view", view=names.live_view(name))


def reads(connection: BaseDatabaseWrapper) -> dict[str, set[str]]:
    """Return the segments that each segment reads, by view name; itself if it reads itself."""
    graph: dict[str, set[str]] = {}
    for segment, read in fetch_all(connection, "select_reads"):
        graph.setdefault(segment, set()).add(read)
    return graph


def reads_itself(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Return whether a live view reads live views in a circle. Postgres finds out by parsing.

    `pg_depend` does not show that a view reads itself: there, every view depends on itself.
    """
    live = sql.Identifier(conf.live_schema(), name)
    try:
        describe(connection, compose("describe_view", view=live).as_string())
    except InvalidObjectDefinition:
        return True
    return False


def _state(
    name: str,
    live: int | None,
    live_comment: str | None,
    key_type: str | None,
    members_oid: int | None,
    members_comment: str | None,
    populated: bool,
    indexed: bool,
    paired: bool,
) -> State:
    values = (live_comment or "").rpartition(f"{SIGNATURE} ")[2].removesuffix("]")
    first, _, rest = values.partition(" ")
    detached = first in (DETACHED, DETACHED_MANUALLY)
    stable, _, source = ("", "", "") if detached else rest.partition(" ")
    return State(
        name=name,
        live=live is not None,
        live_oid=live,
        members_oid=members_oid,
        populated=populated,
        indexed=indexed,
        commented=SIGNATURE in (members_comment or ""),
        fingerprint=first if stable else None,
        stable_fingerprint=stable or None,
        source_fingerprint=source or None,
        # Some tools, such as Citus, recreate both without their comments.
        ours=paired or SIGNATURE in (live_comment or "") or SIGNATURE in (members_comment or ""),
        key_type=key_type,
        detached=detached,
        detached_manually=first == DETACHED_MANUALLY,
        reads=json.loads(rest) if detached else None,
    )
