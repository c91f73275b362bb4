"""Read a list, which is text, a file or an iterable, as numbered entries in constant memory."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from django.db import models

from segments.definition.static_ids import BATCH, only_value
from segments.definition.text import strip_blanks
from segments.lists.decoding import CHUNK, MAX_LINE, TextReader
from segments.lists.fields import ListField, Malformed, column_name, named_field, unique_fields
from segments.sql import keys

ListSource = str | bytes | bytearray | memoryview | os.PathLike[str] | IO[str] | IO[bytes]
ListSource |= Iterable[Any]
"""Text, a path, a file that is open for text or bytes, or an iterable of users or values."""

MAX_PATH = 4096
"""The longest text, in characters, that may be the name of a file."""

DELIMITERS = ",;\t"

Entry = tuple[int, Any]
"""The number of a line or of an entry, from 1, and what it says."""


@dataclass(frozen=True)
class ListReader:
    """Reads the list of a segment.

    Attributes:
        slug: The segment, for messages.
        field: The field by which entries name users, which a header may name as well.
        alias: The database of the users.
    """

    slug: str
    field: ListField
    alias: str

    def entries(self, source: ListSource) -> Iterator[Entry]:
        """Yield the entries, without blank ones and without a header.

        Raises:
            SegmentListError: when it is not text in UTF-8, or no column of it is known to hold the
                field.
            TypeError: when it is nothing that can be a list.
        """
        if isinstance(source, os.PathLike):
            with self._text.opened(source) as file:
                yield from self._rows(file.read)
        elif isinstance(source, str):
            yield from self._rows(io.StringIO(source, newline="").read, source[:MAX_PATH])
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._rows(io.BytesIO(source).read)
        elif hasattr(source, "read"):
            yield from self._rows(source.read)
        else:
            yield from _numbered(source)

    @property
    def _text(self) -> TextReader:
        return TextReader(self.slug)

    def _rows(self, read: Callable[[int], Any], path: str = "") -> Iterator[Entry]:
        """Yield the entries of text, whose lines may be those of a CSV file.

        Args:
            path: The beginning of the text, which is the name of a file if it was meant as one.
        """
        lines = self._text.lines(read)
        start, first = next(
            ((number, line) for number, line in enumerate(lines, 1) if strip_blanks(line)), (0, "")
        )
        head = _first_row(first, lines)
        delimiter = max(DELIMITERS, key=lambda mark: len(_split(head, mark)))
        rows = self._numbered_rows(start, chain(head, lines), delimiter)
        number, header = next((each for each in rows if not _is_blank(each[1])), (0, [""]))
        column = self._column(header, path)
        names = [name.casefold() for name in map(strip_blanks, header)]
        if column is None:
            column, names = 0, []
            rows = chain([(number, header)], rows) if number else rows
        width, again = max(len(names), 1), names[column] if names else None
        for number, row in rows:
            if len(row) == width:
                entry = strip_blanks(row[column])
                if entry and "\n" not in entry and (again is None or entry.casefold() != again):
                    yield number, entry
                    continue
            if not _is_blank(row):
                yield number, _malformed(row, column, width, delimiter)

    def _numbered_rows(
        self, start: int, lines: Iterator[str], delimiter: str
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows with the number of their first line. Empty lines are no rows.

        Args:
            start: The number of the first of these lines.
        """
        reader, number = csv.reader(lines, delimiter=delimiter, strict=True), start
        try:
            for row in reader:
                if row:
                    yield number, row
                number = start + reader.line_num
        except csv.Error as error:
            reason = str(error)
            if "limit" in reason:
                reason = f"a value has more than {csv.field_size_limit():,} characters"
            elif "unexpected end" in reason:
                reason = "its quote is not closed"
            raise self._text.refusal(
                f"line {number} cannot be read as CSV: {reason}",
                'A list has one user a line. Does this line have a " that is not closed? One that '
                "is part of a quoted value is written twice.",
            ) from error

    def _column(self, header: list[str], path: str) -> int | None:
        """Return the place of the column that the first row names; None if it is no header."""
        cells = [*map(strip_blanks, header)]
        names = [cell.casefold() for cell in cells]
        exact = {name.casefold() for name in self.field.names}
        places = [place for place, name in enumerate(names) if name in exact]
        similar = not places
        if similar:
            found = map(column_name, cells)
            places = [place for place, name in enumerate(found) if name in self.field.headers]
        for place in places:
            if names.count(names[place]) > 1:
                raise self._text.refusal(
                    f'the header names "{names[place]}" twice: {", ".join(cells)[:200]}',
                    "Remove one of the columns, or rename it.",
                )
        if len(places) > 1:
            several = " and ".join(f'"{cells[place]}"' for place in places)
            raise self._text.refusal(
                f"several columns may be the {self.field.by} of a user: {several}",
                "Rename or remove all but the one that names users.",
            )
        if places:
            # A user may be called like a column.
            may_be_user = similar and len(cells) == 1
            is_user = may_be_user and self.field.names_user(cells[0], self.alias)
            return None if is_user else places[0]
        expected = " or ".join(f'"{name}"' for name in self.field.names)
        if len(header) > 1:
            raise self._text.refusal(
                f"its first line has {_columns(len(header))}, and none is named {expected}: "
                f"{', '.join(header)[:200]}",
                f"Name the column in a header, or write one {self.field.by} a line.",
            )
        self._check_first(cells[0], path)
        return None

    def _check_first(self, entry: str, path: str) -> None:
        """Refuse a first line that is the name of another field, or of a file, and of no user."""
        other = named_field(entry)
        if other and not self.field.names_user(entry, self.alias):
            raise self._text.refusal(
                f'its first line is the header "{entry}", and it is loaded by "{self.field.by}"',
                f"Load it by={other!r}, or name the column {self.field.names[0]}."
                if other in unique_fields()
                else "Users may share it. Name them by one of: "
                + ", ".join(unique_fields())
                + ".",
            )
        if (
            entry
            and entry == strip_blanks(path)
            and _is_file(entry)
            and not self.field.names_user(entry, self.alias)
        ):
            raise self._text.refusal(
                f'"{entry}" is the name of a file, and a str is the list itself',
                f"Pass pathlib.Path({entry!r}), or the open file.",
            )


