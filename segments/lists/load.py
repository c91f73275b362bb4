"""Load users into the list of a segment, by COPY, and make them members at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition.kinds import StaticList, kind_of
from segments.definition.static_ids import BATCH, LoadedIds
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, SegmentListError
from segments.lists.fields import MAX_DIGITS, ListField, list_field
from segments.lists.report import MAX_SHOWN, BadLine, LoadReport, Tally, no_lines, shortened
from segments.lists.source import Entry, ListReader, ListSource
from segments.rows import static_member_rows
from segments.saving import listed
from segments.sql import keys, names
from segments.sql.owned import LIST_CHANGE, STATIC_MEMBER
from segments.sql.session import fetch_all, fetch_value, planned_anew, transaction
from segments.sql.statements import compose, selected, sql_text
from segments.validation.checks import check_clash

if TYPE_CHECKING:
    from segments.models import Segment

Mode = Literal["replace", "add", "remove"]

CHANGES = {"replace": "replace_listed", "add": "add_listed", "remove": "remove_listed"}
"""The statement of each mode."""


@dataclass(frozen=True)
class _Load:
    """One load of a list.

    Attributes:
        connection: The connection, in the transaction of the load.
        segment: The segment.
        mode: What becomes of the list.
        field: The field by which entries name users.
        skip_bad: Whether the good lines are used if there are others.
    """

    connection: BaseDatabaseWrapper
    segment: "Segment"
    mode: Mode
    field: ListField
    skip_bad: bool

    @property
    def parts(self) -> dict[str, sql.Composable]:
        """The parts of statements that look up the users of a list."""
        return {"users": self.field.users(self.connection.alias)}

    def read(self, source: Any) -> Tally:
        """Copy the list into a temporary table; return what was read."""
        type_ = self.field.type(self.connection.alias)
        fetch_all(self.connection, compose("create_listed", type=type_))
        if isinstance(source, models.QuerySet) and self.field.is_key:
            queryset = keys.user_keys(source)
            if queryset.db == self.connection.alias:
                return self._select(queryset)
            source = queryset
        reader = ListReader(self.segment.slug, self.field, self.connection.alias)
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

    def change(self, tally: Tally, version: int | None) -> LoadReport:
        """Change the list, unless an entry is bad; return what has changed.

        Args:
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
                segment=self.segment.pk,
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
            self.segment.slug,
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
        return tuple(
            BadLine(line, shortened(value), self.field.unknown(str(value)))
            for line, value, _ in rows
        )

    def still_members(self, slug: str) -> int:
        """Return how many of the users are in the view of the segment."""
        query = compose("count_listed_members", view=names.members_view(slug), **self.parts)
        return int(fetch_value(self.connection, query))


def load(
    segment: "Segment",
    source: ListSource,
    mode: Mode = "replace",
    by: str = "pk",
    skip_bad: bool = False,
    allow_empty: bool = True,
) -> LoadReport:
    """Load a list, and refresh the segment, in one transaction; save the segment if it is new.

    Reads the list before it takes the segment's lock. Then takes that lock, row locks on the users
    that are added or removed, and what a refresh takes; readers go on. Holds some 10,000 lines in
    memory. Costs a COPY of the list, a join with the table of users, and a refresh.

    Raises:
        SegmentListError: when the list cannot be read; with the `report`, when it has bad lines
            and `skip_bad` is false, or would replace the segment's by no line that is good; and
            when it would do so without a line, unless `allow_empty`. Nothing is changed.
        SegmentDefinitionError: when the segment has SQL or a manager method and no list, and the
            mode is `remove`; when the segment is new, as `save()` does.
        SegmentLossError: when members would leave who were not removed from the list, more than
            `max_loss` allows, as when the definition reads a table that is empty.
        SegmentExecutionError: when Postgres refuses, or the segment was deleted, or is new and the
            mode is `remove`.
        SegmentLockedError: when another session locks the segment for too long.
    """
    slug = segment.slug
    if mode not in get_args(Mode):
        raise SegmentListError(
            f'the mode of a load is "replace", "add" or "remove", not {keys.in_words(mode)}',
            slug=slug,
        )
    using = router.db_for_write(type(segment), instance=segment)
    new = segment.pk is None
    if new:
        _check_new(segment, mode, using)
    field = list_field(slug, by)
    with transaction(using, slug, timeout=segment.timeout) as connection:
        one = _Load(connection, segment, mode, field, skip_bad)
        tally = one.read(source)
        if mode == "replace" and not tally.lines and not allow_empty:
            raise no_lines(slug)
        report = (_create if new else _change)(one, tally, using)
        fetch_all(connection, "drop_listed")
    return report


def _check_new(segment: "Segment", mode: Mode, using: str) -> None:
    """Refuse, before the list is read, what cannot be done with a segment that is not saved."""
    if mode == "remove":
        raise SegmentExecutionError("it is not saved yet", slug=segment.slug)
    if segment.unsaved_static_ids is not None:
        raise SegmentListError(
            "it has static ids that are not saved yet, and another list is loaded",
            slug=segment.slug,
            field="static_ids",
            hint="Save it before, or load these ids with the list.",
        )
    names.check_slug(segment.slug)
    check_clash(segment, using)


def _create(one: _Load, tally: Tally, using: str) -> LoadReport:
    """Save a segment that is new, with the list that was read.

    Nobody reads its members before the commit, so none is compared with a former one.
    """
    reports: list[LoadReport] = []

    def write() -> int:
        reports.append(one.change(tally, None))
        return reports[0].added

    one.segment.unsaved_static_ids = LoadedIds(write)
    try:
        one.segment.save(using=using)
    finally:
        one.segment.unsaved_static_ids = None
    return reports[0]


def _change(one: _Load, tally: Tally, using: str) -> LoadReport:
    """Change the list of a segment that is saved, and refresh it."""
    with listed(one.segment, using) as listing:
        row = listing.row
        check_mode(row, one.mode, using)
        report = one.change(tally, listing.version)
        listing.added, listing.removed = report.added, report.removed
    removing = one.mode == "remove"
    if removing and kind_of(row) is not StaticList and using == conf.exec_connection():
        report = replace(report, still_members=one.still_members(row.slug))
    return report


def check_mode(row: "Segment", mode: Mode, using: str) -> None:
    """Refuse to remove users from a segment that has no list, because its definition selects them.

    Adding and replacing are possible: the segment then has its definition and a list.
    """
    kind = kind_of(row)
    if mode != "remove" or kind is StaticList:
        return
    if static_member_rows(using).filter(segment=row.pk).exists():
        return
    what = "SQL" if kind.word == "sql" else "a manager method"
    raise SegmentDefinitionError(
        f"its members are those that {what} selects, and it has no list that users could be "
        "removed from",
        slug=row.slug,
        field=kind.error_field,
        hint="Change its definition to leave users out, or add users to it: mode='add'.",
    )
