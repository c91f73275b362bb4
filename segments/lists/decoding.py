"""Read text or a file as lines, in constant memory, or say what else it is."""

import codecs
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from segments.exceptions import SegmentListError

CHUNK = 1 << 16
"""How many characters or bytes of a file are read at a time."""

MAX_LINE = 1 << 20
"""The longest line, in characters, that can be part of a list."""

UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

SAVE_AS_UTF_8 = 'Save it as UTF-8 (in Excel: "CSV UTF-8"), or run: iconv -f {} -t UTF-8'
SAVE_AS_CSV = 'Save it as CSV (in Excel: "CSV UTF-8"), and load that file.'

NO_TEXT = {
    b"PK\x03\x04": ("an Excel or ZIP file", SAVE_AS_CSV),
    b"\xd0\xcf\x11\xe0": ("an Excel file of the old format", SAVE_AS_CSV),
    b"%PDF-": ("a PDF", SAVE_AS_CSV),
    b"\x89PNG": ("a picture", SAVE_AS_CSV),
    b"\xff\xd8\xff": ("a picture", SAVE_AS_CSV),
    b"\x1f\x8b": ("a gzip file", "Unpack it first, for instance with gunzip."),
}
"""What other files begin with, what they are, and what to do about them."""


@dataclass(frozen=True)
class TextReader:
    """Reads the text of a list.

    Attributes:
        slug: The segment, for messages.
    """

    slug: str

    @contextmanager
    def opened(self, path: "os.PathLike[str]") -> Iterator[IO[bytes]]:
        """Open a file.

        Raises:
            SegmentListError: when that is not possible.
        """
        try:
            file = open(path, "rb")  # noqa: SIM115  # Errors of the block are not those of open().
        except (OSError, ValueError) as error:  # A ValueError for a NUL character in the name.
            raise self._unreadable(error, os.fspath(path)) from error
        with file:
            yield file

    def lines(self, read: Callable[[int], Any]) -> Iterator[str]:
        """Yield the lines of a file, which all end in a newline, in constant memory.

        Args:
            read: Its method that returns so many bytes or characters.

        Raises:
            SegmentListError: when it cannot be read, is not text in UTF-8, or has a longer line
                than a list can have.
        """
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
            if not (number or rest):  # It may begin with byte order marks.
                text = text.lstrip("\ufeff")
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield line + "\n"
            number += len(lines)
            if len(rest) > MAX_LINE:
                raise self.refusal(
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
        except (OSError, UnicodeError) as error:
            raise self._unreadable(error) from error

    def _decoder(self, chunk: Any) -> Any:
        """Return the decoder for a file that begins with this chunk of bytes or text."""
        if isinstance(chunk, str):
            return io.IncrementalNewlineDecoder(None, translate=True)
        if chunk.startswith(UTF_32):
            raise self.refusal("it is in UTF-32", SAVE_AS_UTF_8.format("UTF-32"))
        for start, (what, hint) in NO_TEXT.items():
            if chunk.startswith(start):
                raise self.refusal(f"it is {what}", hint)
        if chunk.startswith(UTF_16) or _looks_like_utf_16(chunk):
            raise self.refusal("it is in UTF-16", SAVE_AS_UTF_8.format("UTF-16"))
        decode = codecs.getincrementaldecoder("utf-8-sig")()
        return io.IncrementalNewlineDecoder(decode, translate=True)

    def _not_utf_8(self, error: UnicodeDecodeError, place: str) -> SegmentListError:
        byte = error.object[error.start]
        return self.refusal(
            f"it is not in UTF-8: byte 0x{byte:02x}{place}. It looks like Latin-1 (ISO 8859-1, "
            "Windows-1252)",
            SAVE_AS_UTF_8.format("WINDOWS-1252"),
        )

    def _unreadable(self, error: Exception, what: str = "it") -> SegmentListError:
        return self.refusal(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}")

    def refusal(self, message: str, hint: str | None = None) -> SegmentListError:
        """Return the error for a list that cannot be loaded."""
        return SegmentListError(
            f"the list cannot be loaded: {message}", slug=self.slug, field="static_ids", hint=hint
        )


def _looks_like_utf_16(chunk: bytes) -> bool:
    """Return whether most of the text is in bytes of which every second one is zero."""
    few, many = sorted((chunk[::2].count(0), chunk[1::2].count(0)))
    return many > 0 and 3 * many >= len(chunk) and 8 * few <= many