def _numbered(source: Any) -> Iterator[Entry]:
    """Yield the entries of an iterable with their places, without blank ones."""
    if isinstance(source, models.Model | dict) or not isinstance(source, Iterable):
        raise TypeError(
            "a list is text, a path, a file, or an iterable of users or values, not "
            f"{keys.in_words(source)}"
        )
    entries: Iterable[Any] = source
    if isinstance(source, models.QuerySet):
        entries = map(only_value, source.iterator(BATCH))
    for number, value in enumerate(entries, 1):
        entry = value.decode(errors="replace") if isinstance(value, bytes) else value
        entry = strip_blanks(entry) if isinstance(entry, str) else entry
        if not (isinstance(entry, str) and entry == ""):
            yield number, entry


def _malformed(row: list[str], column: int, width: int, delimiter: str) -> Malformed:
    """Return what a row says that cannot name a user, with the reason."""
    if len(row) != width:
        reason = f"it has {_columns(len(row))}, not {width}"
        return Malformed.because(delimiter.join(row)[:CHUNK], reason)
    entry = strip_blanks(row[column])
    if not entry:
        return Malformed.because(entry, f"its cell is empty, in a row of {_columns(width)}")
    if "\n" in entry:
        return Malformed.because(entry, "it has a line break in quotes")
    return Malformed.because(entry, "it is the header again")


def _first_row(first: str, lines: Iterator[str]) -> list[str]:
    """Return the lines of the first row: more than one, if a quoted value has line breaks."""
    head, quotes, size = [first], first.count('"'), len(first)
    while quotes % 2 and size < MAX_LINE and (line := next(lines, "")):
        head.append(line)
        quotes, size = quotes + line.count('"'), size + len(line)
    return head


def _split(lines: list[str], delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_blank(row: list[str]) -> bool:
    """Return whether a row is that of a blank line, or of a spreadsheet: `;;;`."""
    return not any(map(strip_blanks, row))


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # It is too long, may not be read, or cannot be a name.
        return False


def _columns(number: int) -> str:
    return "1 column" if number == 1 else f"{number} columns"
