"""Drop everything that this package has created in the database, except what `migrate` created.

Each segment is deleted in its own transaction, so that thousands of segments never take more locks
than one does. Postgres and Django refuse to drop what others need.
"""

from collections.abc import Iterator
from itertools import chain

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.deletion import ProtectedError, RestrictedError
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import shared
from segments.refreshing.order import ordered
from segments.rows import (
    change_rows,
    membership_rows,
    segment_rows,
    static_member_rows,
    write_alias,
)
from segments.sql import locks, owned, session
from segments.sql.session import fetch_value, run_ddl
from segments.sync.detach import StepResult
from segments.sync.repair import drop_orphans

DEPENDENT_OBJECTS = "2BP01"


def drop() -> Iterator[StepResult]:
    """Drop everything, in reverse order of dependency, and yield each step when it is done.

    A failed step has its error, and stops only the steps that depend on it. Waits for running
    refreshes. Takes the locks of one segment at a time: AccessExclusive on its views. Django
    deletes the rows, and sends its signals.
    """
    alias, connection = write_alias(), connections[conf.exec_connection()]
    with translated(SegmentExecutionError):
        has_rows = owned.SEGMENT in connections[alias].introspection.table_names()
    while True:
        failed, dropped = list[StepResult](), False
        # Orphans may read segments, and segments may read orphans.
        steps = chain(_drop_orphans(connection, has_rows), _delete(alias) if has_rows else ())
        for step in steps:
            if step.error:
                failed.append(step)
            else:
                dropped = True
                yield step
        if not failed:
            break
        if not dropped:
            yield from failed
            return
    if has_rows:
        for rows in (membership_rows(alias), static_member_rows(alias), change_rows(alias)):
            rows._raw_delete(alias)
    yield from drop_shared(connection)


def drop_shared(connection: BaseDatabaseWrapper) -> Iterator[StepResult]:
    """Drop what all segments share, and the schemas unless they contain anything else."""
    schemas = (conf.live_schema(), conf.schema())
    what = "the views and functions that all segments share"
    try:
        with session.transaction(connection.alias, "", task="drop") as opened:
            locks.lock_shared(opened)
            if not any(fetch_value(opened, "select_schema", schema=each) for each in schemas):
                return
            taken = shared.taken_names(opened)
            for view in owned.VIEWS:
                if view.name in taken:
                    continue
                run_ddl(opened, "drop_shared_view", view=shared.shared_view(view.name))
            for function, arguments in shared.functions(opened):
                run_ddl(opened, "drop_function", function=function, arguments=arguments)
    except SegmentError as error:
        yield StepResult("", [what], error)
        return
    yield StepResult("", [f"dropped {what}"])
    for schema in schemas:
        yield from _drop_schema(connection, schema)


def _drop_orphans(connection: BaseDatabaseWrapper, has_rows: bool) -> Iterator[StepResult]:
    """Drop the views that no segment has."""
    for step in drop_orphans(connection, has_rows):
        yield _step(step.slug, f"the views {step.slug}, which no segment has", step.error)


def _delete(alias: str) -> Iterator[StepResult]:
    """Delete all segments and their views, in reverse order of dependency."""
    for segment in reversed(ordered(segment_rows(alias))):
        slug, error = segment.slug, None
        try:
            with translated(SegmentExecutionError, slug):
                segment.delete(using=alias)
        except SegmentError as caught:
            error = caught
            if isinstance(error.__cause__, ProtectedError | RestrictedError):
                error.message = str(error.__cause__.args[0])  # Django's words, without the rows.
        yield _step(slug, f"segment {slug}", error)


def _drop_schema(connection: BaseDatabaseWrapper, schema: str) -> Iterator[StepResult]:
    """Drop a schema. Postgres refuses while it contains anything."""
    try:
        with session.transaction(connection.alias, "", task="drop") as opened:
            locks.lock_shared(opened)
            if not fetch_value(opened, "select_schema", schema=schema):
                return
            run_ddl(opened, "drop_schema", schema=sql.Identifier(schema))
    except SegmentError as error:
        if error.sqlstate != DEPENDENT_OBJECTS:
            yield StepResult("", [f"the schema {schema}"], error)
            return
        _, *dependents = error.message.split("\n")
        yield StepResult(
            "", ["\n  ".join([f"kept schema {schema}, which still holds:", *dependents])]
        )
        return
    yield StepResult("", [f"dropped the schema {schema}"])


def _step(slug: str, what: str, error: SegmentError | None) -> StepResult:
    """Return a step: what was dropped, or what is still there."""
    return StepResult(slug, [what if error else f"dropped {what}"], error)
