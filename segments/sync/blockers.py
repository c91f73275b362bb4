"""Wait for the locks that a schema change needs: say for whom, and cancel refreshes in the end.

A refresh can always be repeated, so `migrate` cancels one that runs longer than it may wait.
Nothing else is cancelled.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from segments import conf
from segments.exceptions import SegmentExecutionError, SegmentLockedError
from segments.sql import locks, names, session
from segments.sql.session import fetch_all
from segments.sync.detach import LiveView

logger = logging.getLogger(__name__)

BRIEFLY = timedelta(seconds=0.1)
"""How long to wait for a lock before saying who holds it."""

CANCELS = 10
"""How often to cancel refreshes. Another one may begin between two attempts to get the lock."""


@dataclass(frozen=True)
class Blocker:
    """A session that holds a lock.

    Attributes:
        pid: Its process id.
        application: What it calls itself.
        since: When its transaction began, or the session of a migration.
        kind: `migration`, `refresh` or `transaction`.
        slug: The segment.
    """

    pid: int
    application: str
    since: str
    kind: str
    slug: str

    def __str__(self) -> str:
        whose = self.application.partition("segments: ")[2] or self.slug
        who = {
            "migration": "another migration",
            "refresh": f"the refresh of {whose}",
        }.get(self.kind, "a transaction")
        application = "" if self.kind == "refresh" else self.application
        details = [f"process {self.pid}", application, self.since and f"since {self.since}"]
        return f"{who} ({', '.join(filter(None, details))})"


def begin(alias: str, stdout: Any) -> None:
    """Begin the schema change on an alias, after all refreshes of other sessions.

    Raises:
        SegmentLockedError: when another session does not let go.
    """

    def work(lock_timeout: timedelta | None) -> None:
        with session.transaction(
            alias, "", task="migrate", lock_timeout=lock_timeout
        ) as connection:
            locks.begin_schema_change(connection)

    _wait(work, partial(_blockers, alias, None), stdout)


def detach_patiently(view: LiveView, stdout: Any) -> None:
    """Detach a live view, after all that read it. The schema change has begun.

    Raises:
        SegmentLockedError: when another session does not let go.
    """
    blockers = partial(_blockers, conf.exec_connection(), view)
    _wait(partial(view.detach, False), blockers, stdout)


def _wait(
    work: Callable[[timedelta | None], Any], blockers: Callable[..., list[Blocker]], stdout: Any
) -> None:
    """Do work that needs a lock, given how long it may wait; None means the setting's value."""
    try:
        work(BRIEFLY)
        return
    except SegmentLockedError:
        _say("Waiting for", blockers(), stdout)
    try:
        work(None)
        return
    except SegmentLockedError as error:
        locked = error
    for _ in range(CANCELS):
        refreshes = [each for each in blockers(cancel=True) if each.kind == "refresh"]
        _say("Cancelled", refreshes, stdout)
        try:
            work(max(conf.lock_timeout() / CANCELS, BRIEFLY))
            return
        except SegmentLockedError as error:
            locked = error
        if not refreshes:
            break
    raise _still_locked(blockers(), "") from locked


def _blockers(alias: str, view: LiveView | None, cancel: bool = False) -> list[Blocker]:
    """Return the sessions that hold a lock which a schema change waits for.

    Args:
        alias: The alias that waits.
        view: The live view to detach; None if the schema change has not begun.
        cancel: Whether to cancel those that are refreshes.

    Raises:
        SegmentLockedError: when a refresh may not be cancelled.
    """
    slug = view.slug if view else "migrate"
    params = {
        "schema_change": None if view else locks.schema_change_key(),
        "segment": locks.lock_key(view.key) if view and view.key is not None else None,
        "live": names.live_view(slug).as_string() if view else None,
        "members": names.members_view(slug).as_string() if view else None,
        "cancel": cancel,
    }
    try:
        with session.transaction(alias, slug, read_only=True) as connection:
            rows = fetch_all(connection, "select_blockers", **params)
    except SegmentExecutionError as error:
        if not cancel:
            raise
        raise _still_locked(_blockers(alias, view), f": {error.message}") from error
    return [
        Blocker(pid, application, since, kind, slug) for pid, application, since, kind, _ in rows
    ]


def _still_locked(blockers: list[Blocker], why: str) -> SegmentLockedError:
    names_of = " and ".join(map(str, blockers)) or "another session"
    return SegmentLockedError(
        f"{names_of} could not be waited for{why}",
        hint="Wait until it ends, or end it; then run migrate again. A migration may cancel the "
        "refreshes of its own role, and with pg_signal_backend those of others.",
    )


def _say(what: str, blockers: list[Blocker], stdout: Any) -> None:
    for blocker in blockers:
        logger.info("%s %s", what, blocker)
        if stdout is not None:
            stdout.write(f"{what} {blocker}")
            stdout.flush()
