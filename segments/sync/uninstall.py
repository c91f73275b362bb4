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
from segments.rows import membership_rows, segment_rows, static_member_rows, write_alias
from segments.sql import owned, session
from segments.sql.session import fetch_value, run_ddl
from segments.sync.repair import drop_orphans
from segments.sync.steps import StepResult

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
        steps = chain(drop_orphans(connection, has_rows), _delete(alias) if has_rows else ())
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
        for rows in (membership_rows(alias), static_member_rows(alias)):
            rows._raw_delete(alias)
    yield from drop_shared(connection)


def drop_shared(connection: BaseDatabaseWrapper) -> Iterator[StepResult]:
    """Drop what all segments share, and the schemas unless they contain anything else."""
    try:
        with session.transaction(connection.alias, "drop") as opened:
            session.lock_shared(opened)
            for view in owned.VIEWS:
                run_ddl(opened, "drop_shared_view", view=shared.shared_view(view.name))
            for function, arguments in shared.functions(opened):
                run_ddl(opened, "drop_function", function=function, arguments=arguments)
    except SegmentError as error:
        yield StepResult("", ["the views and functions that all segments share"], error)
        return
    yield StepResult("", ["the views and functions that all segments share"])
    for schema in (conf.live_schema(), conf.schema()):
        yield from _drop_schema(connection, schema)


def _delete(alias: str) -> Iterator[StepResult]:
    """Delete all segments and their views, in reverse order of dependency."""
    for segment in reversed(ordered(segment_rows(alias))):
        slug = segment.slug
        try:
            with translated(SegmentExecutionError, slug):
                segment.delete(using=alias)
        except SegmentError as error:
            yield StepResult(slug, ["the segment"], error)
        except (ProtectedError, RestrictedError) as error:
            refusal = SegmentExecutionError(str(error.args[0]), slug=slug)
            yield StepResult(slug, ["the segment"], refusal)
        else:
            yield StepResult(slug, ["the segment"])


def _drop_schema(connection: BaseDatabaseWrapper, schema: str) -> Iterator[StepResult]:
    """Drop a schema. Postgres refuses while it contains anything."""
    try:
        with session.transaction(connection.alias, "drop") as opened:
            session.lock_shared(opened)
            if not fetch_value(opened, "select_schema", schema=schema):
                return
            run_ddl(opened, "drop_schema", schema=sql.Identifier(schema))
    except SegmentError as error:
        if error.sqlstate == DEPENDENT_OBJECTS:
            _, *contents = error.message.split("\n")
            error = SegmentExecutionError(
                "\n  ".join([f"kept schema {schema}, which still holds:", *contents]),
                hint="Drop or move these objects first.",
            )
        yield StepResult("", [f"the schema {schema}"], error)
        return
    yield StepResult("", [f"the schema {schema}"])
