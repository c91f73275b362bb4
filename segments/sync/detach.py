"""Detach live views from their tables, and report what became of the tables.

A detached view reads nothing, so the tables of its definition may be changed in any way. Reading
the view, or refreshing from it, fails with a message. The members are not touched. `views.ensure`
attaches the view again.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import shared, views
from segments.pgviews.comments import SIGNATURE, comment_view
from segments.rows import no_segment, segment_rows, slugs_by_view
from segments.sql import locks, names, session
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


@dataclass(frozen=True)
class LiveView:
    """A live view to detach.

    Attributes:
        slug: The segment, or the name of an orphan.
        key: The key of the segment; None for an orphan.
        reads: The tables and columns that it reads.
    """

    slug: str
    key: int | None
    reads: Any

    def detach(self, manual: bool, lock_timeout: timedelta | None = None) -> bool:
        """Detach it in a transaction; return whether there was anything to do.

        Args:
            manual: As for the function `detach`.
            lock_timeout: How long to wait for each lock. None means the setting's value.
        """
        alias = conf.exec_connection()
        with session.transaction(alias, self.slug, lock_timeout=lock_timeout) as connection:
            if self.key is not None:
                locks.lock(connection, self.key)
            current = views.state(connection, self.slug)
            return detach_view(connection, self.slug, current, self.reads, manual)


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
    with translated(SegmentExecutionError):
        states = views.states(connections[alias])
        existing = states.keys() | slugs_by_view(alias).keys()
    chosen = None if slugs is None else {names.view_name(slug): slug for slug in slugs}
    for name, slug in (chosen or {}).items():
        if name not in existing:
            yield StepResult(slug, error=SegmentError(no_segment(slug)))
    for view in live_views(states):
        if chosen is not None and names.view_name(view.slug) not in chosen:
            continue
        try:
            detached = view.detach(manual)
        except SegmentError as error:
            yield StepResult(view.slug, ["not detached"], error)
            continue
        if detached:
            yield StepResult(view.slug, ["detached"])


def attached(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of the live views of this package that read anything."""
    detached = [views.DETACHED, views.DETACHED_MANUALLY]
    rows = fetch_all(connection, "select_attached", signature=SIGNATURE, detached=detached)
    return [name for (name,) in rows]


def live_views(view_names: Iterable[str]) -> list[LiveView]:
    """Return the live views of these names, which can be detached from then on."""
    view_names = list(view_names)
    if not view_names:
        return []
    alias = conf.exec_connection()
    with session.transaction(alias, "", task="detach") as connection:
        reads = _dependencies(connection)
        shared.ensure_shared_exists(connection)
        keys = dict(segment_rows(alias).values_list("slug", "pk"))
    slug_of = {names.view_name(slug): slug for slug in keys}
    slugs = [(name, slug_of.get(name, name)) for name in view_names]
    return [LiveView(slug, keys.get(slug), reads.get(name, [])) for name, slug in slugs]


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


def detach_shared(connection: BaseDatabaseWrapper) -> None:
    """Detach the shared views that have user ids, so that the type of user keys may change."""
    for view in shared.creatable_views(connection):
        if not view.detached:
            continue
        key_type = shared.key_type_of(connection, view.name) or names.key_type(connection)
        run_ddl(
            connection,
            view.detached,
            view=shared.shared_view(view.name),
            function=shared.function("detached"),
            key_type=sql.SQL(key_type),
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
    slug_of = slugs_by_view()
    for name, view, live, own, owner in readers:
        if live:
            yield f"segment {slug_of.get(name, name)}"
        elif not own:
            yield f"view {view} of {owner}"


def _dependencies(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return the tables and columns that each live view reads, by the name of the view."""
    rows = fetch_all(connection, "select_dependencies")
    return {view: json.loads(reads) for view, reads in rows}
