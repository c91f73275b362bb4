"""How two versions of a segment differ: as text, and line by line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.utils.text import capfirst

from segments.definition.kinds import DEFINING_FIELDS, defining
from segments.rows import static_member_rows, version_rows
from segments.saving.versions import alias_of, row_of

if TYPE_CHECKING:
    from segments.saving.models import SegmentVersion


CONTEXT = 3
"""How many unchanged lines are shown around a change."""

WORD = re.compile(r"\w+|\s+|.")

MAX_WORDS = 400
"""In longer lines, no changed words are looked for: that takes the square of their number."""

ALIKE = 0.4
"""Two lines are one that was changed if they share at least this part of their words."""


@dataclass(frozen=True)
class Line:
    """A line of a comparison.

    Attributes:
        kind: `removed`, `added` or `same`; `gap` stands for unchanged lines that are left out.
        parts: Its text in parts, and whether each differs from the line that it replaces.
        count: How many lines it stands for.
    """

    kind: str
    parts: tuple[tuple[str, bool], ...] = ()
    count: int = 1


def compared(before: str, after: str) -> list[Line]:
    """Return the lines of two texts with what was removed and added; none if they are the same."""
    old, new = before.splitlines(), after.splitlines()
    lines: list[Line] = []
    shown = 0
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT):
        lines += _gap(group[0][1] - shown)
        for tag, start, end, new_start, new_end in group:
            if tag == "equal":
                lines += [Line("same", ((line, False),)) for line in old[start:end]]
            else:
                lines += _replaced(old[start:end], new[new_start:new_end])
        shown = group[-1][2]
    return lines + _gap(len(old) - shown) if lines else []


def _gap(count: int) -> list[Line]:
    return [Line("gap", count=count)] if count else []


def _replaced(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    """Yield lines that were removed, and then those in their place."""
    pairs = [_by_words(*pair) for pair in zip(old, new, strict=False)]
    rest = len(pairs)
    for kind, lines, side in (("removed", old, 0), ("added", new, 1)):
        for pair in pairs:
            yield Line(kind, pair[side])
        for line in lines[rest:]:
            yield Line(kind, ((line, False),))


def _by_words(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], ...]:
    """Return the parts of a line and of the one in its place, with the words that differ."""
    words = WORD.findall(old), WORD.findall(new)
    whole = ((old, False),), ((new, False),)
    if max(map(len, words)) > MAX_WORDS:
        return whole
    matcher = SequenceMatcher(None, *words, autojunk=False)
    if matcher.ratio() < ALIKE:
        return whole
    sides: tuple[list[tuple[str, bool]], ...] = [], []
    for tag, *bounds in matcher.get_opcodes():
        for side, found, start, end in zip(sides, words, bounds[::2], bounds[1::2], strict=True):
            if start < end:
                side.append(("".join(found[start:end]), tag != "equal"))
    return tuple(sides[0]), tuple(sides[1])


def text(fields: Mapping[str, Any], ids_count: int) -> str:
    """Return what defines a segment as text: its SQL, then other fields and its list."""
    lines = [fields["definition"]] if fields.get("definition") else []
    lines += [f"{field.name}: {value}" for field, value in _others(fields)]
    if ids_count:
        lines.append(f"ids: {ids_count:,}")
    return "\n".join(lines)


def text_for_people(fields: Mapping[str, Any]) -> str:
    """Return what defines a segment besides its list, with the names that forms have for it."""
    lines = [fields["definition"]] if fields.get("definition") else []
    lines += [f"{capfirst(field.verbose_name)}: {value}" for field, value in _others(fields)]
    return "\n".join(lines)


def fields_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names that forms have for what differs in two versions, besides their lists."""
    meta = apps.get_model("segments", "Segment")._meta
    fields: list[Any] = [meta.get_field(name) for name in DEFINING_FIELDS]
    return [
        str(capfirst(field.verbose_name))
        for field in fields
        if before.get(field.name) != after.get(field.name)
    ]


def _others(fields: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the fields that are set, with their values, except for the SQL."""
    meta = apps.get_model("segments", "Segment")._meta
    for name in DEFINING_FIELDS:
        field: Any = meta.get_field(name)
        value = fields.get(name)
        if name != "definition" and value not in (None, "", field.get_default()):
            yield field, value


def diff(version: "SegmentVersion", other: "SegmentVersion | None") -> str:
    """Return a unified diff of the texts of two versions; see `SegmentVersion.diff`."""
    if other is not None and other.segment_id != version.segment_id:
        raise ValueError("the versions are of two segments")
    alias = alias_of(version)
    between = version_rows(alias).filter(segment=version.segment_id)
    if other is None:
        row = row_of(alias, version)
        listed = static_member_rows(alias).filter(segment=row.pk).count()
        after, title = text(defining(row), listed), "now"
        between = between.filter(pk__gte=version.pk)
    else:
        after, title = other.text, _title(other)
        first, last = sorted((version.pk, other.pk))
        between = between.filter(pk__gte=first, pk__lt=last)
    added, removed = (
        between.aggregate(total=models.Sum(name))["total"] or 0
        for name in ("ids_added", "ids_removed")
    )
    if other is not None and other.pk < version.pk:
        added, removed = removed, added
    if added or removed:  # The number of ids may be the same.
        after += f"\n(of the list: {added:,} added, {removed:,} removed)"
    lines = unified_diff(
        version.text.splitlines(), after.splitlines(), _title(version), title, lineterm=""
    )
    return "\n".join(lines)


def _title(version: "SegmentVersion") -> str:
    return f"until {version.replaced_at:%Y-%m-%d %H:%M:%S}"
