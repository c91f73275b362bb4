"""The field by which the entries of a list name users."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, models
from psycopg import sql

from segments.definition.static_ids import entry_key, unseen_words
from segments.exceptions import SegmentListError
from segments.membership.members import every_user
from segments.sql import keys, names
from segments.sql.statements import selected

SPECIAL = re.compile(r"[\\\t\n\r]")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
"""What COPY takes for something else, and how it is written."""

KEY_HEADERS = ("pk", "user_id")
"""The names that a column of primary keys may have in a header, whatever the user model is."""

BETWEEN_WORDS = re.compile(r"[\s_.-]+")

MAX_DIGITS = 18
"""With so many digits, any whole number is a bigint."""


class Malformed(str):
    """An entry that a file has in a wrong form.

    Attributes:
        reason: What is wrong with it.
    """

    reason: str

    @classmethod
    def because(cls, entry: str, reason: str) -> "Malformed":
        """Return the entry with the reason why it cannot be used."""
        malformed = cls(entry)
        malformed.reason = reason
        return malformed


@dataclass(frozen=True)
class ListField:
    """A unique field of the user model.

    Attributes:
        by: The name that was asked for: `pk`, or that of a field.
        field: The field itself.
    """

    by: str
    field: "models.Field[Any, Any]"

    @property
    def is_key(self) -> bool:
        """Whether it is the primary key."""
        return self.field.primary_key and self.field == names.user_key_field()

    @cached_property
    def _column(self) -> Any:
        """The field that converts values: where it is a relation, the key that it leads to."""
        field: Any = self.field
        while field.is_relation:
            field = field.target_field
        return field

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names that a column of it may have in a header, the most exact first."""
        own = self.by, *_names_of(self.field)
        keys_only = KEY_HEADERS if self.is_key else ()
        return tuple(dict.fromkeys(filter(None, (*own, *keys_only))))

    @cached_property
    def headers(self) -> frozenset[str]:
        """These names as `column_name` returns them."""
        return frozenset(filter(None, map(column_name, self.names)))

    def type(self, alias: str) -> sql.SQL:
        """Return the SQL type of its values, without a length."""
        connection = connections[alias]
        if self.is_key:
            return sql.SQL(names.key_type(connection))
        declared = self.field.rel_db_type(connection) or "text"
        return sql.SQL(declared.partition("(")[0])

    def users(self, alias: str) -> sql.SQL:
        """Return a SELECT of the key and the value of all users."""
        rows = every_user().using(alias).order_by()
        return selected(rows.values_list("pk", self.field.name))

    def names_user(self, entry: str, alias: str) -> bool:
        """Return whether an entry names a user. One query."""
        try:
            value = entry_key(entry) if self.is_key else self._value(entry)
        except ValueError:
            return False
        return every_user().using(alias).filter(**{self.field.name: value}).exists()

    def copied(self, entry: Any) -> str:
        """Return what an entry means, as COPY takes it. An entry with digits only costs least.

        Raises:
            ValueError: when it cannot name a user, with the reason.
            TypeError: when it is an instance of another model.
        """
        if isinstance(entry, Malformed):
            raise ValueError(entry.reason)
        if self.is_key:
            value = entry_key(entry)
            if type(value) is int:
                return str(value)
        else:
            value = self._value(entry)
        text = str(value)
        if not text.isascii():
            text.encode()  # A lone surrogate is a ValueError.
        return text.translate(ESCAPES) if SPECIAL.search(text) else text

    def _value(self, entry: Any) -> Any:
        """Return the value of the field that an entry means."""
        if isinstance(entry, get_user_model()):
            entry = getattr(entry, self.field.attname)
        elif isinstance(entry, models.Model):
            raise keys.not_users(entry)
        if entry in (None, ""):
            raise ValueError(f"it has no {self.by}")
        if isinstance(entry, str) and "\0" in entry:
            raise ValueError("it contains a NUL character")
        try:
            value: Any = self._column.to_python(entry)
            if not isinstance(value, str):
                self._column.run_validators(value)
        except ValidationError as error:
            raise ValueError(" ".join(error.messages) + unseen_words(entry)) from error
        if isinstance(self._column, models.EmailField) and "@" not in value:
            raise ValueError(f"{keys.in_words(value)} is not an e-mail address")
        longest = self._column.max_length
        if isinstance(value, str) and longest and len(value) > longest:
            raise ValueError(f"{keys.in_words(value)}... has more than {longest} characters")
        return value

    def unknown(self, value: str, similar: str | None = None) -> str:
        """Return why a value is that of no user, and which similar one is, if any."""
        what = "id" if self.is_key else self.by
        shown = value[:80] if self.is_key else keys.in_words(value)
        hint = f"; one has {keys.in_words(similar)}" if similar else ""
        return f"no user has the {what} {shown}{unseen_words(value)}{hint}"


