"""Detach live views from their tables, and report what became of the tables.

A detached view reads nothing, so the tables of its definition may be changed in any way. Reading
the view, or refreshing from it, fails with a message. The members are not touched. `views.ensure`
attaches the view again.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import shared, views
from segments.pgviews.comments import comment_view
from segments.rows import no_segment, segment_rows
from segments.sql import names, session
from segments.sql.session import fetch_all, fetch_value, run_ddl


@dataclass(frozen=True)
class StepResult:
    """What one step of a detachment, a sync, a removal or a deletion did.

    Attributes:
        slug: The segment; the name of a view that no segment has; empty for what is shared.
        what: What differs or was done, in words; empty if there was nothing to do.
        error: Why it is not known, or could not be done.
    """

    slug: str
    what: list[str] = field(default_factory=list)
    error: SegmentError | None = None

    def __bool__(self) -> bool:
        return bool(self.what) or self.error is not None


def detach(slugs: Iterable[str] | None = None, manual: bool = True) -> Iterator[StepResult]:
    """Detach live views from their tables, each in its own transaction.

    Waits up to `SEGMENTS_LOCK_TIMEOUT` for a running refresh of each segment. A view that cannot
    be detached by then stays attached, and its result has the error.

    Args:
        slugs: The segments to detach; None means all, and orphans as well.
        manual: Whether the views stay detached until a sync or a migration. Otherwise, a refresh
            attaches them.
    """
    alias = conf.exec_connection()
    with session.transaction(alias, "", task="detach") as connection:
        states, reads = views.states(connection), _dependencies(connection)
        if states:
            shared.ensure_shared(connection)
    keys = dict(segment_rows(alias).values_list("slug", "pk"))
    slug_of = {names.view_name(slug): slug for slug in keys}
    chosen = None if slugs is None else {names.view_name(slug): slug for slug in slugs}
    for name, slug in (chosen or {}).items():
        if name not in states and name not in slug_of:
            yield StepResult(slug, error=SegmentError(no_segment(slug)))
    for name in states:
        slug = slug_of.get(name, name)
        if chosen is not None and name not in chosen:
            continue
        try:
            with session.transaction(alias, slug) as opened:
                if slug in keys:
                    session.lock(opened, keys[slug])
                current = views.state(opened, slug)
                detached = detach_view(opened, slug, current, reads.get(name, []), manual)
        except SegmentError as error:
            yield StepResult(slug, ["not detached"], error)
            continue
        if detached:
            yield StepResult(slug, ["detached"])


def detach_view(
    connection: BaseDatabaseWrapper, slug: str, current: views.State, reads: Any, manual: bool
) -> bool:
    """Detach one live view; return whether there was anything to do.

    Takes AccessExclusive on the live view; the caller holds the segment's lock. The comment of the
    view keeps what it used to read.

    Args:
        connection: The connection that owns the views.
        slug: The segment, or the name of an orphan.
        current: The state of its views.
        reads: What the view reads.
        manual: As for `detach`.
    """
    done = current.detached and (current.detached_manually or not manual)
    if not current.live or not current.ours or done:
        return False
    view = names.live_view(slug)
    run_ddl(
        connection,
        "detach_live_view",
        view=view,
        function=shared.function("detached"),
        slug=sql.Literal(slug),
        key_type=sql.SQL(current.key_type or names.key_type(connection)),
    )
    words = f'Segment "{slug}", detached from its tables during a schema change.'
    state = views.DETACHED_MANUALLY if manual else views.DETACHED
    comment_view(connection, view, words, state, json.dumps(current.reads or reads))
    return True


def detach_membership(connection: BaseDatabaseWrapper) -> None:
    """Detach the view over all memberships, so that the type of user keys may change."""
    run_ddl(
        connection,
        "detach_membership_view",
        view=shared.shared_view("membership"),
        function=shared.function("detached"),
        key_type=sql.SQL(shared.membership_type(connection) or names.key_type(connection)),
    )


def changes(connection: BaseDatabaseWrapper, current: views.State) -> list[str]:
    """Return in words what became of the tables and columns that a detached view used to read."""
    if not current.reads:
        return []
    rows = fetch_all(connection, "select_changes", reads=json.dumps(current.reads))
    return [words for (words,) in rows]


def current_sql(connection: BaseDatabaseWrapper, slug: str) -> str:
    """Return the SQL of a live view with the current names of its tables."""
    view = names.live_view(slug).as_string()
    return str(fetch_value(connection, "select_definition", view=view)).strip().rstrip(";")


def find(what: str) -> Iterator[str]:
    """Yield in words the segments and other views that read a table or column, even indirectly.

    Args:
        what: `table`, `schema.table`, `table.column` or `schema.table.column`.

    Raises:
        SegmentExecutionError: when there is no such table or column.
    """
    connection = connections[conf.exec_connection()]
    with translated(SegmentExecutionError):
        rows = fetch_all(connection, "select_table_and_column", what=what)
        if not rows:
            raise SegmentExecutionError(f"there is no table or column {what}")
        table, column = rows[0]
        readers = fetch_all(connection, "select_using", table=table, column=column)
    slugs = segment_rows().values_list("slug", flat=True)
    slug_of = {names.view_name(slug): slug for slug in slugs}
    for name, view, live, own, owner in readers:
        if live:
            yield f"segment {slug_of.get(name, name)}"
        elif not own:
            yield f"view {view} of {owner}"


def _dependencies(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return the tables and columns that each live view reads, by the name of the view."""
    rows = fetch_all(connection, "select_dependencies")
    return {view: json.loads(reads) for view, reads in rows}
