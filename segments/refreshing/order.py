"""The order of refreshes: a segment comes after the segments that it reads."""

import logging
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from django.db import connections

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.pgviews import views
from segments.rows import segment_rows
from segments.sql import names

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)


class Plan:
    """An order of segments in which each comes after the segments that it reads.

    The views in the database show which segment reads which, also through other views. If somebody
    has manually created a circle, there is no such order, and the segments are sorted by slug.
    """

    def __init__(self, segments: Iterable["Segment"]) -> None:
        self._segments = {
            names.view_name(s.slug): s for s in sorted(segments, key=lambda s: s.slug)
        }
        self._reads = graph()
        try:
            self._sorter = self._prepared(self._reads)
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            logger.warning("Segments read each other in a circle: %s", circle)
            self._sorter = self._prepared({})

    def __len__(self) -> int:
        return len(self._segments)

    def ready(self) -> Iterator["Segment"]:
        """Yield each segment once everything it reads is done."""
        while ready_names := self._sorter.get_ready():
            for name in ready_names:
                if name in self._segments:
                    yield self._segments[name]
                else:  # It is not in the plan, but segments that are may depend on it.
                    self._sorter.done(name)

    def done(self, segment: "Segment") -> None:
        """Mark a segment as done, so that segments that read it become ready."""
        self._sorter.done(names.view_name(segment.slug))

    def reads(self, segment: "Segment") -> set[str]:
        """Return the names of the views that a segment reads members from."""
        return self._reads.get(names.view_name(segment.slug), set())

    def _prepared(self, reads: dict[str, set[str]]) -> "TopologicalSorter[str]":
        sorter = TopologicalSorter({name: sorted(reads.get(name, ())) for name in self._segments})
        for name in set(reads) - set(self._segments):
            sorter.add(name, *sorted(reads[name]))
        sorter.prepare()
        return sorter


def graph() -> dict[str, set[str]]:
    """Return the segments that each segment reads, by view name."""
    with translated(SegmentExecutionError):
        return views.reads(connections[conf.exec_connection()])


def ordered(segments: Iterable["Segment"]) -> list["Segment"]:
    """Return the segments in dependency order."""
    plan, result = Plan(segments), []
    for segment in plan.ready():
        result.append(segment)
        plan.done(segment)
    return result


def dependents(segments: Iterable["Segment"]) -> list["Segment"]:
    """Return the other active segments that read any of these, directly or indirectly."""
    start = {names.view_name(segment.slug) for segment in segments}
    reads, readers = graph(), set(start)
    while more := {name for name, read in reads.items() if read & readers} - readers:
        readers |= more
    active = segment_rows(conf.exec_connection()).filter(is_active=True)
    return [s for s in active if names.view_name(s.slug) in readers - start]
