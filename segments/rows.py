"""The door to a segment's row: find it, lock it, copy its state.

Locks are taken in one order: the segment's advisory lock, its row, its views. Callers such as
`update_or_create` lock the row first and then wait for the advisory lock; a refresh skips a
segment whose row is locked.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import django.db
from django.apps import apps
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Value
from django.db.models.functions import Replace
from django.utils.translation import gettext_lazy as _
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentExecutionError, SegmentLockedError, translated
from segments.sql import locks, names, session
from segments.sql.owned import SEGMENT, STATIC_MEMBER
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment, SegmentQuerySet

logger = logging.getLogger(__name__)


class Status(models.TextChoices):
    """The status of a segment or of a refresh.

    Only a refresh can be `unchanged`. Only a segment can be `outdated`: its definition has changed
    since its members were computed. A refresh that is `refused` would have removed more members
    than `max_loss` allows; it counts as a failure.
    """

    UNPOPULATED = "unpopulated", _("unpopulated")
    REFRESHED = "refreshed", _("refreshed")
    UNCHANGED = "unchanged", _("unchanged")
    OUTDATED = "outdated", _("outdated")
    FAILED = "failed", _("failed")
    REFUSED = "refused", _("refused")


FAILURES = (Status.FAILED, Status.REFUSED)
"""The statuses of a segment whose last refresh has kept the former members, with an error."""


STATE = (
    "members_count",
    "refreshed_at",
    "status",
    "last_error",
    "failures",
    "attempted_at",
    "read_digest",
    "ids_from",
)
"""The fields that refreshes store on a row."""


FEED_STATE = ("tracked_since", "changes_kept_after", "changes_kept_from")
"""The fields that say from where on the changes of a segment are complete.

