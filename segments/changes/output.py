"""Write changes as lines of JSON or CSV, and make sure that they have arrived."""

import csv
import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from segments.changes.feed import Change
from segments.exceptions import SegmentChangesError

COLUMNS = ("id", "segment", "user", "change", "at", "refresh", "snapshot")
"""What is written of a change, in this order."""

NO_FILES = {errno.EINVAL, errno.ENOTSUP, errno.EROFS}
"""What fsync answers about pipes, terminals and devices."""

UNMOVED = "Nothing is lost: the next run delivers the same changes again."


def as_json(change: Change) -> str:
    """Return a change as a line of JSON."""
    return json.dumps(_plain(change), default=str) + "\n"


def as_csv(change: Change) -> str:
    """Return a change as a line of CSV."""
    return _csv_line(["" if value is None else value for value in _plain(change).values()])


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _plain(change: Change) -> dict[str, Any]:
    values = {column: getattr(change, column) for column in COLUMNS}
    return values | {"at": change.at.isoformat()}


FORMATS: dict[str, tuple[str, Callable[[Change], str]]] = {
    "jsonl": ("", as_json),
    "csv": (_csv_line([*COLUMNS]), as_csv),
}
"""The first line and the line of a change, by the name of the format."""


@contextmanager
def opened(slug: str, path: Path | None, stdout: Any) -> Iterator[Any]:
    """Yield where to write; at the end, return when it has arrived.

    A file appears when it is whole: until then it has another name in the same folder. It is on
    the disk then, and so is its name. Devices and pipes are written to as they are, and so is
    stdout; what is in a pipe counts as arrived.

    Args:
        slug: The segment, for messages.
        path: The file, which must not exist unless it is a device or a pipe; None means stdout.
        stdout: Where to write without a file.

    Raises:
        SegmentChangesError: when it cannot be written: a full disk, a reader that has gone.
    """
    try:
        if path is None:
            yield stdout
            _settle(stdout)
        elif path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8") as file:
                yield file
                _settle(file)
        else:
            with _renamed(slug, path) as file:
                yield file
                _settle(file)
    except OSError as error:
        if path is None:
            _silence(stdout)
        where = "stdout" if path is None else str(path)
        reason = error.strerror or str(error)
        raise SegmentChangesError(
            f"its changes were not delivered to {where}: {reason}", slug=slug, hint=UNMOVED
        ) from error


@contextmanager
def _renamed(slug: str, path: Path) -> Iterator[IO[str]]:
    """Yield a file that gets this name in the end, or none at all after an error."""
    if path.exists():
        raise SegmentChangesError(
            f"the file {path} exists",
            slug=slug,
            hint="Move it away when it has been read, or name another one.",
        )
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        path.open("x").close()  # A rename alone would replace a file that somebody else has made.
        unfinished.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _settle(file: Any) -> None:
    """Flush a file, and wait until it is on the disk, if it is on one."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except io.UnsupportedOperation:
        return  # As for a StringIO.
    except OSError as error:
        if error.errno not in NO_FILES:
            raise


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _silence(stdout: Any) -> None:
    """Let what is still buffered go nowhere, so that Python does not fail on it when it exits."""
    with suppress(io.UnsupportedOperation, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stdout.fileno())
        os.close(nowhere)
