"""How two versions of a segment differ, as text."""

from collections.abc import Mapping
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models

from segments.definition.kinds import DEFINING_FIELDS, defining
from segments.rows import static_member_rows, version_rows
from segments.saving.versions import alias_of, row_of

if TYPE_CHECKING:
    from segments.saving.models import SegmentVersion


def text(fields: Mapping[str, Any], ids_count: int) -> str:
    """Return what defines a segment as text: its SQL, then other fields and its list."""
    meta = apps.get_model("segments", "Segment")._meta
    lines = [fields["definition"]] if fields.get("definition") else []
    for name in DEFINING_FIELDS:
        field: Any = meta.get_field(name)
        value = fields.get(name)
        if name != "definition" and value not in (None, "", field.get_default()):
            lines.append(f"{name}: {value}")
    if ids_count:
        lines.append(f"ids: {ids_count:,}")
    return "\n".join(lines)


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
