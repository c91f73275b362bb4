"""Migrations: free all tables before the first, attach all segments after the last.

Django says when: `pre_migrate` and `post_migrate`, once a run for this app. `migrate` never fails
because of a segment; what could not be done is told at its end.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations import AlterField, SeparateDatabaseAndState

from segments import conf, sync, uninstall
from segments.exceptions import SegmentError, SegmentExecutionError, for_log, translated
from segments.models import Segment
from segments.sql import detaching, session, views

logger = logging.getLogger(__name__)


def before_migrate(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Detach all live views, if there is anything to migrate; a `pre_migrate` receiver.

    From here on the refreshes of other sessions stand aside, until this session syncs or ends.
    """
    alias = conf.exec_connection()
    try:
        if not plan or not _concerns(using):
            return
        with (
            translated(SegmentExecutionError),
            session.limited(_holder(using), "migrate") as connection,
        ):
            session.begin_schema_change(connection)
        _tell(sync.detach(by_hand=False), kwargs.get("stdout"))
        if _takes_back(plan):
            _tell(_left(connections[alias]), kwargs.get("stdout"))
        if _changes_user_key(plan):
            with translated(SegmentExecutionError), session.limited(alias, "migrate") as opened:
                detaching.detach_membership(opened)
    except SegmentError as error:
        _tell([sync.Drift("", error=error)], kwargs.get("stdout"))


def after_migrate(using: str, **kwargs: Any) -> None:
    """Attach all segments, and create the views of a fresh database; a `post_migrate` receiver.

    After a `flush`, which sends the same signal without a plan, the views of the segments that it
    has deleted are dropped.
    """
    try:
        if not _concerns(using):
            return
        with translated(SegmentExecutionError):
            session.end_schema_change(connections[_holder(using)])
        flushed = kwargs.get("plan") is None and not Segment.objects.exists()
        _tell(sync.sync(prune=flushed), kwargs.get("stdout"))
    except SegmentError as error:
        _tell([sync.Drift("", error=error)], kwargs.get("stdout"))


def _holder(using: str) -> str:
    """Return the alias whose session says that the schema is changing.

    Migrations may save segments, so that is the session that evaluates them; but where another
    alias is migrated, that may be since the usual one has no session of its own, behind a pool.
    """
    usual = using in (conf.exec_connection(), router.db_for_write(Segment))
    return conf.exec_connection() if usual else using


def _concerns(using: str) -> bool:
    """Return whether an alias reaches the database of the segments, and there are tables of it.

    Raises:
        SegmentExecutionError: when that cannot be told, as before the role of the other is made.
    """
    ours, connection = connections[conf.exec_connection()], connections[using]
    if (
        connection.vendor != "postgresql"
        or Segment._meta.db_table not in connection.introspection.table_names()
    ):
        return False
    with translated(SegmentExecutionError):
        # Another alias may well reach the same database, such as past a connection pool.
        own = session.value(ours, "select_identity")
        return bool(session.value(connection, "select_identity") == own)


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


def _takes_back(plan: Any) -> bool:
    """Return whether a plan ends with no table of segments: migrate segments zero."""
    return any(
        backwards and migration.app_label == "segments" and migration.initial
        for migration, backwards in plan
    )


def _left(connection: BaseDatabaseWrapper) -> Iterator[sync.Drift]:
    """Drop what all segments share; say what of segments stays when their tables have gone."""
    with translated(SegmentExecutionError):
        left = views.states(connection)
    if left:
        yield sync.Drift(
            "",
            error=SegmentExecutionError(
                f"the views of {len(left)} segments are left behind",
                hint="This drops them, also without the tables: manage.py drop_segments",
            ),
        )
        return
    for step in uninstall.drop_shared(connection):
        if step.error or step.kept:
            yield sync.Drift("", step.kept, step.error)


def _flat(operations: Iterable[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, SeparateDatabaseAndState):
            yield from _flat([*operation.database_operations, *operation.state_operations])
        else:
            yield operation


def _tell(entries: Iterable[sync.Drift], stdout: Any) -> None:
    """Warn of what could not be detached or attached."""
    for entry in entries:
        if entry.error:
            message = "\n  ".join(["Warning: " + str(entry.error), *entry.what])
            seen = [each.partition("\n")[0] for each in entry.what]
            logger.warning("\n  ".join(["Warning: " + for_log(entry.error), *seen]))
            if stdout is not None:
                stdout.write(message)
