"""Rename a segment that others read: which definitions name its views, and what they become.

Views follow a rename, and the text of definitions does not. So a rename is refused while others
read the segment by name, unless their text is rewritten with it.

Postgres finds the references: the views are renamed in a savepoint, after which it reports the
position of each name that it does not find. Two trial views show that a text means the same before
and after. Then the savepoint is rolled back.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from psycopg import DataError, ProgrammingError, sql
from psycopg.errors import UndefinedColumn, UndefinedTable

from segments import conf
from segments.definition.compile import compile_segment
from segments.definition.select import Definition, compile_definition, describe
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentError,
    SegmentExecutionError,
    SegmentLockedError,
    SegmentReadersError,
    for_log,
    translated,
)
from segments.pgviews import views
from segments.pgviews.binding import binding
from segments.pgviews.comments import Label, comment_live
from segments.refreshing.order import ordered
from segments.rows import locked, segment_rows
from segments.sql import locks, names, session
from segments.sql.session import fetch_all, fetch_value

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)

MAX_REFERENCES = 1000

NAME = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
"""An identifier of SQL, at a position where Postgres has found one."""

DOT = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*\.(?:\s|--[^\n]*\n|/\*.*?\*/)*", re.DOTALL)
"""A dot between two identifiers, with blanks and comments."""


@dataclass(frozen=True)
class Reader:
    """A segment that reads another one by name.

    Attributes:
        key, slug: The segment.
        text: Its definition with the new name; None if it cannot be rewritten.
        reason: Why it cannot.
        fingerprint: The fingerprint of its SQL before.
    """

    key: int
    slug: str
    text: str | None = None
    reason: str = ""
    fingerprint: str | None = None


class _CannotRewriteError(Exception):
    """Says why a text cannot be rewritten."""


def check_rename(
    before: "Segment | None", after: "Segment", using: str, rewrite: bool = False
) -> list[Reader]:
    """Return the readers of a segment to rewrite, and lock them; refuse others.

    Takes AccessExclusive on both views of the segment for an instant, if a definition may name
    them. With `rewrite`, it must be called in a transaction on the alias.

    Args:
        before, after: The segment with its former and its new slug.
        using: The alias on which segments are saved.
        rewrite: Whether definitions that name the views may be rewritten.

    Raises:
        SegmentDefinitionError: naming the segments that read it.
        SegmentLockedError: when another session locks one of them for too long.
    """
    if before is None or names.view_name(before.slug) == names.view_name(after.slug):
        return []
    readers = _readers(before, after.label, using)
    if readers and not rewrite:
        raise _refused(before, after, readers)
    if any(reader.text is None for reader in readers):
        raise _refused(before, after, [reader for reader in readers if reader.text is None])
    if readers:
        rows = segment_rows(using).filter(pk__in=[reader.key for reader in readers])
        with translated(SegmentExecutionError, before.slug):
            for row in ordered(rows):
                locks.lock(connections[using], row.pk)
            list(rows.select_for_update(no_key=True))
        if _readers(before, after.label, using) != readers:
            raise SegmentLockedError(
                "a segment that reads it was changed meanwhile; try again", slug=before.slug
            )
    return readers


def rewrite_texts(readers: Iterable[Reader], using: str) -> None:
    """Store the definitions with the new name."""
    for reader in readers:
        rows = segment_rows(using).filter(pk=reader.key)
        rows.update(definition=reader.text, updated_at=timezone.now())


def follow(connection: BaseDatabaseWrapper, readers: Iterable[Reader]) -> None:
    """Keep the new fingerprints of readers, whose rows have been rewritten.

    Their live views are bound to the renamed views already.
    """
    for reader in readers:
        row = segment_rows(connection.alias).get(pk=reader.key)
        if views.state(connection, row.slug).fingerprint == reader.fingerprint:
            compiled = compile_segment(connection, row)
            comment_live(connection, row.slug, *compiled.fingerprints)


def follow_on_commit(readers: Iterable[Reader]) -> None:
    """Do the same after the commit, if rows are saved on another alias. Log failures."""
    for reader in readers:
        try:
            with locked(conf.exec_connection(), reader.key, reader.slug) as (connection, row):
                if row is not None:
                    follow(connection, [reader])
        except SegmentError as error:
            logger.error("The view of segment %s was not changed: %s", reader.slug, for_log(error))


def _refused(
    before: "Segment", after: "Segment", readers: Iterable[Reader]
) -> SegmentDefinitionError:
    slugs = ", ".join(
        f"{reader.slug} ({reader.reason})" if reader.reason else reader.slug for reader in readers
    )
    view = f"{conf.schema()}.{names.view_name(before.slug)}"
    kind: type[SegmentDefinitionError] = SegmentReadersError
    if any(reader.reason for reader in readers):
        kind = SegmentDefinitionError
        hint = "Let these segments read something else first."
    else:
        hint = f'This rewrites their definitions: segment.rename("{after.slug}", rewrite=True)'
    return kind(
        f"it cannot be renamed, because definitions read {view}: {slugs}",
        slug=before.slug,
        field="slug",
        hint=hint,
    )


def _readers(before: "Segment", label: Label, using: str) -> list[Reader]:
    """Return the segments that read a segment by name, by slug, as if it was renamed."""
    with session.transaction(
        conf.exec_connection(), before.slug, rollback=True, timeout=before.timeout
    ) as connection:
        candidates = list(_candidates(connection, before, using))
        if not candidates:
            return []
        bound = {row.pk: _binding(connection, row.slug, row.definition) for row, _ in candidates}
        fingerprints = {
            row.pk: compile_segment(connection, row).fingerprint
            for row, _ in candidates
            if bound[row.pk]
        }
        views.relabel(connection, before.slug, label)
        readers = []
        for row, reads in candidates:
            reader = _reader(connection, row, before.slug, label.slug, bound[row.pk], reads)
            if reader is not None:
                readers.append(
                    Reader(row.pk, row.slug, *reader, fingerprint=fingerprints.get(row.pk))
                )
    return readers


def _candidates(
    connection: BaseDatabaseWrapper, before: "Segment", using: str
) -> Iterator[tuple["Segment", bool]]:
    """Yield the segments whose text may name the views of another, by slug.

    Each comes with whether its live view reads one of these views, or did before it was detached.
    """
    name = names.view_name(before.slug)
    states = views.states(connection)
    current = states.get(name, views.State(name))
    if not current.live:
        return
    oids = [current.live_oid, current.members_oid]
    reading = {view for (view,) in fetch_all(connection, "select_direct_readers", oids=oids)}
    reading |= {
        state.name
        for state in states.values()
        if any(read["id"] in oids for read in state.reads or ())
    }
    for row in segment_rows(using).exclude(pk=before.pk).order_by("slug"):
        reads = names.view_name(row.slug) in reading
        if reads or name in row.definition.lower():
            yield row, reads


def _reader(
    connection: BaseDatabaseWrapper,
    row: "Segment",
    old: str,
    new: str,
    bound: str | None,
    reads: bool,
) -> tuple[str | None, str] | None:
    """Return a definition with the new name, or why there is none; None if it names no view."""
    if not row.definition:
        return None, "its manager method reads it"
    if bound is None:  # It fails in any case, so its meaning does not change.
        return (None, "its definition is not valid") if reads else None
    try:
        text = _rewritten(connection, row.definition, names.view_name(old), names.view_name(new))
    except _CannotRewriteError as error:
        return None, str(error)
    if _binding(connection, row.slug, text) != bound:
        return None, "its definition would mean something else"
    return None if text == row.definition else (text, "")


def _binding(connection: BaseDatabaseWrapper, slug: str, text: str) -> str | None:
    """Return what a text is bound to; None if it is not valid."""
    try:
        with transaction.atomic(using=connection.alias):
            return binding(connection, compile_definition(connection, Definition(slug, text)))
    except SegmentDefinitionError:
        return None


def _rewritten(connection: BaseDatabaseWrapper, text: str, old: str, new: str) -> str:
    """Return a text in which each name that Postgres does not find has become the new one."""
    quoted = sql.Identifier(new).as_string()
    plain = fetch_value(connection, "select_quoted_name", name=new)
    for _ in range(MAX_REFERENCES):
        index = _missing_name(connection, text)
        if index is None:
            return text
        places = [(start, end) for name, start, end in _parts(text, index) if name == old]
        if not places:
            raise _CannotRewriteError(f"the name in line {text.count(chr(10), 0, index) + 1}")
        # The last part of a relation's name, or what qualifies the name of a column.
        start, end = places[-1]
        text = text[:start] + (quoted if text[start] == '"' else plain) + text[end:]
    raise _CannotRewriteError(f"it names it more than {MAX_REFERENCES} times")


def _missing_name(connection: BaseDatabaseWrapper, text: str) -> int | None:
    """Return the index of the first relation or column that Postgres does not find in a text."""
    try:
        with transaction.atomic(using=connection.alias):
            describe(connection, text)
    except (UndefinedTable, UndefinedColumn) as error:
        return int(error.diag.statement_position or 0) - 1
    except (ProgrammingError, DataError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise _CannotRewriteError(f"with the new name: {reason}") from error
    return None


def _parts(text: str, index: int) -> Iterator[tuple[str, int, int]]:
    """Yield the parts of a qualified name, as Postgres reads them, with their places."""
    while index >= 0 and (match := NAME.match(text, index)):
        word = match[0]
        name = word[1:-1].replace('""', '"') if word[0] == '"' else word.lower()
        yield name, match.start(), match.end()
        dot = DOT.match(text, match.end())
        index = dot.end() if dot else -1
