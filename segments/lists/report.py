"""What happened to the lines of a list."""

from dataclasses import dataclass, field
from typing import NamedTuple

from segments.exceptions import SegmentListError

MAX_SHOWN = 50
"""How many malformed lines, and how many unknown ones, a report names. It counts all of them."""

MAX_TEXT = 80
"""How many characters of a line a report has."""


class BadLine(NamedTuple):
    """A line that names no user.

    Attributes:
        number: Its number, from 1; in an iterable, the place of the entry.
        text: What it says, at most 80 characters.
        reason: Why it names no user.
    """

    number: int
    text: str
    reason: str


@dataclass(frozen=True)
class LoadReport:
    """What was read, and what has changed in the list of a segment.

    Attributes:
        slug: The segment.
        mode: `replace`, `add` or `remove`.
        lines: The lines read, without blank ones and the header.
        added, removed: The users that were added to the list, and removed from it.
        already_there: The users that were to be in the list, and were before.
        not_there: The users that were to be removed, and were not in the list.
        duplicates: The lines that name a user whom another line has named.
        malformed, unknown: The lines that cannot name a user, and those that name none.
        malformed_lines, unknown_lines: The first 50 of each.
        still_members: After `remove`, the users who are still in the segment, because its SQL or
            manager method selects them.

    A list that is refused is not compared with the users that are in the segment's list, so these
    numbers are 0.
    """

    slug: str
    mode: str
    lines: int = 0
    added: int = 0
    removed: int = 0
    already_there: int = 0
    not_there: int = 0
    duplicates: int = 0
    malformed: int = 0
    unknown: int = 0
    malformed_lines: tuple[BadLine, ...] = ()
    unknown_lines: tuple[BadLine, ...] = ()
    still_members: int = 0

    @property
    def bad(self) -> int:
        """The number of lines that were not used."""
        return self.malformed + self.unknown

    def __str__(self) -> str:
        numbers = (
            f"{self.slug}: {_counted(self.lines, 'line')} read, {self.added:,} added, "
            f"{self.removed:,} removed, {self.already_there:,} already there, "
            f"{self.not_there:,} not there, {_counted(self.duplicates, 'duplicate')}, "
            f"{self.malformed:,} malformed, {self.unknown:,} unknown"
        )
        remark = ""
        if self.still_members:
            remark = (
                f"\n{_counted(self.still_members, 'user')} of these are still members: the "
                "definition selects them"
            )
        return "\n".join([numbers + remark, *self.bad_lines()])

    @property
    def shown(self) -> list[BadLine]:
        """The bad lines that are known, in the order of the list."""
        return sorted((*self.malformed_lines, *self.unknown_lines), key=lambda bad: bad.number)

    def bad_lines(self) -> list[str]:
        """Return the bad lines that are known, as text with their numbers and reasons."""
        texts = [f"  line {bad.number}: {bad.reason}" for bad in self.shown]
        for total, shown, kind in (
            (self.malformed, self.malformed_lines, "malformed"),
            (self.unknown, self.unknown_lines, "unknown"),
        ):
            if total > len(shown):
                texts.append(f"  and {total - len(shown):,} more that are {kind}")
        return texts

    def error(self) -> SegmentListError:
        """Return the error for a list that has bad lines, or none that is good."""
        verb = "was removed" if self.mode == "remove" else "was loaded"
        what = f"{_counted(self.bad, 'line')} of {self.lines:,} cannot be used"
        hint = "Correct these lines, or use the others: skip_bad=True (--skip-bad)."
        if self.bad == self.lines:
            what = "no line of the list names a user"
            hint = "Correct these lines, or load the list by the field that it has: by=... (--by)."
        error = SegmentListError(
            f"{what}, and nothing {verb}:\n" + "\n".join(self.bad_lines()),
            slug=self.slug,
            field="static_ids",
            hint=hint,
        )
        error.report = self
        return error


def no_lines(slug: str) -> SegmentListError:
    """Return the error for a list without a line, which would empty that of the segment."""
    return SegmentListError(
        "the list has no line, and nothing was loaded",
        slug=slug,
        field="static_ids",
        hint="If the segment's list is to be emptied, say so: allow_empty=True (--allow-empty).",
    )


@dataclass
class Tally:
    """The lines of a list while they are read; keeps only the first bad ones.

    Attributes:
        lines, malformed: How many lines were read, and how many of them are malformed.
        shown: The first malformed ones.
    """

    lines: int = 0
    malformed: int = 0
    shown: list[BadLine] = field(default_factory=list)

    @property
    def valid(self) -> int:
        """The number of lines that may name a user."""
        return self.lines - self.malformed

    def refuse(self, number: int, entry: object, reason: str) -> None:
        """Count a malformed line."""
        self.malformed += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(BadLine(number, shortened(entry), reason))


def shortened(entry: object) -> str:
    """Return what an entry says, shortened."""
    return (entry if isinstance(entry, str) else repr(entry))[:MAX_TEXT]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
