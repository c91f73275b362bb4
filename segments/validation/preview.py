"""Preview a segment: its members, what it reads and costs, and likely mistakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_noop as _
from psycopg import sql

from segments import conf
from segments.definition import static_ids
from segments.definition.compile import compile_segment
from segments.definition.kinds import StaticList, kind_of
from segments.definition.select import Compiled
from segments.definition.text import clean_sql, unseen_in_quotes
from segments.exceptions import SegmentError, SegmentExecutionError
from segments.membership.members import shown_users
from segments.pgviews import views
from segments.rows import segment_rows, slugs_by_view
from segments.sql import names, session
from segments.validation import trial
from segments.validation.checks import check_circle, check_defined, check_timeout

if TYPE_CHECKING:
    from segments.models import Segment


class PreviewWarning(str):
    """A warning in English, and what it consists of, so that a page can translate it.

    Attributes:
        text: The sentences, with a placeholder for each value; they are marked for translation.
        values: The values. Numbers are written as the page writes them.
    """

    text: str
    values: dict[str, str | float]

    def __new__(cls, text: str, **values: str | float) -> "PreviewWarning":
        """Return the sentences with the values in them."""
        shown = {key: v if isinstance(v, str) else f"{v:,}" for key, v in values.items()}
        warning = super().__new__(cls, text % shown if values else text)
        warning.text, warning.values = text, values
        return warning


EMPTY_WARNING = PreviewWarning(_("The segment has no members."))

REPLACEMENTS = {
    "now": "now()",
    "today": "current_date",
    "yesterday": "current_date - 1",
    "tomorrow": "current_date + 1",
}
"""What to write instead of a word that Postgres reads as a time only once."""


@dataclass(frozen=True)
class Preview:
    """What saving a segment would result in.

    Attributes:
        members_count: How many members it would have.
        exact: Whether they were counted. If not, the number is the planner's estimate.
        sample: The first members by primary key; empty unless exact.
        cost: The planner's cost of the definition, in its own units.
        rows: How many members the planner expects.
        reads: The columns that it reads directly, as `table.column`, including the user's key.
        segments: The slugs of the segments that it reads, directly or through other views.
        ids_from: The column that its user ids come from: `shop_order.customer_id`. It says so if
            only the name of a column decided. Empty if it is a list of ids.
        warnings: What is probably a mistake, in sentences; each is a `PreviewWarning`.
        present: How many members there are now. It, `entering` and `leaving` are None for a
            segment that has no members yet, and where counting took too long.
        entering, leaving: How many users would enter and leave, and the first of them by key.
    """

    members_count: int
    exact: bool
    sample: tuple[Any, ...]
    cost: float
    rows: int
    reads: tuple[str, ...]
    segments: tuple[str, ...]
    warnings: tuple[PreviewWarning, ...]
    ids_from: str
    present: int | None = None
    entering: trial.Movement | None = None
    leaving: trial.Movement | None = None

    @property
    def comparison(self) -> str:
        """The difference in words: `3,005 now; 1,747 then; 1,258 leave, 0 enter`."""
        if self.present is None or self.entering is None or self.leaving is None:
            return ""
        return (
            f"{self.present:,} now; {self.members_count:,} then; "
            f"{self.leaving.count:,} leave, {self.entering.count:,} enter"
        )


def preview(segment: "Segment", limit: int = 10) -> Preview:
    """Return a preview of a segment, saved or not. Saves nothing, and changes no view.

    Evaluates the definition once, like a refresh, for up to `SEGMENTS_PREVIEW_TIMEOUT`, in a
    transaction that is rolled back. Takes AccessShare on the tables that it reads until then, and
    on the members of a saved segment, which it compares with what the definition returns.

    Args:
        limit: How many users to return in each sample.

    Raises:
        SegmentDefinitionError, SegmentExecutionError: what validation would raise. A cost above
            the limit is only a warning here.
    """
    if limit < 0:
        raise ValueError(f"the limit of a preview must be zero or more, not {limit}")
    slug, time = segment.slug, _time_for(segment)
    with _checked(segment) as (connection, before, compiled, view):
        price = trial.price(connection, slug, compiled)
        read_views = views.reads(connection).get(view, set())
        columns = trial.columns_read(connection, view)
        with session.pinned(connection):
            warnings = list(_warnings(connection, segment, compiled.select, view))
        members = _members(connection, before)
        evaluation = trial.evaluate(connection, slug, compiled, time, limit, members)
    if evaluation is None:
        text = _(
            "Counting took longer than %(seconds)s s, so the number is an estimate. Saving and "
            "each refresh take longer than that, and fail if they take longer than the timeout."
        )
        warnings.insert(0, PreviewWarning(text, seconds=f"{time.total_seconds():g}"))
    elif not evaluation.count:
        warnings.insert(0, EMPTY_WARNING)
    max_cost = conf.max_cost()
    if max_cost is not None and price.cost > max_cost and kind_of(segment) is not StaticList:
        text = _("Its cost of %(cost)s is above SEGMENTS_MAX_COST, which is %(limit)s.")
        warnings.append(PreviewWarning(text, cost=round(price.cost), limit=round(max_cost)))
    users = shown_users().order_by("pk")
    comparison = evaluation.comparison if evaluation else None
    read_slugs = [slug for name, slug in slugs_by_view().items() if name in read_views]
    return Preview(
        members_count=evaluation.count if evaluation else price.rows,
        exact=evaluation is not None,
        sample=tuple(users.filter(pk__in=evaluation.sample)) if evaluation else (),
        cost=price.cost,
        rows=price.rows,
        reads=columns,
        segments=tuple(read_slugs),
        warnings=tuple(warnings),
        ids_from=compiled.ids_from,
        present=comparison.present if comparison else None,
        entering=comparison.entering if comparison else None,
        leaving=comparison.leaving if comparison else None,
    )


def copy_moving(segment: "Segment", *, entering: bool, write: Callable[[bytes], Any]) -> None:
    """Write the keys of all users who would enter a segment, or of all who would leave it.

    Evaluates the definition as a preview does, with the same limits and locks. Streams the keys
    as `copy_incoming_ids` takes them.

    Raises:
        SegmentError: as `preview`, and when there are no members to compare with or time is up.
    """
    slug, time = segment.slug, _time_for(segment)
    with _checked(segment) as (connection, before, compiled, _name):
        members = _members(connection, before)
        if members is None:
            raise SegmentError("it has no members yet to compare with", slug=slug)
        in_time = trial.copy_moving(
            connection, slug, compiled, time, members, entering=entering, write=write
        )
    if not in_time:
        raise SegmentExecutionError(
            f"finding these users took longer than {time.total_seconds():g} s",
            slug=slug,
            hint="Make the definition cheaper, or raise SEGMENTS_PREVIEW_TIMEOUT.",
        )


@contextmanager
def _checked(
    segment: "Segment",
) -> Iterator[tuple[BaseDatabaseWrapper, "Segment | None", Compiled, str]]:
    """Check a segment in a transaction that is rolled back. Evaluates nothing.

    Yields:
        The connection, the saved row if there is one, the definition, and the name of its trial.
    """
    alias, slug = conf.exec_connection(), segment.slug
    if slug:
        names.check_slug(slug)
    with session.transaction(
        alias,
        slug,
        rollback=True,
        timeout=segment.timeout,
        field=kind_of(segment).error_field,
    ) as connection:
        before = segment_rows(alias).filter(pk=segment.pk).first()
        check_defined(segment, before, alias)
        check_timeout(segment, before)
        compiled = compile_segment(connection, _with_list(connection, segment))
        view = trial.create(connection, slug, compiled)
        check_circle(connection, slug, view)
        yield connection, before, compiled, view


def _members(connection: BaseDatabaseWrapper, row: "Segment | None") -> sql.Identifier | None:
    """Return the view of a segment's present members, if there are any to compare with."""
    if row is None:
        return None
    current = views.state(connection, row.slug)
    comparable = current.populated and current.key_type == names.key_type(connection)
    return names.members_view(row.slug) if comparable else None


