"""Read a list, which is text, a file or an iterable, as numbered entries in constant memory."""

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from django.db import models

from segments.definition.static_ids import BATCH, only_value
from segments.definition.text import strip_blanks
from segments.exceptions import SegmentListError
from segments.lists.fields import ListField, Malformed, named_field, unique_fields
from segments.sql import keys

ListSource = str | bytes | bytearray | memoryview | os.PathLike[str] | IO[str] | IO[bytes]
ListSource |= Iterable[Any]
"""Text, a path, a file that is open for text or bytes, or an iterable of users or values."""

CHUNK = 1 << 16
"""How many characters or bytes of a file are read at a time."""

MAX_LINE = 1 << 20
"""The longest line, in characters, that can be part of a list."""

DELIMITERS = ",;\t"

UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

SAVE_AS_UTF_8 = 'Save it as UTF-8 (in Excel: "CSV UTF-8"), or run: iconv -f {} -t UTF-8'

Entry = tuple[int, Any]
"""The number of a line or of an entry, from 1, and what it says."""


@dataclass(frozen=True)
class ListReader:
    """Reads the list of a segment.

    Attributes:
        slug: The segment, for messages.
        field: The field by which entries name users, which a header may name as well.
    """

    slug: str
    field: ListField

    def entries(self, source: ListSource) -> Iterator[Entry]:
        """Yield the entries, without blank ones and without a header.

        Raises:
            SegmentListError: when it is not text in UTF-8, or no column of it is known to hold the
                field.
            TypeError: when it is nothing that can be a list.
        """
        if isinstance(source, os.PathLike):
            with self._opened(source) as file:
                yield from self._rows(file.read)
        elif isinstance(source, str):
            yield from self._rows(io.StringIO(source, newline="").read, Path(source[:200]))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield from self._rows(io.BytesIO(source).read)
        elif hasattr(source, "read"):
            yield from self._rows(source.read)
        else:
            yield from _numbered(source)

    @contextmanager
    def _opened(self, path: "os.PathLike[str]") -> Iterator[IO[bytes]]:
        try:
            file = open(path, "rb")  # noqa: SIM115  # Errors of the block are not those of open().
        except OSError as error:
            raise self._refusal(f"{os.fspath(path)} cannot be read: {error.strerror}") from error
        with file:
            yield file

    def _rows(self, read: Callable[[int], Any], path: Path | None = None) -> Iterator[Entry]:
        """Yield the entries of text, whose lines may be those of a CSV file.

        Args:
            path: The file that the text may be the name of, if it was meant as one.
        """
        lines = self._lines(read)
        start, first = next(
            ((number, line) for number, line in enumerate(lines, 1) if strip_blanks(line)), (0, "")
        )
        delimiter = max(DELIMITERS, key=lambda mark: len(_split(first, mark)))
        rows = self._numbered_rows(start, chain([first], lines), delimiter)
        number, header = next(rows, (0, [""]))
        column = self._column(header, path)
        names = [name.casefold() for name in map(strip_blanks, header)]
        if column is None:
            column, names = 0, []
            yield from [(number, strip_blanks(header[0]))] if number else []
        width = max(len(names), 1)
        for number, row in rows:
            if len(row) == width:
                entry = strip_blanks(row[column])
                if entry and not (names and entry.casefold() == names[column]):
                    yield number, entry
                elif entry or width > 1:
                    yield number, _malformed(entry, width)
            elif len(row) > 1 or strip_blanks(row[0]):
                reason = f"it has {_columns(len(row))}, not {width}"
                yield number, Malformed.because(delimiter.join(row)[:CHUNK], reason)

    def _numbered_rows(
        self, start: int, lines: Iterator[str], delimiter: str
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows with the number of their first line. Empty lines are no rows.

        Args:
            start: The number of the first of these lines.
        """
        reader, number = csv.reader(lines, delimiter=delimiter), start
        try:
            for row in reader:
                if row:
                    yield number, row
                number = start + reader.line_num
        except csv.Error as error:
            raise self._refusal(
                f"line {number} cannot be read as CSV: {error}",
                'Does it have a " that is not closed?',
            ) from error

    def _column(self, header: list[str], path: Path | None) -> int | None:
        """Return the place of the column that the first row names; None if it is no header."""
        names = [name.casefold() for name in map(strip_blanks, header)]
        for name in self.field.headers:
            if names.count(name) > 1:
                raise self._refusal(
                    f'the header names "{name}" twice: {", ".join(map(strip_blanks, header))}',
                    "Remove one of the columns, or rename it.",
                )
            if name in names:
                return names.index(name)
        expected = " or ".join(f'"{name}"' for name in self.field.headers)
        if len(header) > 1:
            raise self._refusal(
                f"its first line has {_columns(len(header))}, and none is named {expected}: "
                f"{', '.join(header)[:200]}",
                f"Name the column in a header, or write one {self.field.by} a line.",
            )
        self._check_first(strip_blanks(header[0]), path)
        return None

    def _check_first(self, entry: str, path: Path | None) -> None:
        """Refuse a first line that is the name of another field, or of a file."""
        try:
            self.field.copied(entry)
        except ValueError:
            other = named_field(entry)
            if other:
                hint = f"Load it by={other!r}, or name the column {self.field.headers[0]}."
                if other not in (unique := unique_fields()):
                    hint = f"Users may share it. Name them by one of: {', '.join(unique)}."
                raise self._refusal(
                    f'its first line is the header "{entry}", and it is loaded by '
                    f'"{self.field.by}"',
                    hint,
                ) from None
            if path and entry == str(path) and path.is_file():
                raise self._refusal(
                    f'"{entry}" is the name of a file, and a str is the list itself',
                    f"Pass pathlib.Path({entry!r}), or the open file.",
                ) from None

    def _lines(self, read: Callable[[int], Any]) -> Iterator[str]:
        """Yield the lines of a file, which all end in a newline, in constant memory."""
        decoder, rest, number = None, "", 0
        while True:
            chunk = self._read(read)
            if decoder is None:
                decoder = self._decoder(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line = number + error.object.count(b"\n", 0, error.start) + 1
                raise self._not_utf_8(error, f" (line {line})") from error
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield line + "\n"
            number += len(lines)
            if len(rest) > MAX_LINE:
                raise self._refusal(
                    f"line {number + 1} has more than {MAX_LINE:,} characters",
                    "A list has one user a line.",
                )
            if not chunk:
                break
        if rest:
            yield rest + "\n"

    def _read(self, read: Callable[[int], Any]) -> Any:
        try:
            return read(CHUNK)
        except UnicodeDecodeError as error:  # The file is open for text.
            raise self._not_utf_8(error, "") from error

    def _decoder(self, chunk: Any) -> Any:
        """Return the decoder for a file that begins with this chunk of bytes or text."""
        if isinstance(chunk, str):
            return io.IncrementalNewlineDecoder(None, translate=True)
        if chunk.startswith(UTF_32):
            raise self._refusal("it is in UTF-32", SAVE_AS_UTF_8.format("UTF-32"))
        if chunk.startswith(UTF_16) or b"\0" in chunk[:CHUNK]:
            raise self._refusal("it is in UTF-16", SAVE_AS_UTF_8.format("UTF-16"))
        decode = codecs.getincrementaldecoder("utf-8-sig")()
        return io.IncrementalNewlineDecoder(decode, translate=True)

    def _not_utf_8(self, error: UnicodeDecodeError, place: str) -> SegmentListError:
        byte = error.object[error.start]
        return self._refusal(
            f"it is not in UTF-8: byte 0x{byte:02x}{place}. It looks like Latin-1 (ISO 8859-1, "
            "Windows-1252)",
            SAVE_AS_UTF_8.format("WINDOWS-1252"),
        )

    def _refusal(self, message: str, hint: str | None = None) -> SegmentListError:
        return SegmentListError(
            f"the list cannot be loaded: {message}", slug=self.slug, field="static_ids", hint=hint
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


def _malformed(entry: str, width: int) -> Malformed:
    if entry:
        return Malformed.because(entry, "it is the header again")
    return Malformed.because(entry, f"its cell is empty, in a row of {_columns(width)}")


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _columns(number: int) -> str:
    return "1 column" if number == 1 else f"{number} columns"
