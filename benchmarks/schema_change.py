"""How long it takes to detach segments before a migration, and to attach them after it."""

from rich.progress import Progress

from benchmarks import database
from benchmarks.report import Comparison
from benchmarks.timing import ONCE, Side, measure, nothing
from segments import sync
from segments.models import Segment

SEGMENTS = 500
ROUNDS = 5

LIMIT = 3.0
"""Seconds that nobody minds a migration to take longer."""


def compare(progress: Progress) -> list[Comparison]:
    """Detach and attach 500 of the segments that the benchmark of `segment_ids` has left."""
    database.reconnect()
    surplus = Segment.objects.order_by("pk")[SEGMENTS:]
    for segment in progress.track(surplus, description=f"Leaving {SEGMENTS} segments"):
        segment.delete()
    both = Side(f"detach and attach {SEGMENTS} segments", _detach_and_attach)
    limit = Side(f"{LIMIT:.0f} seconds", nothing, times=[LIMIT])
    measure([both], progress.track([ONCE] * ROUNDS, description="Detaching and attaching"))
    return [Comparison("What a migration takes longer", both, limit, at_most=1.0)]


def _detach_and_attach() -> None:
    detached = list(sync.detach(manual=False))
    attached = list(sync.sync())
    if len(detached) != len(attached) or any(entry.error for entry in attached):
        raise RuntimeError("Not all segments were detached and attached.")
