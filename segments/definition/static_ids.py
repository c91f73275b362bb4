"""Static ids: load ids into a table in bulk, and report every line that is not a user."""

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
from segments.sql import names
from segments.sql.owned import STATIC_MEMBER
from segments.sql.session import fetch_all
from segments.sql.statements import compose, sql_text

MAX_SHOWN = 20
"""How many bad lines a message quotes. It counts all of them."""

BATCH = 10_000
"""How many ids Python holds at a time."""

BIGINT = range(-(2**63), 2**63)

StaticIds = str | Iterable[Any]
"""Text with one id a line, or an iterable of ids or users."""


def replace(connection: BaseDatabaseWrapper, slug: str, segment: int, ids: StaticIds) -> None:
    """Replace the static ids of a segment, in constant memory. Locks only the rows that change.

    Raises:
        SegmentDefinitionError: with every line that is not the id of a user.
    """
    static = sql.Identifier(STATIC_MEMBER)
    with translated(SegmentDefinitionError, slug, field="static_ids"):
        _load(connection, slug, ids)
        fetch_all(connection, compose("delete_static_ids", static=static), segment=segment)
        fetch_all(connection, compose("insert_static_ids", static=static), segment=segment)
        fetch_all(connection, "drop_incoming_ids")


def check(connection: BaseDatabaseWrapper, slug: str, ids: StaticIds) -> None:
    """Raise the SegmentDefinitionError that `replace` would raise, and change nothing."""
    with translated(SegmentDefinitionError, slug, field="static_ids"):
        _load(connection, slug, ids)
        fetch_all(connection, "drop_incoming_ids")


def _load(connection: BaseDatabaseWrapper, slug: str, ids: StaticIds) -> None:
    """Copy the ids into a temporary table, and raise an error if any cannot be used."""
    key_type = names.key_type(connection)
    fetch_all(connection, compose("create_incoming_ids", key_type=sql.SQL(key_type)))
    bad: list[tuple[int, str]] = []
    invalid = 0
    entries = _numbered(ids)
    # The ids may come from a query on this connection, which cannot run while a COPY is open.
    while batch := list(islice(entries, BATCH)):
        with connection.cursor() as cursor, cursor.copy(sql_text("copy_incoming_ids")) as copy:
            for line, raw in batch:
                try:
                    copy.write_row((line, parse_key(raw, key_type)))
                except ValueError as error:
                    invalid += 1
                    if len(bad) < MAX_SHOWN:
                        bad.append((line, str(error)))
    users = {"users": names.user_table(), "key": sql.Identifier(names.user_key_column())}
    unknown = fetch_all(connection, compose("select_unknown_ids", **users), limit=MAX_SHOWN)
    total = invalid + (unknown[0][2] if unknown else 0)
    if total:
        bad += [(line, f"no user has the id {key}") for line, key, _ in unknown]
        raise _refusal(slug, total, sorted(bad)[:MAX_SHOWN])


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


def _numbered(ids: StaticIds) -> Iterator[tuple[int, Any]]:
    """Yield each id with its line number, from 1. Skip blank lines."""
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
    """Return the key of a user that an entry means.

    Raises:
        ValueError: when it cannot be one, with the reason.
    """
    label = repr(raw) if not isinstance(raw, str) else f'"{raw[:80]}"'
    if raw is None or isinstance(raw, bool):
        raise ValueError(f"{label} is not a user id")
    if key_type == "bigint":
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", str(raw)) or int(raw) not in BIGINT:
            raise ValueError(f"{label} is not a whole number of at most 64 bits")
        return int(raw)
    if "\0" in str(raw):
        raise ValueError("it contains a NUL character")
    try:
        return names.user_key_field().to_python(raw)
    except ValidationError as error:
        raise ValueError(" ".join(error.messages)) from error