def list_field(slug: str, by: str) -> ListField:
    """Return the field of this name.

    Raises:
        SegmentListError: when the user model has no such field, or it is not unique by itself.
    """
    label, unique = get_user_model()._meta.label, unique_fields()
    if by == "pk":
        return ListField(by, names.user_key_field())
    hint = f"Use one that is unique: by={', '.join(map(repr, unique))}."
    try:
        field: Any = get_user_model()._meta.get_field(by)
    except FieldDoesNotExist as error:
        raise SegmentListError(
            f'{label} has no field "{by}"', slug=slug, field="static_ids", hint=hint
        ) from error
    if field.name not in unique:
        raise SegmentListError(
            f'the field "{by}" of {label} {_why_ambiguous(field.name)}',
            slug=slug,
            field="static_ids",
            hint=hint,
        )
    return ListField(by, field)


def unique_fields() -> list[str]:
    """Return `pk`, and the names of the fields of the user model that are unique."""
    options = get_user_model()._meta
    constrained = {
        constraint.fields[0]
        for constraint in options.total_unique_constraints
        if len(constraint.fields) == 1
    }
    return ["pk", *(f.name for f in options.concrete_fields if f.unique or f.name in constrained)]


def _why_ambiguous(name: str) -> str:
    """Return why a value of a field may mean several users, or none as it stands."""
    for rule in get_user_model()._meta.constraints:
        if not isinstance(rule, models.UniqueConstraint):
            continue
        if name in _named_in(rule.expressions):
            return (
                f'is unique only by an expression, in the constraint "{rule.name}", and a list is '
                "compared with the values themselves"
            )
        if name in rule.fields:
            others = " and ".join(f'"{other}"' for other in rule.fields if other != name)
            how = f"together with {others}" if others else "where a condition holds"
            return (
                f'is unique only {how}, by the constraint "{rule.name}", so a value may mean '
                "several users"
            )
    return "is not unique, so a value may mean several users"


def _named_in(expressions: Any) -> Iterator[str]:
    """Yield the names of the fields in the expressions of a constraint."""
    for expression in expressions:
        parts = expression.flatten() if hasattr(expression, "flatten") else [expression]
        yield from (str(part.name) for part in parts if hasattr(part, "name"))


def named_field(cell: str) -> str | None:
    """Return the name of the concrete field of the user model that a cell names, if any.

    A cell may also name the key as it is named everywhere: `pk` or `user_id`.
    """
    name = column_name(cell)
    for field in get_user_model()._meta.concrete_fields:
        if name in map(column_name, _names_of(field)):
            return field.name
    return "pk" if name in map(column_name, KEY_HEADERS) else None


def column_name(cell: str) -> str:
    """Return the name of a column in a header, whatever its case and what is between its words.

    So `E-Mail`, `email` and `e mail` are one name, and `User ID` and `user_id`.
    """
    return BETWEEN_WORDS.sub("", cell).casefold()


def _names_of(field: Any) -> tuple[str, ...]:
    """Return what a field is called in code, in the database and in the admin."""
    return field.name, field.attname, str(field.column), str(field.verbose_name)
