"""A list that is loaded: read into a temporary table, then put into the list of a segment."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments.definition.static_ids import BATCH
from segments.lists.fields import MAX_DIGITS, ListField
from segments.lists.report import MAX_SHOWN, BadLine, LoadReport, Tally, no_lines, shortened
from segments.lists.source import Entry, ListReader
from segments.sql import keys, names
from segments.sql.owned import LIST_CHANGE, STATIC_MEMBER
from segments.sql.session import fetch_all, fetch_value, planned_anew
from segments.sql.statements import compose, selected, sql_text

Mode = Literal["replace", "add", "remove"]

CHANGES = {"replace": "replace_listed", "add": "add_listed", "remove": "remove_listed"}
"""The statement of each mode."""


@dataclass(frozen=True)
class Incoming:
    """A list that is loaded, in a temporary table.

    Attributes:
        connection: The connection, in the transaction of the load.
        slug: The slug of the segment.
        mode: What becomes of the list.
        field: The field by which entries name users.
        skip_bad: Whether the good lines are used if there are others.
    """

    connection: BaseDatabaseWrapper
    slug: str
    mode: Mode
    field: ListField
    skip_bad: bool

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """The parts of statements that look up the users of a list."""
        return {"users": self.field.users(self.connection.alias)}

    def read(self, source: Any, allow_empty: bool) -> Tally:
        """Copy the list into a temporary table; return what was read.

        Raises:
            SegmentListError: when it cannot be read, or has no line, unless `allow_empty`.
        """
        type_ = self.field.type(self.connection.alias)
        fetch_all(self.connection, compose("create_listed", type=type_))
        tally = self._copy(source)
        if not tally.lines and not allow_empty:
            raise no_lines(self.slug)
        return tally

    def _copy(self, source: Any) -> Tally:
        if isinstance(source, models.QuerySet) and self.field.is_key:
            queryset = keys.user_keys(source)
            if queryset.db == self.connection.alias:
                return self._select(queryset)
            source = queryset
        reader = ListReader(self.slug, self.field, self.connection.alias)
        entries = reader.entries(source)
        tally = Tally()
        # The entries may come from a query on this connection, which cannot run during a COPY.
        while batch := list(islice(entries, BATCH)):
            rows = "".join(self._copied(batch, tally))
            with (
                self.connection.cursor() as cursor,
                cursor.copy(sql_text("copy_listed")) as copy,
            ):
                copy.write(rows)
        return tally

    def _copied(self, batch: list[Entry], tally: Tally) -> Iterator[str]:
        """Yield the lines of a batch that may name users, as COPY takes them."""
        whole = self.field.is_key and keys.user_key_type().type is int
        tally.lines += len(batch)
        for number, entry in batch:
            if (
                whole
                and type(entry) is str
                and entry.isdigit()
                and entry.isascii()
                and len(entry) <= MAX_DIGITS
            ):
                yield f"{number}\t{entry}\n"
                continue
            try:
                value = self.field.copied(entry)
            except ValueError as error:
                tally.refuse(number, entry, str(error))
            else:
                yield f"{number}\t{value}\n"

    def _select(self, queryset: "models.QuerySet[Any, Any]") -> Tally:
        """Insert the keys that a queryset selects. Python holds none of them."""
        fetch_all(self.connection, compose("insert_listed", query=selected(queryset)))
        return Tally(lines=int(fetch_value(self.connection, "count_listed")))

    def change(self, tally: Tally, segment: int, version: int | None) -> LoadReport:
        """Change the list, unless an entry is bad; return what has changed.

        Args:
            segment: The key of the segment.
            version: The key of the version that keeps which ids are added and removed, if any.
        """
        good_only = self.skip_bad or not tally.malformed
        statement = compose(
            CHANGES[self.mode],
            static=sql.Identifier(STATIC_MEMBER),
            change=sql.Identifier(LIST_CHANGE),
            **self.parts,
        )
        with planned_anew(self.connection):
            ((users, lines, added, removed),) = fetch_all(
                self.connection,
                statement,
                segment=segment,
                version=version,
                skip_bad=self.skip_bad,
                valid=tally.valid if good_only else -1,
            )
        removing = self.mode == "remove"
        unknown = tally.valid - int(lines)
        bad = tally.malformed + unknown
        # Nobody means to empty a list with lines that name nobody.
        refused = bool(bad) and (
            not self.skip_bad or (self.mode == "replace" and bad == tally.lines)
        )
        report = LoadReport(
            self.slug,
            self.mode,
            lines=tally.lines,
            added=added,
            removed=0 if refused else removed,
            already_there=0 if removing or refused else users - added,
            not_there=users - removed if removing and not refused else 0,
            duplicates=int(lines) - users,
            malformed=tally.malformed,
            unknown=unknown,
            malformed_lines=tuple(tally.shown),
            unknown_lines=self._unknown() if unknown else (),
        )
        if refused:
            raise report.error()
        return report

    def _unknown(self) -> tuple[BadLine, ...]:
        query = compose("select_unknown_listed", **self.parts)
        rows = fetch_all(self.connection, query, limit=MAX_SHOWN)
        similar = self._similar([value for _, value, _ in rows])
        return tuple(
            BadLine(line, shortened(value), self.field.unknown(value, similar.get(value.lower())))
            for line, value, _ in rows
        )

    def _similar(self, values: list[str]) -> dict[str, str]:
        """Return the values of users that differ from these only in case, by their lower case."""
        if self.field.is_key:
            return {}
        query = compose("select_similar_users", **self.parts)
        lower = [value.lower() for value in values]
        return dict(fetch_all(self.connection, query, values=lower))

    def still_members(self, slug: str) -> int:
        """Return how many of the users are in the view of the segment."""
        query = compose("count_listed_members", view=names.members_view(slug), **self.parts)
        return int(fetch_value(self.connection, query))