def _with_list(connection: BaseDatabaseWrapper, segment: "Segment") -> "Segment":
    """Return the segment, or a copy with another key if its list is not saved yet.

    The list is loaded under that key, so that the rows of the saved list are not locked.
    """
    ids = segment.unsaved_static_ids
    if ids is None:
        return segment
    raw: Any = connection.connection
    listed = copy(segment)
    listed.pk = -raw.info.backend_pid  # No segment and no other session uses this key.
    static_ids.replace(connection, segment.slug, listed.pk, ids)
    return listed


def _time_for(segment: "Segment") -> timedelta:
    """Return how long a preview may count: the shorter of two limits. Zero means no limit."""
    statement = segment.timeout if segment.timeout is not None else conf.statement_timeout()
    return min(filter(None, (conf.preview_timeout(), statement)), default=timedelta())


def _warnings(
    connection: BaseDatabaseWrapper, segment: "Segment", select: str, view: str
) -> Iterator[PreviewWarning]:
    text = clean_sql(segment.slug, segment.definition)
    for index, characters in unseen_in_quotes(text):
        yield PreviewWarning(
            _(
                "The text in quotes in line %(line)s has characters that nobody sees: "
                "%(characters)s."
            ),
            line=_line(text, index),
            characters=characters,
        )
    for word, index in trial.frozen_words(connection, text or select):
        yield PreviewWarning(
            _(
                "The literal with '%(word)s' in line %(line)s is read once, when the definition "
                "is saved, and keeps that time. Write %(replacement)s instead, which moves on."
            )
            if text
            else _(
                "The literal with '%(word)s' is read once, when the definition is saved, and "
                "keeps that time. Write %(replacement)s instead, which moves on."
            ),
            word=word,
            line=_line(text, index),
            replacement=REPLACEMENTS[word.lower()],
        )
    if text:
        for table in trial.whole_tables(connection, text):
            yield PreviewWarning(
                _(
                    "It selects every column of %(table)s, as SELECT * does, and uses only one. "
                    "A change of any of these columns affects the segment. Select only the user "
                    "ids."
                ),
                table=table,
            )
    for name, of_postgres in trial.opaque_functions(connection, view):
        yield PreviewWarning(
            _("%(function)s() may return another value at each call, so members change at random.")
            if of_postgres
            else _(
                "%(function)s() hides what it reads. The segment is recomputed at every refresh, "
                "and schema changes and the order of refreshes cannot take into account what it "
                "reads."
            ),
            function=name,
        )


def _line(text: str, index: int) -> str:
    """Return the number of the line at an index of a text."""
    return str(text.count("\n", 0, index) + 1)
