"""Detach all segments before the first migration, and attach them after the last.

Django sends `pre_migrate` and `post_migrate` to this app once per run. `migrate` never fails
because of a segment; failures are reported at its end.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations import AlterField, SeparateDatabaseAndState

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, for_log, translated
from segments.pgviews import views
from segments.rows import segment_rows, write_alias
from segments.sql import owned, session
from segments.sync.detach import StepResult, detach, detach_membership
from segments.sync.repair import sync
from segments.sync.uninstall import drop_shared

logger = logging.getLogger(__name__)


def before_migrate(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Detach all live views if there is anything to migrate. A receiver of `pre_migrate`.

    From now on, refreshes of other sessions stand aside until this session syncs or ends.
    """
    alias, stdout = conf.exec_connection(), kwargs.get("stdout")
    try:
        if not plan or not _concerns(using):
            return
        with session.transaction(_holder(using), "", task="migrate") as connection:
            session.begin_schema_change(connection)
        _warn(detach(manual=False), stdout)
        if _removes_tables(plan):
            _warn(_drop_shared_unless_used(connections[alias]), stdout)
        if _changes_user_key(plan):
            with session.transaction(alias, "", task="migrate") as opened:
                detach_membership(opened)
    except SegmentError as error:
        _warn([StepResult("", error=error)], stdout)


def after_migrate(using: str, **kwargs: Any) -> None:
    """Attach all segments, or create views in a new database. A receiver of `post_migrate`.

    `flush` sends this signal without a plan. Then the views of the deleted segments are dropped.
    """
    stdout = kwargs.get("stdout")
    try:
        if not _concerns(using):
            return
        with translated(SegmentExecutionError):
            session.end_schema_change(connections[_holder(using)])
        flushed = kwargs.get("plan") is None and not segment_rows().exists()
        _warn(sync(prune=flushed), stdout)
    except SegmentError as error:
        _warn([StepResult("", error=error)], stdout)


def _holder(using: str) -> str:
    """Return the alias whose session holds the lock of the schema change.

    It is the alias that evaluates segments, since migrations may save them. If a third alias is
    migrated, that one holds it: behind a connection pool, the usual alias has no fixed session.
    """
    usual = using in (conf.exec_connection(), write_alias())
    return conf.exec_connection() if usual else using


def _concerns(using: str) -> bool:
    """Return whether an alias leads to the database of the segments, and their tables exist there.

    Raises:
        SegmentExecutionError: when that is unknown, for example because the role of the other
            alias does not exist yet.
    """
    connection = connections[using]
    if (
        connection.vendor != "postgresql"
        or owned.SEGMENT not in connection.introspection.table_names()
    ):
        return False
    with translated(SegmentExecutionError):
        # Another alias may lead to the same database, for example around a connection pool.
        expected = session.fetch_value(connections[conf.exec_connection()], "select_identity")
        return bool(session.fetch_value(connection, "select_identity") == expected)


def _changes_user_key(plan: Any) -> bool:
    """Return whether a plan changes the type of the user model's primary key."""
    user = get_user_model()._meta
    return any(
        migration.app_label == user.app_label
        and operation.model_name_lower == user.model_name
        and operation.field.primary_key
        for migration, _ in plan
        for operation in _flat(migration.operations)
        if isinstance(operation, AlterField)
    )


def _removes_tables(plan: Any) -> bool:
    """Return whether a plan removes the tables of segments, as `migrate segments zero` does."""
    return any(
        backwards and migration.app_label == "segments" and migration.initial
        for migration, backwards in plan
    )


def _drop_shared_unless_used(connection: BaseDatabaseWrapper) -> Iterator[StepResult]:
    """Drop what all segments share, or report the views that would remain without tables."""
    with translated(SegmentExecutionError):
        states = views.states(connection)
    if states:
        error = SegmentExecutionError(
            f"the views of {len(states)} segments remain",
            hint="This drops them, even without the tables: manage.py drop_segments",
        )
        yield StepResult("", error=error)
        return
    yield from (step for step in drop_shared(connection) if step.error)


def _flat(operations: Iterable[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from _flat([*operation.database_operations, *operation.state_operations])
        else:
            yield operation


def _warn(results: Iterable[StepResult], stdout: Any) -> None:
    """Warn about segments that could not be detached or attached."""
    for result in results:
        if result.error:
            message = "\n  ".join(["Warning: " + str(result.error), *result.what])
            first_lines = [words.partition("\n")[0] for words in result.what]
            logger.warning("\n  ".join(["Warning: " + for_log(result.error), *first_lines]))
            if stdout is not None:
                stdout.write(message)
