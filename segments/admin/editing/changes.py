"""What saving a form has changed, in words: for the message about it, and for the log."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segments import conf
from segments.admin.charts import members, number
from segments.admin.editing.fields import BOXES, OF_KINDS
from segments.admin.editing.intervals import in_words
from segments.admin.editing.listed import field_words
from segments.admin.progress import latest_refresh
from segments.definition.kinds import DEFINING_FIELDS
from segments.definition.methods import address_of
from segments.lists.load import UnreadList
from segments.models import Segment, SegmentRefresh, Status
from segments.rows import FAILURES, write_alias
from segments.validation.checks import differ

MAX_LINES = 10
"""How many lines of a list a message quotes."""

MAX_LOGGED = 2_000
"""How many characters of a value the log keeps."""


@dataclass
class Save:
    """A segment that is being saved, as it was before.

    Attributes:
        segment: What is saved.
        row: The saved segment before; None if it is new.
        refresh: Its latest refresh before; None if it has none.
        redefined: Whether its definition or its list changes.
        unread: The list that the form has for it, which is read when it is saved.
        announced: Whether a message has said that it was saved.
    """

    segment: Segment
    row: Segment | None
    refresh: SegmentRefresh | None
    redefined: bool
    unread: UnreadList | None = None
    announced: bool = False

    @classmethod
    def of(cls, segment: Segment) -> "Save":
        """Return what is known before a segment is saved."""
        row = Segment.objects.filter(pk=segment.pk).first()
        ids = segment.unsaved_static_ids
        redefined = ids is not None or differ(row, segment, DEFINING_FIELDS)
        unread = ids if isinstance(ids, UnreadList) else None
        return cls(segment, row, latest_refresh(row) if row else None, redefined, unread)

    @property
    def follows_commit(self) -> bool:
        """Whether its members change only after the commit, on a connection of their own."""
        return write_alias() != conf.exec_connection()

    @property
    def asks_worker(self) -> bool:
        """Whether saving it asks a worker for a refresh."""
        asked = self.row is None or (self.redefined and conf.refresh_on_save())
        return asked and conf.refresh_async()

    def outcome(self) -> str:
        """Return what became of the members; empty if nothing did, or the refresh failed."""
        latest = latest_refresh(self.segment)
        if self.asks_worker:
            return _("A worker will refresh it.")
        if latest is None or latest == self.refresh:
            outdated = self.segment.status == Status.OUTDATED
            return _("Its members change at the next refresh.") if outdated else ""
        if latest.status in FAILURES or latest.members_count is None:
            return ""
        count = members(latest.members_count)
        if self.refresh is None:
            return _("It has %s.") % count
        return _("It has %(count)s: %(added)s entered, %(removed)s left.") % {
            "count": count,
            "added": number(latest.added or 0),
            "removed": number(latest.removed or 0),
        }

    def list_read(self) -> str:
        """Return how many lines of the list were read, and for what; empty without a list."""
        if self.unread is None:
            return ""
        lines = self.unread.report.lines
        text = ngettext(
            "%(count)s line was read, and taken for “%(field)s”.",
            "%(count)s lines were read, and each was taken for “%(field)s”.",
            lines,
        )
        return text % {"count": number(lines), "field": field_words(self.unread.by)}

    def left_out(self) -> str:
        """Return which lines of the list were left out; empty if none was."""
        report = self.unread.report if self.unread else None
        if report is None or not report.bad:
            return ""
        text = ngettext(
            "%(count)s line of the list names nobody, and was left out: %(lines)s",
            "%(count)s lines of the list name nobody, and were left out: %(lines)s",
            report.bad,
        )
        shown = [f"{bad.number} (“{bad.text}”)" for bad in report.shown[:MAX_LINES]]
        more = ", …" if report.bad > len(shown) else "."
        return text % {"count": number(report.bad), "lines": ", ".join(shown) + more}

    def failure(self) -> str:
        """Return why the refresh failed; empty if it has not."""
        latest = latest_refresh(self.segment)
        if latest is None or latest == self.refresh or latest.status not in FAILURES:
            return ""
        return _("It was saved, but its refresh failed: %s") % latest.error


def joined(message: Any, more: str) -> Any:
    """Return a message, which may be HTML, with another sentence."""
    return format_html("{} {}", message, more)


def with_values(entries: Any, form: Any) -> Any:
    """Return the entries of a log with the values of the form's fields, before and after."""
    for entry in entries:
        changed = entry.get("changed")
        if changed and "name" not in changed and "object" not in changed:
            words = (_in_words(form, name) for name in form.changed_data)
            changed["fields"] = [*filter(None, words)]
    return entries


def _in_words(form: Any, name: str) -> str:
    field = form.fields[name]
    label = str(field.label or name)
    before, after = form.initial.get(name), form.cleaned_data.get(name)
    if name in OF_KINDS and before is None and not after:  # What does not belong to its kind.
        return ""
    if name == "file":
        return _("File: %s") % _shown(after.name)
    if name in ("static_ids", *BOXES):
        return label
    if name == "method":
        after = address_of(form.instance)
    return f"{label}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    if value in (None, ""):
        return _("empty")
    text = in_words(value) if isinstance(value, timedelta) else str(value)
    return f"“{text[:MAX_LOGGED]}…”" if len(text) > MAX_LOGGED else f"“{text}”"
