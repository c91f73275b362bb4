"""A pool of threads that refresh, each on a connection of its own."""

from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Barrier, Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING

import django.db
from django.db import connections

from segments import conf
from segments.refresh import RefreshOptions, try_refresh
from segments.refreshing.history import RefreshResult

if TYPE_CHECKING:
    from segments.models import Segment

Task = tuple["Segment", RefreshOptions]
Outcome = tuple["Segment", RefreshResult | BaseException]


class RefreshPool:
    """Threads that take segments and return their results.

    On exit, running refreshes finish and queued ones are dropped. The threads' connections are
    used only for refreshes, so their sessions report all writes with each commit.

    Attributes:
        own_pids: The process ids of these sessions in Postgres.
    """

    def __init__(self, number: int) -> None:
        self.own_pids: set[int] = set()
        self._expected = 0
        self._connected = Barrier(number + 1)
        self._threads = [
            Thread(target=self._work, name=f"segments-{n}", daemon=True) for n in range(number)
        ]
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._leaving = Event()

    def __enter__(self) -> "RefreshPool":
        for thread in self._threads:
            thread.start()
        self._connected.wait()
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
        """Wait for the next result. Raise the error of a refresh unless it is a SegmentError."""
        segment, outcome = self._outcomes.get()
        self._expected -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return segment, outcome

    def finish(self) -> Iterator[tuple["Segment", RefreshResult]]:
        """Drop queued refreshes, and yield the results of running ones."""
        self._leave()
        while not self._outcomes.empty():
            yield self.next_result()

    def _leave(self) -> None:
        self._leaving.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            self._connect()
            self._connected.wait()
            while (task := self._tasks.get()) and not self._leaving.is_set():
                segment, options = task
                outcome: RefreshResult | BaseException
                try:
                    self._connect()
                    outcome = try_refresh(segment, options)
                except Exception as error:  # noqa: BLE001  # Raised by next_result.
                    outcome = error
                self._outcomes.put((segment, outcome))
        finally:
            connections.close_all()

    def _connect(self) -> None:
        """Connect if necessary, and remember the process id of the session."""
        connection = connections[conf.exec_connection()]
        with suppress(django.db.Error):  # try_refresh() reports the same error.
            connection.close_if_unusable_or_obsolete()
            connection.ensure_connection()
            connection.close_at = None  # It is kept until the pool is left, whatever its age.
            self.own_pids.add(connection.connection.info.backend_pid)
