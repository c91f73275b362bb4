"""Load users into the list of a segment, and make them members at once."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition.kinds import StaticList, kind_of
from segments.definition.static_ids import UnreadIds
from segments.exceptions import (
    SegmentDefinitionError,
    SegmentExecutionError,
    SegmentListError,
    translated,
)
from segments.lists.fields import list_field
from segments.lists.incoming import Incoming, Mode
from segments.lists.report import LoadReport
from segments.lists.source import ListSource
from segments.rows import static_member_rows
from segments.saving import listed
from segments.sql import keys
from segments.sql.session import fetch_all, transaction

if TYPE_CHECKING:
    from segments.models import Segment


@dataclass
class UnreadList(UnreadIds):
    """The list of a segment that has none yet, which is read when the segment is saved.

    Attributes:
        source: What `load` takes.
        by: The unique field of the user model by which it names users.
        skip_bad: Whether the good lines are used if there are others.
        allow_empty: Whether it may be without a line.
        at_once: As in `UnreadIds`.
        mode: What the report says that was done. Without a list before, `add` does the same.
        report: What was read, once it was.
    """

    source: ListSource
    by: str = "pk"
    skip_bad: bool = False
    allow_empty: bool = True
    at_once: bool = False
    mode: Mode = "replace"
    report: LoadReport = field(init=False)

    def replace(
        self, connection: BaseDatabaseWrapper, slug: str, segment: int, version: int | None
    ) -> tuple[int, int]:
        """Read it, and replace the list of a segment. Holds some 10,000 lines in memory.

        Raises:
            SegmentListError: as `load`.
        """
        users_by = list_field(slug, self.by)
        with translated(SegmentExecutionError, slug, field="static_ids"):
            one = Incoming(connection, slug, self.mode, users_by, self.skip_bad)
            tally = one.read(self.source, self.allow_empty)
            self.report = one.change(tally, segment, version)
            fetch_all(connection, "drop_listed")
        return self.report.added, self.report.removed


def load(
    segment: "Segment",
    source: ListSource,
    mode: Mode = "replace",
    by: str = "pk",
    skip_bad: bool = False,
    allow_empty: bool = True,
) -> LoadReport:
    """Load a list, and refresh the segment, in one transaction; save the segment if it is new.

    Reads the list before it takes the segment's lock; that of a new segment, whose row nobody else
    has, once the row is written. Then takes that lock, row locks on the users
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
    if segment.pk is None:
        unread = UnreadList(source, by, skip_bad, allow_empty, at_once=True, mode=mode)
        return _load_new(segment, unread, using)
    users_by = list_field(slug, by)
    with transaction(using, slug, timeout=segment.timeout) as connection:
        one = Incoming(connection, slug, mode, users_by, skip_bad)
        tally = one.read(source, allow_empty or mode != "replace")
        with listed(segment, using) as listing:
            row = listing.row
            check_mode(row, mode, using)
            report = one.change(tally, row.pk, listing.version)
            listing.added, listing.removed = report.added, report.removed
        removing = mode == "remove"
        if removing and kind_of(row) is not StaticList and using == conf.exec_connection():
            report = replace(report, still_members=one.still_members(row.slug))
        fetch_all(connection, "drop_listed")
    segment.forget_written_ids()
    return report


def _load_new(segment: "Segment", unread: UnreadList, using: str) -> LoadReport:
    """Save a segment that is new with its list. Nobody reads its members before the commit."""
    if unread.mode == "remove":
        raise SegmentExecutionError("it is not saved yet", slug=segment.slug)
    if segment.unsaved_static_ids is not None:
        raise SegmentListError(
            "it has static ids that are not saved yet, and another list is loaded",
            slug=segment.slug,
            field="static_ids",
            hint="Save it before, or load these ids with the list.",
        )
    segment.unsaved_static_ids = unread
    try:
        segment.save(using=using)
    finally:
        segment.unsaved_static_ids = None
    return unread.report


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
