"""The door for users and their keys: what comes in is a key of the user model, or an error."""

import operator
import re
from collections.abc import Iterable
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.signals import setting_changed
from django.db import models

from segments.sql import names

BIGINT = range(-(2**63), 2**63)

WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")

KEY_WORDS = {int: "a whole number", str: "text", UUID: "a UUID"}
"""What the keys of users are, by their type in Python."""

NEVER_KEYS = (bool, float, bytes, models.Model)


class UserKey(NamedTuple):
    """The user model, the attribute of a user that is the key, and the key's type in Python.

    The type is None if the field is not for whole numbers, text or UUIDs.
    """

    model: type[models.Model]
    attribute: str
    type: type | None


@cache
def user_key_type() -> UserKey:
    """Return what the key of a user is. Cached, since Django takes 1 us to find the user model."""
    field: Any = names.user_key_field()
    attribute = field.attname
    while field.is_relation:
        field = field.target_field
    kinds = (
        (models.IntegerField, int),
        (models.UUIDField, UUID),
        (models.CharField, str),
        (models.TextField, str),
    )
    kind = next((kind for base, kind in kinds if isinstance(field, base)), None)
    return UserKey(get_user_model(), attribute, kind)


def _clear_cache(**kwargs: Any) -> None:
    """Look for the user model again, since a setting has been overridden."""
    user_key_type.cache_clear()


setting_changed.connect(_clear_cache)


def user_key(user: Any) -> Any:
    """Return the primary key of a user, given by the user or by the key.

    Whatever takes a user or a key calls this, so `17` and `"17"` mean the same everywhere, and
    nothing else reaches Postgres. It is part of the fast path of a check.

    Returns:
        The key as the key field has it in Python; None for None, for a user who is not saved, and
        for a visitor (`AnonymousUser`).

    Raises:
        TypeError: when it is not a user, and not of a type that keys may have.
        ValueError: when it is of such a type, but cannot be a key.
    """
    model, attribute, kind = user_key_type()
    if isinstance(user, model):  # As is the SimpleLazyObject that is request.user.
        key = getattr(user, attribute)
        return key if key is None or kind is None or type(key) is kind else cast_key(key)
    if type(user) is kind is int and user in BIGINT:
        return user
    if user is None:
        return None
    if isinstance(user, models.Model):
        if not holds_user_keys(user._meta.pk):
            raise not_users(user)
        return user.pk
    if hasattr(user, "is_authenticated"):  # Users need no row: AnonymousUser has none.
        return None if user.pk is None else cast_key(user.pk)
    return cast_key(user)


def known_keys(users: Iterable[Any]) -> list[Any]:
    """Return the `user_key` of each user or key, but for those that are None.

    Users of the model itself, and numbers, are checked together, at a tenth of what one by one
    takes.

    Raises:
        TypeError, ValueError: as `user_key` does.
    """
    model, attribute, kind = user_key_type()
    given = keys = list(users)
    kinds = {*map(type, keys)}
    if kinds == {model}:
        keys = [*map(attrgetter(attribute), keys)]
        kinds = {*map(type, keys)}
    if kinds == {kind} == {int} and min(keys) in BIGINT and max(keys) in BIGINT:
        return keys
    return [key for key in map(user_key, given) if key is not None]


def cast_key(raw: Any) -> Any:
    """Return a key as the key field has it in Python.

    Raises:
        TypeError: when it is not of a type that keys may have.
        ValueError: when it is of such a type, but cannot be a key.
    """
    kind = user_key_type().type
    if not _may_be_key(raw, kind):
        raise not_users(raw)
    if kind is int:
        if isinstance(raw, str):
            number = int(raw) if WHOLE_NUMBER.fullmatch(raw) else None
        else:
            number = operator.index(raw)
        if number is None or number not in BIGINT:
            raise ValueError(f"{in_words(raw)} is not a whole number of at most 64 bits")
        return number
    if "\0" in str(raw):
        raise ValueError("it contains a NUL character")
    try:
        return names.user_key_field().to_python(raw)
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from error


