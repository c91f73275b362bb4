"""A pool of threads that refresh, each on a connection of its own."""

import logging
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

import django.db
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import for_log
from segments.refresh import RefreshOptions, try_refresh
from segments.refreshing.history import RefreshResult
from segments.refreshing.unchanged import report_writes

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)

FIRST, OTHERS = 5.0, 0.5
"""Seconds to wait for the first connection, and then for the others. Later ones join the work."""

Task = tuple["Segment", RefreshOptions]
Outcome = tuple["Segment", RefreshResult | BaseException]


class RefreshPool:
    """Threads that take segments and return their results.

    A thread that gets no connection ends itself, and the others go on without it. If none is
    left, the caller's own connection refreshes. On exit, running refreshes finish and queued ones
    are dropped.

    Attributes:
        own_pids: The process ids of the sessions that the threads hold. They are used only for
            refreshes, so they report all writes with each commit. No thread gives its session
            back while another one may still rely on that.
    """

    def __init__(self, number: int) -> None:
        self.own_pids: set[int] = set()
        self._expected = 0
        self._connecting, self._connected, self._working = number, 0, 0
        self._changed = Condition()
        self._threads = [
            Thread(target=self._work, name=f"segments-{n}", daemon=True) for n in range(number)
        ]
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._leaving = Event()

    def __enter__(self) -> "RefreshPool":
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or not self._connecting, FIRST)
            self._changed.wait_for(lambda: not self._connecting, OTHERS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    @property
    def busy(self) -> bool:
        """Whether refreshes are queued or running."""
        return self._expected > 0

    def start(self, segment: "Segment", options: RefreshOptions) -> None:
        """Refresh a segment as soon as a thread is free."""
        self._expected += 1
        self._tasks.put((segment, options))

    def next_result(self) -> tuple["Segment", RefreshResult]:
        """Wait for the next result. Raise the error of a refresh unless it is a SegmentError.

        Refreshes on the caller's own connection if no thread has one.
        """
        outcome = None
        while outcome is None:
            outcome = self._refresh_here() or self._outcomes.get()
        return self._received(outcome)

    def finish(self) -> Iterator[tuple["Segment", RefreshResult]]:
        """Drop queued refreshes, and yield the results of running ones."""
        self._leave()
        while not self._outcomes.empty():
            if outcome := self._outcomes.get():
                yield self._received(outcome)

    def _received(self, outcome: Outcome) -> tuple["Segment", RefreshResult]:
        segment, result = outcome
        self._expected -= 1
        if isinstance(result, BaseException):
            raise result
        return segment, result

    def _refresh_here(self) -> Outcome | None:
        """Refresh a queued segment on this connection, if no thread has one."""
        with self._changed:
            if self._connected:
                return None
        try:
            task = self._tasks.get_nowait()
        except Empty:
            return None
        return task and _outcome(*task)

    def _leave(self) -> None:
        self._leaving.set()
        for _ in self._threads:
            self._tasks.put(None)
        with self._changed:
            self._changed.wait_for(lambda: not self._connected)
        # A thread that still waits for a connection gives it back as soon as it gets one.
        deadline = monotonic() + OTHERS
        for thread in self._threads:
            thread.join(max(0, deadline - monotonic()))

    def _work(self) -> None:
        session = _Session(connections[conf.exec_connection()])
        try:
            if self._join(session):
                try:
                    self._refresh_all(session)
                finally:
                    self._part(session)
        finally:
            connections.close_all()

    def _join(self, session: "_Session") -> bool:
        """Connect, and return whether to take part."""
        connected = session.connect()
        with self._changed:
            self._connecting -= 1
            joined = connected and not self._leaving.is_set()
            if joined:
                self._connected += 1
                self._working += 1
                self.own_pids |= session.pids
            self._changed.notify_all()
        return joined

    def _refresh_all(self, session: "_Session") -> None:
        """Take segments until the pool is left or the connection is lost for good."""
        while (task := self._tasks.get()) and not self._leaving.is_set():
            if not session.is_open():
                self.own_pids -= session.pids
                if not session.connect():
                    self._tasks.put(task)
                    return
                self.own_pids |= session.pids
            self._outcomes.put(_outcome(*task))

    def _part(self, session: "_Session") -> None:
        """Give the session back once no thread relies on it any more."""
        with self._changed:
            self._working -= 1
            self._changed.notify_all()
            if session.raw is not None:
                self._changed.wait_for(lambda: not self._working)
            self.own_pids -= session.pids
        connections.close_all()
        with self._changed:
            self._connected -= 1
            self._changed.notify_all()
        self._outcomes.put(None)  # So that next_result() looks whether a thread is left.


class _Session:
    """The connection of a thread.

    Attributes:
        raw: The driver's connection; None if there is none.
        pids: The process id of the session in Postgres; empty if a pooler such as pgbouncer may
            let other clients use this session.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.raw: Any = None
        self.pids: set[int] = set()

    def is_open(self) -> bool:
        """Return whether it is still the same usable connection."""
        self._connection.close_if_unusable_or_obsolete()
        return self.raw is not None and self._connection.connection is self.raw

    def connect(self) -> bool:
        """Connect, and report what former users of the session have written."""
        self.raw, self.pids = None, set()
        try:
            self._connection.ensure_connection()
            self._connection.close_at = None  # It is kept until the pool is left.
            pid = report_writes(self._connection)
        except django.db.Error as error:
            logger.warning("A thread goes without a connection: %s", for_log(error))
            self._connection.close()
            return False
        self.raw = self._connection.connection
        self.pids = {pid} & {self.raw.info.backend_pid}
        return True


def _outcome(segment: "Segment", options: RefreshOptions) -> Outcome:
    try:
        return segment, try_refresh(segment, options)
    except Exception as error:  # noqa: BLE001  # Raised by next_result.
        return segment, error
