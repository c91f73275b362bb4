"""The list of a segment in forms: its length, a file or text for it, and whom its lines name."""

import io
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model
from django.template.defaultfilters import filesizeformat
from django.utils.functional import lazy
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from segments.admin.charts import number
from segments.admin.pages import email_field
from segments.definition.kinds import StaticList, kind_of
from segments.definition.text import strip_blanks
from segments.exceptions import SegmentError, SegmentListError
from segments.lists.decoding import CHUNK
from segments.lists.fields import column_name, list_field, named_field, unique_fields
from segments.lists.load import UnreadList
from segments.lists.source import DELIMITERS
from segments.models import Segment, StaticMember
from segments.rows import write_alias
from segments.sql.keys import cast_key

FIRST_LINES = 20
"""How many lines say what all of them look like."""

LOOKED_UP = 3
"""How many of them are looked up among the users, one query each, for each unique field."""

AUTOMATIC = ""
"""The choice that leaves the field to the header and the first lines."""

SIZE = "_segments_list_size"
"""The attribute of a segment with the length of its list, once that was counted."""


def has_list(segment: Segment) -> bool:
    """Return whether the list of a segment has any id."""
    return segment.pk is not None and StaticMember.objects.filter(segment=segment.pk).exists()


def is_listed(segment: Segment | None) -> bool:
    """Return whether a saved segment has a list, which may be empty if it is nothing else."""
    if segment is None or segment.pk is None:
        return False
    return kind_of(segment) is StaticList or has_list(segment)


def list_words(segment: Segment) -> str:
    """Return how many ids the list of a saved segment has, in words. Counts once an instance."""
    size = segment.__dict__.get(SIZE)
    if size is None:
        size = StaticMember.objects.filter(segment=segment.pk).count()
        segment.__dict__[SIZE] = size
    return ngettext("%s user", "%s users", size) % number(size)


def deletion_words(segment: Segment) -> Any:
    """Return what deletes the list of a segment, which is counted only when this is shown."""
    return lazy(lambda: _("Delete its list of %s") % list_words(segment), str)()


def list_fields() -> list[str]:
    """Return the unique fields of users, the primary key only once."""
    key: Any = get_user_model()._meta.pk
    return [name for name in unique_fields() if name != key.name]


def field_words(name: str) -> str:
    """Return the name of a field of the user model in words."""
    options: Any = get_user_model()._meta
    field = options.pk if name == "pk" else options.get_field(name)
    return str(capfirst(field.verbose_name))


def _choices() -> list[tuple[str, Any]]:
    """Return the fields that a list may name users by, with their names in words."""
    automatic = (AUTOMATIC, _("What its header names, or what it looks like"))
    return [automatic, *((name, field_words(name)) for name in list_fields())]