def user_keys(queryset: "models.QuerySet[Any, Any]") -> "models.QuerySet[Any, Any]":
    """Return a queryset of users, or of their keys, as one that selects only the keys.

    Raises:
        TypeError: when it is known to select anything else.
    """
    query = queryset.query
    if queryset._fields is None:  # type: ignore[attr-defined]  # values() was not called
        key = user_key_of(queryset.model)
        if key is None:
            raise not_users(queryset)
        return queryset.values(key.name)
    selected = [*query.extra_select, *query.values_select, *query.annotation_select]
    if len(selected) != 1:
        raise TypeError(f"{in_words(queryset)} selects {len(selected)} columns, not one of keys")
    field: Any = None
    if query.values_select:
        field = query.names_to_path(selected[0].split("__"), queryset.model._meta)[1]
    elif query.annotation_select:
        field = getattr(query.annotation_select[selected[0]], "target", None)  # As F("pk") has.
    if field is not None and holds_user_keys(field) is False:
        raise not_users(queryset, selected[0])
    return queryset


def user_key_of(model: Any) -> Any:
    """Return the field of a model that holds the key of a user for each row; None without one.

    A model that inherits from the user model may have another primary key.
    """
    inherits = issubclass(model, get_user_model())
    key: Any = names.user_key_field() if inherits else model._meta.pk
    return key if holds_user_keys(key) else None


def holds_user_keys(field: Any) -> bool | None:
    """Return whether a field of any model holds keys of users; None if it may.

    It does if it is the user key or a relation to it, also through models that inherit from the
    user model. It does not if it is the key of another model, a relation to anything else, or
    another field of the user model.
    """
    keys: list[Any] = [names.user_key_field()]
    while keys[-1].is_relation and keys[-1].remote_field.parent_link:
        keys.append(keys[-1].target_field)
    refers = False
    while field not in keys and field.is_relation:
        field, refers = field.target_field, True
    if field in keys:
        return True
    other = refers or field.primary_key or issubclass(get_user_model(), field.model)
    return False if other else None


def not_users(value: Any, column: str = "") -> TypeError:
    """Return the error for something that is not a user, nor users, nor a key.

    Args:
        column: The column that a queryset was told to select.
    """
    key = KEY_WORDS.get(user_key_type().type, "a primary key")  # type: ignore[arg-type]
    given = in_words(value) + (f' that selects "{column}"' if column else "")
    text = f"{given} is not a user ({get_user_model()._meta.label}) or the key of one ({key})"
    model = value.model if isinstance(value, models.QuerySet) else value
    fields = model._meta.concrete_fields if hasattr(model, "_meta") else ()
    relations = [f.attname for f in fields if f.is_relation and holds_user_keys(f)]
    if len(relations) == 1:
        (name,) = relations
        text += "; end it with " if isinstance(value, models.QuerySet) else "; take its "
        text += f'.values_list("{name}", flat=True)' if model is not value else f'"{name}"'
    return TypeError(text)


def in_words(value: Any) -> str:
    """Return what a value is, for messages. Does not query."""
    if isinstance(value, models.QuerySet):
        return f"a queryset of {value.model._meta.label}"
    if isinstance(value, models.Model):
        return f"an instance of {value._meta.label}"
    return f'"{value[:80]}"' if isinstance(value, str) else repr(value)[:80]


def _may_be_key(raw: Any, kind: type | None) -> bool:
    """Return whether a value is of a type that keys may have."""
    if isinstance(raw, str):
        return True
    if raw is None or isinstance(raw, NEVER_KEYS):
        return False
    whole = hasattr(raw, "__index__")  # As numbers of NumPy have, too.
    if kind is int:
        return whole
    if kind is str:
        return whole or isinstance(raw, UUID)
    return kind is None or isinstance(raw, kind)
