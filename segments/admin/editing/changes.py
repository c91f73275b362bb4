"""What saving a form has changed, in words: for the message about it, and for the log."""

from datetime import timedelta
from typing import Any

from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segments.admin.editing.intervals import in_words
from segments.definition.methods import address_of
from segments.models import Segment, SegmentRefresh, Status
from segments.rows import FAILURES

MAX_LOGGED = 2_000
"""How many characters of a value the log keeps."""


def latest_refresh(segment: Segment) -> SegmentRefresh | None:
    """Return the latest refresh of a segment; None if it is new, or has none."""
    if segment.pk is None:
        return None
    return segment.refreshes.order_by("-started_at", "-pk").first()


def outcome(segment: Segment, before: SegmentRefresh | None) -> str:
    """Return what became of the members when a segment was saved; empty if nothing did.

    Args:
        before: The latest refresh before that.
    """
    latest = latest_refresh(segment)
    if latest is None or latest == before:
        if segment.status == Status.OUTDATED:
            return _("Its members change at the next refresh.")
        return ""
    if latest.status in FAILURES:
        return _("Its refresh failed: %s") % latest.error.partition("\n")[0]
    if latest.members_count is None:
        return ""
    count = ngettext("%s member", "%s members", latest.members_count) % f"{latest.members_count:,}"
    if before is None:
        return _("It has %s.") % count
    return _("It has %(count)s: %(added)s entered, %(removed)s left.") % {
        "count": count,
        "added": f"{latest.added or 0:,}",
        "removed": f"{latest.removed or 0:,}",
    }


def joined(message: Any, more: str) -> Any:
    """Return a message, which may be HTML, with another sentence."""
    return format_html("{} {}", message, more)


def with_values(entries: Any, form: Any) -> Any:
    """Return the entries of a log with the values of the form's fields, before and after."""
    for entry in entries:
        changed = entry.get("changed")
        if changed and "name" not in changed and "object" not in changed:
            changed["fields"] = [_in_words(form, name) for name in form.changed_data]
    return entries


def _in_words(form: Any, name: str) -> str:
    field = form.fields[name]
    label = str(field.label or name)
    if name in ("static_ids", "allow_cost", "rewrite_readers"):
        return label
    before, after = form.initial.get(name), form.cleaned_data.get(name)
    if name == "method":
        after = address_of(form.instance)
    return f"{label}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    if value in (None, ""):
        return _("empty")
    text = in_words(value) if isinstance(value, timedelta) else str(value)
    return f"“{text[:MAX_LOGGED]}…”" if len(text) > MAX_LOGGED else f"“{text}”"
