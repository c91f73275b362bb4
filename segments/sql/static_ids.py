"""Static ids: from a million lines to a table, with a word on each line that is no user."""

import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.exceptions import SegmentDefinitionError, translated
from segments.sql import names, statement, text

SHOWN = 20
"""How many bad lines a message quotes; it counts them all."""

BATCH = 10_000
"""How many ids are held in Python at a time."""

BIGINT = range(-(2**63), 2**63)

StaticIds = str | Iterable[Any]
"""Text with one id a line, or an iterable of ids or users."""


class OneShot:
    """An iterator of ids, which can be read once, and says so when it is read again."""

    def __init__(self, ids: Iterator[Any]) -> None:
        self._ids: Iterator[Any] | None = ids

    def __iter__(self) -> Iterator[Any]:
        ids, self._ids = self._ids, None
        if ids is None:
            raise SegmentDefinitionError(
                "the static ids came from an iterator, which has been used up",
                field="static_ids",
                hint="Assign them again.",
            )
        return ids


def replace(connection: BaseDatabaseWrapper, slug: str, segment: int, ids: StaticIds) -> None:
    """Make these the segment's static ids. Constant memory; row locks on what changes alone.

    Raises:
        SegmentDefinitionError: with every line that holds no id, or that of no user.
    """
    static = sql.Identifier("segments_staticmember")
    with (
        translated(SegmentDefinitionError, slug, field="static_ids"),
        connection.cursor() as cursor,
    ):
        _load(connection, cursor, slug, ids)
        cursor.execute(statement("delete_static_ids", static=static), {"segment": segment})
        cursor.execute(statement("insert_static_ids", static=static), {"segment": segment})
        cursor.execute(text("drop_incoming_ids"))


def check(connection: BaseDatabaseWrapper, slug: str, ids: StaticIds) -> None:
    """Raise SegmentDefinitionError as `replace` would, and change nothing.

    What can be read only once is left for `replace`.
    """
    if isinstance(ids, OneShot):
        return
    with (
        translated(SegmentDefinitionError, slug, field="static_ids"),
        connection.cursor() as cursor,
    ):
        _load(connection, cursor, slug, ids)
        cursor.execute(text("drop_incoming_ids"))


def _load(connection: BaseDatabaseWrapper, cursor: Any, slug: str, ids: StaticIds) -> None:
    """Copy the ids into a temporary table; raise for those that cannot be used."""
    key_type = names.key_type(connection)
    cursor.execute(statement("create_incoming_ids", key_type=sql.SQL(key_type)))
    bad: list[tuple[int, str]] = []
    invalid = 0
    entries = _numbered(ids)
    # The ids may come out of a query on this very connection, which waits while a COPY is open.
    while batch := list(islice(entries, BATCH)):
        with cursor.copy(text("copy_incoming_ids")) as copy:
            for line, raw in batch:
                try:
                    copy.write_row((line, parse_key(raw, key_type)))
                except ValueError as error:
                    invalid += 1
                    if len(bad) < SHOWN:
                        bad.append((line, str(error)))
    cursor.execute(
        statement(
            "select_unknown_ids",
            users=names.user_table(),
            key=sql.Identifier(names.user_key_column()),
        ),
        {"limit": SHOWN},
    )
    unknown = cursor.fetchall()
    total = invalid + (unknown[0][2] if unknown else 0)
    if total:
        bad += [(line, f"no user has the id {key}") for line, key, _ in unknown]
        raise _refusal(slug, total, sorted(bad)[:SHOWN])


def _refusal(slug: str, total: int, bad: list[tuple[int, str]]) -> SegmentDefinitionError:
    told = [f"  line {line}: {why}" for line, why in bad]
    if total > len(bad):
        told.append(f"  and {total - len(bad)} more")
    lines = "1 line" if total == 1 else f"{total} lines"
    return SegmentDefinitionError(
        f"{lines} of the static ids cannot be used:\n" + "\n".join(told),
        slug=slug,
        field="static_ids",
        hint="Give one id a line, each of an existing user.",
    )


def _numbered(ids: StaticIds) -> Iterator[tuple[int, Any]]:
    """Give each id with the line it stands on, from 1, without those that are blank."""
    if isinstance(ids, str):
        for line, entry in enumerate(io.StringIO(ids, newline=None), 1):
            if entry.strip():
                yield line, entry.strip()
    else:
        source = ids.iterator() if isinstance(ids, models.QuerySet) else ids
        for line, value in enumerate(source, 1):
            key = value.pk if isinstance(value, models.Model) else value
            yield line, key.strip() if isinstance(key, str) else key


def parse_key(raw: Any, key_type: str) -> Any:
    """Return the key of a user that an entry names.

    Raises:
        ValueError: when it names none, with a text that says why.
    """
    shown = repr(raw) if not isinstance(raw, str) else f'"{raw[:80]}"'
    if raw is None or isinstance(raw, bool):
        raise ValueError(f"{shown} is no user id")
    if key_type == "bigint":
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", str(raw)) or int(raw) not in BIGINT:
            raise ValueError(f"{shown} is no whole number of at most 64 bits")
        return int(raw)
    if "\0" in str(raw):
        raise ValueError("it has a NUL character")
    try:
        return names.user_key().to_python(raw)
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from error
