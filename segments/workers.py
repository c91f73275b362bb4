"""Workers: threads that refresh, each on a connection of its own."""

from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread
from types import TracebackType

import django.db
from django.db import connections

from segments import conf
from segments.models import Segment
from segments.outcome import RefreshResult
from segments.refresh import How, attempt

Outcome = tuple[Segment, RefreshResult | BaseException]


class Workers:
    """A number of threads that take segments and give back what came of them.

    On leaving, those that are refreshing finish that, and what has not begun is left. Nothing but
    refreshes happens on their connections, whose sessions so report all that they write at once.

    Attributes:
        peers: The process ids of those sessions in Postgres.
    """

    def __init__(self, number: int) -> None:
        self.peers: set[int] = set()
        self._waiting = 0
        self._threads = [
            Thread(target=self._work, name=f"segments-{n}", daemon=True) for n in range(number)
        ]
        self._tasks: SimpleQueue[tuple[Segment, How] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._leaving = Event()

    def __enter__(self) -> "Workers":
        for thread in self._threads:
            thread.start()
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
        """Whether results are to come."""
        return self._waiting > 0

    def start(self, segment: Segment, how: How) -> None:
        """Have a segment refreshed as soon as a thread is free."""
        self._waiting += 1
        self._tasks.put((segment, how))

    def next_result(self) -> tuple[Segment, RefreshResult]:
        """Wait for the next result; raise what a refresh has raised that is no SegmentError."""
        segment, outcome = self._outcomes.get()
        self._waiting -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return segment, outcome

    def finish(self) -> Iterator[tuple[Segment, RefreshResult]]:
        """Begin nothing more, and give the results of what is being refreshed."""
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
        connection = connections[conf.exec_connection()]
        try:
            while (task := self._tasks.get()) and not self._leaving.is_set():
                segment, how = task
                outcome: RefreshResult | BaseException
                try:
                    with suppress(django.db.Error):  # Which attempt then says, too.
                        connection.close_if_unusable_or_obsolete()
                        connection.ensure_connection()
                        self.peers.add(connection.connection.info.backend_pid)
                    outcome = attempt(segment, how)
                except Exception as error:  # noqa: BLE001  # Raised by next_result.
                    outcome = error
                self._outcomes.put((segment, outcome))
        finally:
            connections.close_all()
