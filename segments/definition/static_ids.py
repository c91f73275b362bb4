"""Static ids: load ids into a table in bulk, and report every line that is not a user."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.definition.text import strip_blanks, unseen_in
from segments.exceptions import SegmentDefinitionError, translated
from segments.sql import keys, names
from segments.sql.owned import LIST_CHANGE, STATIC_MEMBER
from segments.sql.session import fetch_all
from segments.sql.statements import compose, selected, sql_text

MAX_SHOWN = 20
"""How many bad lines a message quotes. It counts all of them."""

BATCH = 10_000
"""How many ids Python holds at a time."""


@dataclass(frozen=True)
class SelectedIds:
    """Ids that are in the database already, so that they need not pass through Python.

    Attributes:
        query: A SELECT of the ids. Those of users who do not exist are left out.
    """

    query: sql.Composable


class UnreadIds(ABC):
    """Ids that are read when the segment is saved or previewed, from a list in any form.

    Attributes:
        at_once: Whether the segment is refreshed when it is saved, whatever the settings are.
    """

    at_once: bool

    @abstractmethod
    def replace(
        self, connection: BaseDatabaseWrapper, slug: str, segment: int, version: int | None
    ) -> tuple[int, int]:
        """Read them, and replace the list of a segment; as the function `replace` does."""


StaticIds = str | Iterable[Any] | SelectedIds | UnreadIds
"""Text with one id a line, an iterable of ids or users, a query for them, or an unread list."""


def checked(ids: Any, slug: str) -> StaticIds:
    """Return what was assigned as static ids; bytes as text, and an iterator as a tuple.

    Other entries of an iterable are checked when they are saved.

    Raises:
        TypeError: when it cannot be a list of ids or users.
        SegmentDefinitionError: when it is bytes, but not text in UTF-8.
    """
    if isinstance(ids, bytes | bytearray | memoryview):
        try:
            return bytes(ids).decode()
        except UnicodeDecodeError as error:
            raise SegmentDefinitionError(
                f"the static ids are not text in UTF-8: {error.reason} at byte {error.start}",
                slug=slug,
                field="static_ids",
            ) from error
    if isinstance(ids, models.QuerySet):
        keys.user_keys(ids)
    elif isinstance(ids, models.Model) or not isinstance(ids, Iterable):
        raise TypeError(
            f"static_ids takes text, or an iterable of ids or users, not {keys.in_words(ids)}"
        )
    return tuple(ids) if isinstance(ids, Iterator) else ids


def replace(
    connection: BaseDatabaseWrapper,
    slug: str,
    segment: int,
    ids: StaticIds,
    version: int | None = None,
) -> tuple[int, int]:
    """Replace the static ids of a segment, in constant memory. Locks only the rows that change.

    Args:
        version: The key of the version that keeps which ids are added and removed, if one does.

    Returns:
        How many ids are added and removed.

    Raises:
        SegmentDefinitionError: with every line that is not the id of a user.
        SegmentListError: when the ids are a list in another form, which has bad lines.
        TypeError: for an instance of another model.
    """
    if isinstance(ids, UnreadIds):
        return ids.replace(connection, slug, segment, version)
    query = compose(
        "replace_static_ids",
        static=sql.Identifier(STATIC_MEMBER),
        change=sql.Identifier(LIST_CHANGE),
    )
    with translated(SegmentDefinitionError, slug, field="static_ids"):
        _load(connection, slug, ids)
        ((added, removed),) = fetch_all(connection, query, version=version, segment=segment)
        fetch_all(connection, "drop_incoming_ids")
    return added, removed


def check(connection: BaseDatabaseWrapper, slug: str, ids: StaticIds) -> None:
    """Raise the SegmentDefinitionError that `replace` would raise, and change nothing.

    A list in another form is read only once, by `replace`.
    """
    if isinstance(ids, SelectedIds | UnreadIds):  # What is selected and of no user is left out.
        return
    with translated(SegmentDefinitionError, slug, field="static_ids"):
        _load(connection, slug, ids)
        fetch_all(connection, "drop_incoming_ids")


def _load(
    connection: BaseDatabaseWrapper, slug: str, ids: str | Iterable[Any] | SelectedIds
) -> None:
    """Copy the ids into a temporary table, and raise an error if any cannot be used."""
    key_type = names.key_type(connection)
    fetch_all(connection, compose("create_incoming_ids", key_type=sql.SQL(key_type)))
    users = {"users": names.user_table(), "key": sql.Identifier(names.user_key_column())}
    if isinstance(ids, models.QuerySet) and _are_users(ids, connection.alias):
        ids = SelectedIds(selected(keys.user_keys(ids)))
    if isinstance(ids, SelectedIds):
        fetch_all(connection, compose("insert_incoming_ids", query=ids.query, **users))
        return
    bad: list[tuple[int, str]] = []
    invalid = 0
    entries = _numbered(ids)
    # The ids may come from a query on this connection, which cannot run while a COPY is open.
    while batch := list(islice(entries, BATCH)):
        with connection.cursor() as cursor, cursor.copy(sql_text("copy_incoming_ids")) as copy:
            for line, raw in batch:
                try:
                    copy.write_row((line, entry_key(raw)))
                except ValueError as error:
                    invalid += 1
                    if len(bad) < MAX_SHOWN:
                        bad.append((line, str(error)))
    unknown = fetch_all(connection, compose("select_unknown_ids", **users), limit=MAX_SHOWN)
    total = invalid + (unknown[0][2] if unknown else 0)
    if total:
        bad += [(line, f"no user has the id {key}{unseen_words(key)}") for line, key, _ in unknown]
        raise _refusal(slug, total, sorted(bad)[:MAX_SHOWN])


def _are_users(queryset: "models.QuerySet[Any, Any]", alias: str) -> bool:
    """Return whether a queryset selects users of this database, so that none has to be checked."""
    whole = queryset._fields is None  # type: ignore[attr-defined]  # values() was not called
    return whole and issubclass(queryset.model, get_user_model()) and queryset.db == alias


def _refusal(slug: str, total: int, bad: list[tuple[int, str]]) -> SegmentDefinitionError:
    reasons = [f"  line {line}: {reason}" for line, reason in bad]
    if total > len(bad):
        reasons.append(f"  and {total - len(bad)} more")
    lines = "1 line" if total == 1 else f"{total} lines"
    return SegmentDefinitionError(
        f"{lines} of the static ids cannot be used:\n" + "\n".join(reasons),
        slug=slug,
        field="static_ids",
        hint="Write one id a line, each of an existing user.",
    )


def _numbered(ids: str | Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Yield each entry with its line number, from 1. Skip blank lines and blank entries."""
    source: Iterable[Any] = ids
    if isinstance(ids, str):
        source = io.StringIO(ids, newline=None)
    elif isinstance(ids, models.QuerySet):
        source = map(only_value, keys.user_keys(ids).iterator(BATCH))
    for line, value in enumerate(source, 1):
        entry = value.decode(errors="replace") if isinstance(value, bytes) else value
        entry = strip_blanks(entry) if isinstance(entry, str) else entry
        if entry != "":
            yield line, entry


def only_value(row: Any) -> Any:
    """Return the value of a row with one column, as `values()` and `values_list()` return it."""
    if isinstance(row, dict):
        (row,) = row.values()
    return row[0] if isinstance(row, tuple) else row


def entry_key(entry: Any) -> Any:
    """Return the key of a user that an entry means.

    Raises:
        ValueError: when it means none, with the reason.
        TypeError: when it is an instance of another model.
    """
    try:
        key = keys.cast_key(entry) if isinstance(entry, str | int) else keys.user_key(entry)
    except TypeError as error:
        if isinstance(entry, models.Model):
            raise
        raise ValueError(str(error)) from error
    except ValueError as error:
        raise ValueError(f"{error}{unseen_words(entry)}") from error
    if key is None:
        raise ValueError(f"{keys.in_words(entry)} is not a user with an id")
    return key


def unseen_words(entry: Any) -> str:
    """Return a remark that names the characters in an entry that nobody sees, if it has any."""
    unseen = unseen_in(entry) if isinstance(entry, str) else ""
    return f" (it contains {unseen})" if unseen else ""
