"""Order: which segments read which, and so come after them."""

import logging
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from django.db import connections

from segments import conf
from segments.exceptions import SegmentExecutionError, translated
from segments.models import Segment
from segments.sql import names, views

logger = logging.getLogger(__name__)


class Plan:
    """The way through some segments on which each comes after those that it reads.

    The views in the database say who reads whom, also through views of others. Where somebody made
    a circle by hand, no order is right, and that of the slugs is taken.
    """

    def __init__(self, segments: Iterable[Segment]) -> None:
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

    def ready(self) -> Iterator[Segment]:
        """Give the segments of which all that they read is done; each is given once."""
        while names_ready := self._sorter.get_ready():
            for name in names_ready:
                if name in self._segments:
                    yield self._segments[name]
                else:  # It is left out, but an order may hold through it.
                    self._sorter.done(name)

    def done(self, segment: Segment) -> None:
        """Say that a segment is done, so that those that read it can follow."""
        self._sorter.done(names.view_name(segment.slug))

    def reads(self, segment: Segment) -> set[str]:
        """Return the names of the views that a segment reads members from."""
        return self._reads.get(names.view_name(segment.slug), set())

    def _prepared(self, reads: dict[str, set[str]]) -> "TopologicalSorter[str]":
        sorter = TopologicalSorter({name: sorted(reads.get(name, ())) for name in self._segments})
        for name in set(reads) - set(self._segments):
            sorter.add(name, *sorted(reads[name]))
        sorter.prepare()
        return sorter


def graph() -> dict[str, set[str]]:
    """Return the names of the views that each segment reads, by the name of its own."""
    with translated(SegmentExecutionError):
        return views.reads(connections[conf.exec_connection()])


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments with those that others read before those that read them."""
    plan, result = Plan(segments), list[Segment]()
    for segment in plan.ready():
        result.append(segment)
        plan.done(segment)
    return result


def dependents(segments: Iterable[Segment]) -> list[Segment]:
    """Return the active segments that read some others, directly or not, without those."""
    start = {names.view_name(segment.slug) for segment in segments}
    reads, found = graph(), set(start)
    while more := {name for name, read in reads.items() if read & found} - found:
        found |= more
    active = Segment.objects.using(conf.exec_connection()).filter(is_active=True)
    return [s for s in active if names.view_name(s.slug) in found - start]