They outlive its views, unlike the others, so that a repair leaves no gap.
"""


def segment_rows(alias: str | None = None) -> "SegmentQuerySet":
    """Return the segments of a database. None leaves the choice to the database routers."""
    return _rows("Segment", alias)  # type: ignore[no-any-return]


def static_member_rows(alias: str | None = None) -> "models.QuerySet[Any]":
    """Return the rows of all lists of static ids."""
    return _rows("StaticMember", alias)  # type: ignore[no-any-return]


def membership_rows(alias: str | None = None) -> Any:
    """Return the rows of the membership index, as a `MembershipQuerySet`."""
    return _rows("Membership", alias)


def refresh_rows(alias: str | None = None) -> "models.QuerySet[Any]":
    """Return the rows of the history of all segments."""
    return _rows("SegmentRefresh", alias)  # type: ignore[no-any-return]


def change_rows(alias: str | None = None) -> Any:
    """Return the rows of the changes of all segments, as a `ChangeQuerySet`."""
    return _rows("SegmentChange", alias)


def version_rows(alias: str | None = None) -> "models.QuerySet[Any]":
    """Return the versions of all segments."""
    return _rows("SegmentVersion", alias)  # type: ignore[no-any-return]


def consumer_rows(alias: str | None = None) -> "models.QuerySet[Any]":
    """Return the consumers of changes."""
    return _rows("ChangeConsumer", alias)  # type: ignore[no-any-return]


def write_alias() -> str:
    """Return the alias of the database in which segments are saved."""
    return router.db_for_write(apps.get_model("segments", "Segment"))


def read_alias() -> str:
    """Return the alias of the database from which segments and members are read."""
    return router.db_for_read(apps.get_model("segments", "Segment"))


def slugs_by_view(alias: str | None = None) -> dict[str, str]:
    """Return the slug of every segment by the name of its views."""
    slugs = segment_rows(alias).order_by("slug").values_list("slug", flat=True)
    return {names.view_name(slug): slug for slug in slugs}


def with_slugs(rows: "SegmentQuerySet", slugs: Iterable[str]) -> "SegmentQuerySet":
    """Return those of the rows that have one of the slugs, where `-` and `_` are the same."""
    view_names = {names.view_name(slug) for slug in slugs if slug.isprintable()}
    view_name = Replace("slug", Value("-"), Value("_"))
    return rows.alias(view_name=view_name).filter(view_name__in=view_names)


def by_slug(slug: str) -> "Segment":
    """Return the segment that has a slug, where `-` and `_` are the same.

    Raises:
        Segment.DoesNotExist: naming the slug, and the nearest one.
    """
    segment = with_slugs(segment_rows(), [slug]).first()
    if segment is None:
        raise apps.get_model("segments", "Segment").DoesNotExist(no_segment(slug))
    return segment


def no_segment(slug: str, slugs: dict[str, str] | None = None) -> str:
    """Return the message that no segment has this slug, with the nearest one.

    Args:
        slugs: The slugs to choose from, by the name of their views; None means all. One query.
    """
    slugs = slugs_by_view() if slugs is None else slugs
    nearest = get_close_matches(names.view_name(slug.strip().lower()), slugs, 1)
    hint = f' Did you mean "{slugs[nearest[0]]}"?' if nearest else ""
    return f'There is no segment with the slug "{names.shown(slug)}".{hint}'


def slug_of_view(alias: str, view: str, exclude: Any = None) -> str | None:
    """Return the slug of the segment whose views have this name, if there is one.

    Args:
        exclude: The key of a segment to leave out.
    """
    rows = with_slugs(segment_rows(alias).exclude(pk=exclude), [view])
    return rows.order_by().values_list("slug", flat=True).first()


@contextmanager
def locked(
    alias: str,
    key: int | None,
    slug: str,
    timeout: timedelta | None = None,
    *,
    translate: bool = True,
) -> Iterator[tuple[BaseDatabaseWrapper, "Segment | None"]]:
    """Open a transaction that locks the segment; yield its connection and the current row.

    Args:
        alias: The database.
        key: The key of the segment; None if it is not saved yet.
        slug: The slug of the segment, for messages.
        timeout: How long a statement may run; None means the setting's value.
        translate: As for `session.transaction`.

    Raises:
        SegmentExecutionError: when the database is not that of segments.
        SegmentLockedError: when another session locks it for longer than `SEGMENTS_LOCK_TIMEOUT`.
    """
    if alias not in {home := write_alias(), conf.exec_connection()}:
        raise SegmentExecutionError(
            f'segments are in the database "{home}", and this one would be in "{alias}"',
            slug=slug,
            hint="A project has segments in one database, that of its users. Leave out using().",
        )
    with session.transaction(alias, slug, timeout=timeout, translate=translate) as connection:
        row = None
        if key is not None:
            with translated(SegmentExecutionError, slug):
                locks.lock(connection, key)
                row = segment_rows(alias).filter(pk=key).select_for_update(no_key=True).first()
        yield connection, row


def try_locked_row(connection: BaseDatabaseWrapper, key: int) -> tuple["Segment | None", bool]:
    """Lock a segment and its row without waiting.

    Returns:
        The row, or None if another session holds one of the locks; and whether another session is
        changing the schema.

    Raises:
        ObjectDoesNotExist: when the row no longer exists.
    """
    taken, changing = locks.try_lock(connection, key)
    if not taken:
        return None, changing
    rows, static = segment_rows(connection.alias), sql.Identifier(STATIC_MEMBER)
    # Django would build this statement anew for each segment, in more time than Postgres takes.
    query = compose("lock_segment_row", segment=sql.Identifier(SEGMENT), static=static)
    row = next(iter(rows.raw(query, {"segment": key})), None)
    if row is None:
        rows.get(pk=key)
    return row, changing


def wait_for(segment: "Segment") -> None:
    """Wait until no other session locks the segment, at most as long as its statements may run.

    Raises:
        SegmentLockedError: when another session locks it for longer.
    """
    limit = segment.timeout if segment.timeout is not None else conf.statement_timeout()
    with session.transaction(
        conf.exec_connection(), segment.slug, timeout=limit, lock_timeout=limit
    ) as connection:
        locks.lock(connection, segment.pk)
        segment_rows(connection.alias).filter(pk=segment.pk).select_for_update(no_key=True).first()


def check_no_migration(connection: BaseDatabaseWrapper, slug: str) -> None:
    """Raise SegmentLockedError if another session migrates, since no view may be attached then."""
    if locks.is_schema_changing(connection):
        raise SegmentLockedError(
            "a migration is running",
            slug=slug,
            hint="Try again when it is over. It attaches all segments at its end.",
        )


def copy_state(source: "Segment | None", target: "Segment") -> None:
    """Copy what refreshes store on a row. Without a source, set the state of a new segment."""
    for name in STATE + FEED_STATE:
        field: Any = target._meta.get_field(name)
        setattr(target, name, getattr(source, name) if source else field.get_default())


def before_raw_save(instance: "Segment", raw: bool, using: str, **kwargs: Any) -> None:
    """Keep the state of a segment out of fixtures, whose views were elsewhere; of `pre_save`."""
    if raw:
        copy_state(segment_rows(using).filter(pk=instance.pk).first(), instance)


def store(segment: "Segment", **state: Any) -> None:
    """Store fields of a segment's state on its row."""
    with translated(SegmentExecutionError, segment.slug):
        segment_rows(conf.exec_connection()).filter(pk=segment.pk).update(**state)


def store_redefined(segment: "Segment", populated: bool) -> None:
    """Store that a segment has another definition than its members were computed from.

    It is due at once. A failure of the former definition no longer counts.

    Args:
        populated: Whether it has members at all.
    """
    status = Status.OUTDATED if populated else Status.UNPOPULATED
    store(segment, status=status, last_error="", failures=0, attempted_at=None)


def reload_state(alias: str, segment: "Segment") -> None:
    """Set the stored state on an instance, if the database answers."""
    try:
        stored = segment_rows(alias).filter(pk=segment.pk).first()
    except django.db.Error:
        logger.warning("The state of segment %s could not be read", segment.slug)
        return
    if stored:
        copy_state(stored, segment)


def _rows(model: str, alias: str | None) -> Any:
    manager = apps.get_model("segments", model)._default_manager
    return manager.using(alias) if alias else manager.all()