class ListFields(forms.Form):
    """The fields of a list, which is a file or text.

    Attributes:
        text_name: The field for its text.
        unread: The list; None if there is none.
        lines: Its first lines.
    """

    text_name = "text"
    unread: UnreadList | None = None
    lines: Sequence[str] = ()

    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        help_text=gettext_lazy(
            "Text with one user a line, or CSV with a header, saved as UTF-8. It may have "
            "millions of lines."
        ),
    )
    by = forms.ChoiceField(label=gettext_lazy("Each line is"), choices=_choices, required=False)
    skip_bad = forms.BooleanField(
        label=gettext_lazy("Use the good lines if others are wrong"),
        required=False,
        help_text=gettext_lazy("Otherwise nothing is changed, and the wrong lines are shown."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ask for a file that was sent once more, if the form is shown again."""
        super().__init__(*args, **kwargs)
        if file := self.files.get("file"):
            text = _("Browsers do not keep a file: choose “%s” again.") % file.name
            self.fields["file"].help_text = f"{text} {self.fields['file'].help_text}"

    def gives_list(self) -> bool:
        """Return whether a file or a text was given."""
        data = self.cleaned_data
        return bool(data.get("file") or (data.get(self.text_name) or "").strip())

    def read_list(self) -> None:
        """Take the file or the text, whichever there is, and find out whom its lines name."""
        data = self.cleaned_data
        file, text = data.get("file"), data.get(self.text_name) or ""
        if file and text.strip():
            self.add_error("file", _("Choose a file, or paste a list, not both."))
        elif file or text.strip():
            source = file or io.StringIO(text, newline="")
            self.lines = _first_lines(source)
            by = data.get("by") or self._guessed()
            self.unread = UnreadList(source, by, data.get("skip_bad", False), allow_empty=False)

    def _guessed(self) -> str:
        """Return the field by which the list names users; refuse to choose one of several."""
        named = _named_fields(self.lines)
        if len(named) > 1:
            text = _("The first line names %s. Choose the one that tells who is meant.")
            self.add_error("by", text % _(" and ").join(f"“{field_words(n)}”" for n in named))
        return named[0] if named else _likely_field(self.lines)

    def in_words(self, error: SegmentError) -> SegmentError:
        """Return an error whose hint names what there is on the page, not arguments in Python.

        It belongs to the file if there is one. The box that uses the good lines is shown if there
        are any.
        """
        if isinstance(error, SegmentListError):
            error.hint = self._hint(error)
            if self.cleaned_data.get("file"):
                error.field = "file"
        elif error.hint:
            choice = _("choose “Add these users to the list”")
            error.hint = error.hint.replace("add users to it: mode='add'", choice)
        return error

    def _hint(self, error: SegmentListError) -> str | None:
        if error.hint and "allow_empty" in error.hint:
            return _("Is it the right file?")
        if error.report is None or self.unread is None:
            return _other_field(self.lines) or error.hint
        if error.report.bad < error.report.lines:
            box = self.fields["skip_bad"]
            box.widget = forms.CheckboxInput()
            return _("Correct these lines, or tick “%s”.") % box.label
        text = _(
            "The lines were taken for “%s”. If they are something else, choose it at “Each line "
            "is”."
        )
        return self.advice or text % field_words(self.unread.by)

    @property
    def advice(self) -> str:
        """Which field to choose for lines that look like addresses, and were taken for keys."""
        if self.unread is None or self.unread.by != "pk" or not _addresses(self.lines):
            return ""
        if email_field() in list_fields():
            return _(
                "Most lines look like e-mail addresses. Choose “%(field)s” at “Each line is”."
            ) % {"field": field_words(email_field())}
        return _(
            "Most lines look like e-mail addresses, and addresses are not unique among your "
            "users. If another field has them, choose it at “Each line is”."
        )


def paste_help() -> str:
    """Return how much may be pasted."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if not limit:
        return _("One user a line.")
    text = _("One user a line, %s at most. Upload a longer list as a file.")
    return text % filesizeformat(limit)


def _first_lines(source: Any) -> list[str]:
    """Return the first lines of a file that are not blank, and go back to its beginning."""
    source.seek(0)
    head = source.read(CHUNK)
    source.seek(0)
    text = head.decode("utf-8-sig", "replace") if isinstance(head, bytes) else head
    return [line for line in map(strip_blanks, text.splitlines()) if line][:FIRST_LINES]


def _named_fields(lines: Sequence[str]) -> list[str]:
    """Return the unique fields that the first line names, if it is a header."""
    cells = re.split(f"[{DELIMITERS}]", "".join(lines[:1]))
    header = {column_name(cell.strip(' "')) for cell in cells}
    return [name for name in list_fields() if header.intersection(list_field("", name).headers)]


def _likely_field(lines: Sequence[str]) -> str:
    """Return the field that lines without a header look like: the key, if nothing says otherwise.

    An "@" in most of the first lines says that they are addresses, if these are unique. If most
    can be no keys, it is the first field that has their values.
    """
    if _addresses(lines) and email_field() in list_fields():
        return email_field()
    others = [line for line in lines if not _may_be_key(line)]
    if len(others) * 2 > len(lines):
        for name in list_fields():
            field = list_field("", name)
            if any(field.names_user(line, write_alias()) for line in others[:LOOKED_UP]):
                return name
    return "pk"


def _other_field(lines: Sequence[str]) -> str:
    """Return which field to choose if the header of a list names one; empty if it does not."""
    other = named_field(lines[0]) if lines else None
    if not other:
        return ""
    if other == get_user_model()._meta.pk.name:
        other = "pk"
    text = _("Choose “%(field)s” at “Each line is”.")
    if other not in list_fields():
        text = _("Your users may share the same “%(field)s”. Use one of these: %(all)s.")
    fields = ", ".join(f"“{field_words(name)}”" for name in list_fields())
    return text % {"field": field_words(other), "all": fields}


def _may_be_key(line: str) -> bool:
    """Return whether a line can be the key of a user, who need not exist."""
    try:
        return cast_key(line) is not None
    except (TypeError, ValueError):
        return False


def _addresses(lines: Sequence[str]) -> bool:
    """Return whether most lines look like e-mail addresses."""
    return sum("@" in line for line in lines) * 2 > len(lines)
