"""Keep all segments detached while `migrate` runs, and attach them at its end.

Django sends `pre_migrate` and `post_migrate` to this app once per run. Before the first migration,
all live views are detached. If that is impossible, `migrate` stops, and nothing has changed. At
its end, `migrate` never fails because of a segment; failures are reported.

Two locks keep the views detached in between. The session of `migrate` holds the schema change
exclusively, and every transaction that attaches a segment shares it. So `migrate` waits for
running refreshes, and later no other session attaches a segment.

Two things can still happen within the process: a migration closes its connection, which loses the
lock; or a migration refreshes or saves a segment, which attaches it. Therefore each migration of
the plan runs under an execute wrapper, the guard. Before a statement that may change the schema,
the guard asks Postgres whether the lock is held and no view is attached. Otherwise it takes the
lock and detaches again, or stops the migration. If the connection was opened anew, it does so
before any statement. The wrapper exists only while a migration is applied, whether that succeeds
or fails.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations import AlterField, SeparateDatabaseAndState
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, for_log, translated
from segments.pgviews import views
from segments.rows import segment_rows, write_alias
from segments.sql import locks, owned, session
from segments.sync.blockers import begin, detach_patiently
from segments.sync.detach import StepResult, attached, detach_shared, live_views
from segments.sync.repair import sync
from segments.sync.uninstall import drop_shared

logger = logging.getLogger(__name__)

ROWS = re.compile(
    r"\s*(SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE|EXPLAIN|SAVEPOINT|RELEASE|ROLLBACK)\b"
    r"[^;]*;?\s*",
    re.IGNORECASE,
)
"""Matches one statement that reads or writes rows, and so leaves the schema as it is."""


def before_migrate(using: str, plan: Any = (), **kwargs: Any) -> None:
    """Detach all live views if there is anything to migrate. A receiver of `pre_migrate`.

    From now on, refreshes of other sessions stand aside until this session syncs or ends.

    Raises:
        CommandError: when a view cannot be detached. Then all of them are attached again.
    """
    stdout = kwargs.get("stdout")
    if not plan:
        return
    try:
        if not _concerns(using):
            return
    except SegmentError as error:
        with translated(SegmentExecutionError):
            if attached(connections[using]):
                raise CommandError(f"No migration was run: {error}") from error
        _warn([StepResult("", error=error)], stdout)
        return
    guard = Guard(using, stdout)
    try:
        guard.detach_all()
        if _removes_tables(plan):
            _warn(_drop_shared_unless_used(connections[conf.exec_connection()]), stdout)
        if _changes_user_key(plan):
            with session.transaction(conf.exec_connection(), "", task="migrate") as connection:
                detach_shared(connection)
    except SegmentError as error:
        if guard.session:
            _attach_all(using, stdout)
        raise CommandError(f"No migration was run: {error}") from error
    for migration, _ in plan:
        migration.apply = guard.around(migration.apply)
        migration.unapply = guard.around(migration.unapply)


def after_migrate(using: str, **kwargs: Any) -> None:
    """Attach all segments, or create views in a new database. A receiver of `post_migrate`.

    `flush` sends this signal without a plan. Then the views of the deleted segments are dropped.
    """
    stdout = kwargs.get("stdout")
    try:
        if _concerns(using):
            flushed = kwargs.get("plan") is None and not segment_rows().exists()
            _attach_all(using, stdout, prune=flushed)
    except SegmentError as error:
        _warn([StepResult("", error=error)], stdout)


class Guard:
    """Detaches all live views, and keeps them detached while migrations run; see above.

    Args:
        using: The alias that is migrated.
        stdout: Where to report waiting, if anywhere.

    Attributes:
        session: The connection of psycopg whose session has taken the lock.
        busy: Whether the statements are those of the guard itself.
    """

    def __init__(self, using: str, stdout: Any) -> None:
        self.holder = _holder(using)
        self.aliases = {using, conf.exec_connection(), write_alias()}
        self.stdout = stdout
        self.session: Any = None
        self.busy = False

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of a migration that runs under this guard."""

        @wraps(method)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                stack.callback(self.release_former)
                for alias in self.aliases:
                    stack.enter_context(connections[alias].execute_wrapper(self))
                return method(*args, **kwargs)

        return guarded

    def __call__(
        self, execute: Any, statement: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Run a statement, after all live views are detached if it may need that."""
        if (
            not self.busy
            and not context["connection"].needs_rollback  # Then the statement fails anyway.
            and (self.is_reopened() or _may_change_schema(statement))
        ):
            self.busy = True
            try:
                if not self.is_detached():
                    self.detach_all()
            except SegmentError as error:
                raise CommandError(f"The migration was stopped: {error}") from error
            finally:
                self.busy = False
        return execute(statement, params, many, context)

    def is_reopened(self) -> bool:
        """Return whether the session that took the lock has ended."""
        return connections[self.holder].connection is not self.session

    def is_detached(self) -> bool:
        """Return whether the lock is held and no view is attached."""
        holder, executor = connections[self.holder], connections[conf.exec_connection()]
        if self.is_reopened():
            return False
        with translated(SegmentExecutionError):
            return locks.holds_schema_change(holder) and not attached(executor)

    def release_former(self) -> None:
        """Release the lock of a connection that was closed, but that a pool has kept open."""
        if self.session is not None and self.is_reopened():
            locks.release_schema_change(self.session)

    def detach_all(self) -> None:
        """Take the lock of the schema change, and detach all live views.

        Raises:
            SegmentError: when another session does not let go.
        """
        self.release_former()
        begin(self.holder, self.stdout)
        self.session = connections[self.holder].connection
        with translated(SegmentExecutionError):
            view_names = attached(connections[conf.exec_connection()])
        for view in live_views(view_names):
            detach_patiently(view, self.stdout)


def _may_change_schema(statement: Any) -> bool:
    """Return whether a statement may do more than read and write rows."""
    text = statement.as_string(None) if isinstance(statement, sql.Composable) else statement
    return not ROWS.fullmatch(text if isinstance(text, str) else "")


def _attach_all(using: str, stdout: Any, prune: bool = False) -> None:
    """End the schema change and attach all segments. Report what fails."""
    try:
        with translated(SegmentExecutionError):
            locks.end_schema_change(connections[_holder(using)])
        _warn(sync(prune=prune), stdout)
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
