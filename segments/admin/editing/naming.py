"""By which field a list names users: what its first lines say, and what to choose."""

import io
import re
from typing import Any

from django.contrib.auth import get_user_model
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext

from segments.admin.pages import email_field
from segments.definition.text import strip_blanks
from segments.exceptions import SegmentError, SegmentListError
from segments.lists.decoding import CHUNK
from segments.lists.fields import list_field, named_field, unique_fields
from segments.lists.report import shortened
from segments.lists.source import DELIMITERS
from segments.sql.keys import cast_key

FIRST_LINES = 20
"""How many lines say what all of them look like."""


def list_fields() -> list[str]:
    """Return the unique fields of users, the primary key only once."""
    key: Any = get_user_model()._meta.pk
    return [name for name in unique_fields() if name != key.name]


def field_words(name: str) -> str:
    """Return the name of a field of the user model in words."""
    options: Any = get_user_model()._meta
    field = options.pk if name == "pk" else options.get_field(name)
    return str(capfirst(field.verbose_name))


def first_lines(source: Any) -> list[str]:
    """Return the first lines of a file that are not blank, and go back to its beginning."""
    head = source.read(CHUNK)
    source.seek(0)
    text = head.decode("utf-8-sig", "replace") if isinstance(head, bytes) else head
    return [line for line in map(strip_blanks, text.splitlines()) if line][:FIRST_LINES]


def guessed(lines: list[str]) -> str:
    """Return the field by which a list names users: the key, if nothing says otherwise.

    A header that names a unique field says so, and so does an "@" in most of the first lines if
    addresses are unique.
    """
    header = {
        cell.strip(' "').casefold() for cell in re.split(f"[{DELIMITERS}]", "".join(lines[:1]))
    }
    for name in list_fields():
        if header.intersection(list_field("", name).headers):
            return name
    return email_field() if _addresses(lines) and email_field() in list_fields() else "pk"


def advice(lines: list[str], by: str) -> str:
    """Return which field to choose for lines that look like addresses, and were taken for keys."""
    if by != "pk" or not _addresses(lines):
        return ""
    if email_field() in list_fields():
        return gettext(
            "Most lines look like e-mail addresses. Choose “%(field)s” at “Each line is”."
        ) % {"field": field_words(email_field())}
    return gettext(
        "Most lines look like e-mail addresses, and addresses are not unique among your users. "
        "If another field has them, choose it at “Each line is”."
    )


def refusal_of_ids(text: str, page: str) -> SafeString | None:
    """Return what is wrong with text in a field for ids, and which page takes it.

    None if most of its first lines can be ids: then each wrong one is named when all are loaded.

    Args:
        page: The address of the page of the list, if there is one already.
    """
    lines = first_lines(io.StringIO(text))
    others = [line for line in lines if not _may_be_key(line)]
    if len(others) * 2 <= len(lines):
        return None
    by_address = _addresses(others)
    text = (
        gettext("“%(line)s” looks like an e-mail address, and this field takes user ids only.")
        if by_address
        else gettext("“%(line)s” is not a user id, and this field takes nothing else.")
    )
    words = gettext("the page of the list")
    shared = gettext("Addresses are not among them, because several of your users may share one.")
    return format_html(
        "{} {} {}",
        text % {"line": shortened(next((line for line in others if "@" in line), others[0]))},
        format_html(
            gettext(
                "Leave it empty and save: {page} opens then. It takes a file or text, by any of "
                "these: {fields}."
            ),
            page=format_html('<a href="{}">{}</a>', page, words) if page else words,
            fields=", ".join(map(field_words, list_fields())),
        ),
        shared if by_address and email_field() not in list_fields() else "",
    )


def in_words_of_form(error: SegmentError, lines: list[str]) -> SegmentError:
    """Return an error whose hint names what there is on the page, not arguments in Python."""
    other = named_field(lines[0]) if lines else None
    if other == get_user_model()._meta.pk.name:
        other = "pk"
    if isinstance(error, SegmentListError) and error.report is None and other:
        text = gettext("Choose “%(field)s” at “Each line is”.")
        if other not in list_fields():
            text = gettext("Your users may share the same “%(field)s”. Use one of these: %(all)s.")
        fields = ", ".join(f"“{field_words(name)}”" for name in list_fields())
        error.hint = text % {"field": field_words(other), "all": fields}
    elif error.hint:
        choice = gettext("choose “Add these users to the list”")
        error.hint = error.hint.replace("add users to it: mode='add'", choice)
    return error


def _may_be_key(line: str) -> bool:
    """Return whether a line can be the key of a user, who need not exist."""
    try:
        return cast_key(line) is not None
    except (TypeError, ValueError):
        return False


def _addresses(lines: list[str]) -> bool:
    """Return whether most lines look like e-mail addresses."""
    return sum("@" in line for line in lines) * 2 > len(lines)
