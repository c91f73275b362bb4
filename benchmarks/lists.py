"""How long it takes to load a list of all users, its segment being saved or refreshed with it.

Plain COPY writes the same file into a table that has the columns and the indexes of lists, and
does no more: it checks no line, and nobody becomes a member.
"""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from rich.progress import Progress

from benchmarks import data, database
from benchmarks.report import Comparison
from benchmarks.timing import ONCE, Side, measure
from segments.models import Segment

ROUNDS = [ONCE] * 3

CHUNK = 1 << 16

CREATE = """
    CREATE TABLE plain (
        segment_id bigint NOT NULL DEFAULT 0, user_id bigint NOT NULL,
        PRIMARY KEY (segment_id, user_id)
    )
"""


def compare(progress: Progress, users: int) -> list[Comparison]:
    """Load a list into a new segment, into an empty one, tracked or not, and once more."""
    database.reconnect()
    segment, silent = _empty("loaded"), _empty("silent", track_changes=False)
    plain = database.connect()
    plain.execute(CREATE)
    plain.execute("CREATE INDEX ON plain (user_id)")
    with TemporaryDirectory() as folder:
        path = Path(folder, "ids.txt")
        _write(path, users)
        copied = _copy(plain, path)
        copy = Side("plain COPY", copied, before=lambda: plain.execute("TRUNCATE plain"))
        new = Side("load_ids(), a new segment", lambda: _new().load_ids(path), before=_deleted)
        first = Side("load_ids()", lambda: segment.load_ids(path), before=_emptied(segment))
        quiet = Side(
            "load_ids(), changes not tracked",
            lambda: silent.load_ids(path),
            before=_emptied(silent),
            after=_emptied(silent),
        )
        again = Side("load_ids(), the same list", lambda: segment.load_ids(path))
        measure([copy], progress.track(ROUNDS, description="Copying a list"))
        measure([new], progress.track(ROUNDS, description="Loading a new list"))
        _deleted()
        measure([quiet], progress.track(ROUNDS, description="Loading a list, not tracked"))
        measure([first], progress.track(ROUNDS, description="Loading a list"))
        measure([again], progress.track(ROUNDS, description="Loading it again"))
    plain.close()
    topic = f"A list of {users:,} ids is loaded, and its segment refreshed"
    return [
        Comparison(topic, new, copy, at_most=2.5),
        Comparison(topic, first, copy, at_most=2.5),
        Comparison(topic, quiet, copy, at_most=2.5),
        Comparison(topic, again, copy, at_most=2.5),
    ]


def _empty(slug: str, **fields: Any) -> Segment:
    """Return a segment with an empty list."""
    segment = Segment(name=slug.title(), slug=slug, **fields)
    segment.static_ids = []
    segment.save()
    return segment


def _new() -> Segment:
    return Segment(name="New", slug="new")


def _deleted() -> None:
    """Delete the new segment of a former round."""
    for segment in Segment.objects.filter(slug="new"):
        segment.delete()
    data.vacuum()


def _write(path: Path, users: int) -> None:
    ids = [*range(1, users + 1)]
    random.shuffle(ids)
    path.write_text("".join(f"{number}\n" for number in ids))


def _copy(plain: psycopg.Connection[Any], path: Path) -> Callable[[], None]:
    def run() -> None:
        with (
            path.open("rb") as file,
            plain.cursor() as cursor,
            cursor.copy("COPY plain (user_id) FROM STDIN") as copy,
        ):
            while block := file.read(CHUNK):
                copy.write(block)

    return run


def _emptied(segment: Segment) -> Callable[[], None]:
    def run() -> None:
        segment.load_ids("")
        data.vacuum()

    return run
