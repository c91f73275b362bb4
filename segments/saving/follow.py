"""Change a segment's views when its row is saved or deleted.

The segment's lock is taken first, before any lock on its row. If rows are saved on the alias of
`SEGMENTS_EXEC_CONNECTION`, row and views change in one transaction. Otherwise the views change
once the row is committed, and a failure is stored on the row and logged.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from django.db import OperationalError, models, router
from django.db import transaction as django_transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.definition.compile import compile_segment
from segments.definition.kinds import DEFINING_FIELDS
from segments.definition.select import check_text
from segments.definition.static_ids import UnreadIds
from segments.exceptions import (
    SegmentError,
    SegmentExecutionError,
    SegmentLockedError,
    for_log,
    from_driver,
    translated,
)
from segments.pgviews import views
from segments.refresh import recompute
from segments.refreshing.guard import guard_of
from segments.refreshing.history import ATTACH, Stopwatch, announce, record_failure
from segments.rows import (
    change_rows,
    check_no_migration,
    copy_state,
    locked,
    membership_rows,
    reload_state,
    segment_rows,
    slug_of_view,
    slugs_by_view,
    static_member_rows,
    store_redefined,
)
from segments.saving import versions
from segments.sql import locks, names, session
from segments.validation import renaming
from segments.validation.checks import (
    check_circle,
    check_clash,
    check_cost,
    check_defined,
    check_free,
    check_limits,
    check_max_loss,
    check_timeout,
    differ,
    try_definition,
)

if TYPE_CHECKING:
    from segments.models import Segment

logger = logging.getLogger(__name__)

LABEL_FIELDS = ("slug", "name", "description")
"""The fields that are part of the comments on views."""


@dataclass(frozen=True)
class Change:
    """The consequences of a saved row for its views.

    Attributes:
        created: Whether the segment is new.
        redefined: Whether its definition or its list of ids has changed.
        relabelled: Whether the comments on its views, or their names, have changed.
        check_cost: Whether the cost of the definition is still to be checked.
        old_slug: The slug before.
        at_once: Whether to refresh it in this transaction, whatever the settings are.
        unlisted: How many ids its list has lost, if only that has changed; the guard is on then.
    """

    created: bool
    redefined: bool
    relabelled: bool
    check_cost: bool
    old_slug: str
    at_once: bool = False
    unlisted: int | None = None


@contextmanager
def saved(segment: "Segment", using: str, rewrite: bool = False) -> Iterator[None]:
    """Save static ids and change views after the row, which is saved in the block.

    Args:
        rewrite: As for `rename`.
    """
    names.check_slug(segment.slug)
    check_text(segment.slug, segment.definition)
    check_limits(segment)
    together = using == conf.exec_connection()
    if not together:
        stored = segment_rows(using).filter(pk=segment.pk).first()
        check_timeout(segment, stored)
        try_definition(segment, stored)
    with locked(using, segment.pk, segment.slug, segment.timeout, translate=False) as (
        connection,
        before,
    ):
        check_clash(segment, using)
        check_defined(segment, before, using)
        check_timeout(segment, before)
        check_max_loss(segment)
        if not together:
            check_free(segment)
        # A refresh may have stored its state since this instance was loaded. None can from now on.
        copy_state(before, segment)
        with _row_locks(segment.slug):
            yield
        ids = segment.unsaved_static_ids
        row = segment_rows(using).get(pk=segment.pk)
        redefined = differ(before, row, DEFINING_FIELDS)
        added, removed = versions.keep(connection, before, row, ids, redefined)
        readers = renaming.check_rename(before, row, using, rewrite)
        for reader in readers:
            versions.keep_rewritten(connection, reader.key)
        renaming.rewrite_texts(readers, using)
        change = Change(
            created=before is None,
            redefined=bool(redefined or added or removed),
            relabelled=differ(before, row, LABEL_FIELDS),
            # Otherwise its cost was checked before the row was saved.
            check_cost=together and not segment.allow_cost and redefined,
            old_slug=before.slug if before else row.slug,
            at_once=isinstance(ids, UnreadIds) and ids.at_once,
            unlisted=None if redefined else removed,
        )
        if together:
            apply_views(connection, row, change)
            renaming.follow(connection, readers)
        else:
            apply = partial(apply_views_on_commit, segment, row.slug, change)
            django_transaction.on_commit(apply, using=using)
            follow = partial(renaming.follow_on_commit, readers)
            django_transaction.on_commit(follow, using=using)
        copy_state(segment_rows(using).get(pk=segment.pk), segment)


def rename(segment: "Segment", slug: str, rewrite: bool = False) -> None:
    """Save another slug, and nothing else of the instance.

    Views that read the segment follow. Definitions name it, so the rename is refused if any does.

    Args:
        rewrite: Rewrite these definitions instead, in the same transaction. Their members stay.

    Raises:
        SegmentDefinitionError: when the slug is not valid, or naming the segments that read it.
        SegmentLockedError: when another session locks it, or one of these, for too long.
    """
    using = router.db_for_write(type(segment), instance=segment)
    row = segment_rows(using).get(pk=segment.pk)
    row.slug = slug
    with saved(row, using, rewrite):
        models.Model.save(row, using=using, update_fields=["slug", "updated_at"])
    segment.slug, segment.updated_at = row.slug, row.updated_at
    copy_state(row, segment)


@contextmanager
def deleted(segment: "Segment", using: str) -> Iterator[None]:
    """Drop the views of a segment, by its slug in the database, whose row is deleted in the block.

    Raises:
        SegmentExecutionError: naming the segments and views that read it.
        SegmentLockedError: when another session locks it for too long.
    """
    with locked(using, segment.pk, segment.slug, translate=False) as (connection, row):
        if row is not None:
            with translated(SegmentExecutionError, row.slug):
                if using == conf.exec_connection():
                    views.drop(connection, row.slug)
                else:
                    _check_droppable(row, using)
                    drop = partial(_drop_views_on_commit, row.pk, row.slug)
                    django_transaction.on_commit(drop, using=using)
        # Without the instances that Django loads if anything listens to deletions.
        for rows in (membership_rows(using), static_member_rows(using), change_rows(using)):
            rows.filter(segment=segment.pk)._raw_delete(using)
        versions.remove(using, segment.pk)
        with _row_locks(segment.slug):
            yield


def apply_views(connection: BaseDatabaseWrapper, row: "Segment", change: Change) -> None:
    """Change the views of a segment after its row. The caller holds the segment's lock."""
    stopwatch = Stopwatch()
    with translated(SegmentExecutionError, row.slug):
        if change.created:  # It had no key before.
            locks.lock(connection, row.pk)
        if change.relabelled and not change.created:
            views.relabel(connection, change.old_slug, row.label)
        if not (change.created or change.redefined):
            return
        check_no_migration(connection, row.slug)
        current = views.state(connection, row.slug)
        if current.detached_manually:
            raise SegmentLockedError("it is detached from its tables", slug=row.slug, hint=ATTACH)
        compiled = compile_segment(connection, row)
        row.ids_from = compiled.ids_from
        if change.check_cost:
            check_cost(connection, row, compiled)
        current = views.ensure(connection, row.label, compiled, current)
        if current.live:  # Nothing can read a view that is new.
            check_circle(connection, row.slug, names.view_name(row.slug))
        at_once = change.created or conf.refresh_on_save()
        if change.at_once or (at_once and not conf.refresh_async()):
            guard = guard_of(row, change.unlisted is None, change.unlisted or 0)
            announce(row, recompute(connection, row, current, stopwatch, guard=guard))
            return
        store_redefined(row, current.populated)
        if at_once:
            from segments import tasks  # Imported late: the tasks framework is optional.

            tasks.enqueue_refresh(row)


def apply_views_on_commit(segment: "Segment", slug: str, change: Change) -> None:
    """Change the views of a segment whose row was saved on another alias and is committed.

    A failure is stored like that of a refresh, and logged. The instance has the state, too.

    Args:
        slug: The slug that the row was saved with. The instance may have another one since.
    """
    alias, stopwatch = conf.exec_connection(), Stopwatch()
    try:
        with locked(alias, segment.pk, slug, segment.timeout) as (connection, row):
            if row is None:  # It was deleted in the same transaction.
                _drop_unless_taken(connection, change.old_slug)
                return
            old_name = names.view_name(change.old_slug)
            # After another change in the same transaction, these views may no longer exist, or
            # belong to another segment.
            exists = views.state(connection, change.old_slug).ours
            relabelled = change.relabelled and exists and not slug_of_view(alias, old_name, row.pk)
            apply_views(connection, row, replace(change, relabelled=relabelled))
    except SegmentError as error:
        logger.error("The views of segment %s were not changed: %s", slug, for_log(error))
        record_failure(alias, segment, stopwatch, error)
    finally:
        reload_state(alias, segment)


def _drop_views_on_commit(key: int, slug: str) -> None:
    """Drop the views of a segment whose row was deleted on another alias, after the commit."""
    try:
        with locked(conf.exec_connection(), key, slug) as (connection, _):
            _drop_unless_taken(connection, slug)
    except SegmentError as error:
        logger.error("The views of segment %s were not dropped: %s", slug, for_log(error))


def _drop_unless_taken(connection: BaseDatabaseWrapper, slug: str) -> None:
    """Drop the views of a deleted segment, unless another segment now has their name."""
    if not slug_of_view(connection.alias, names.view_name(slug)):
        views.drop(connection, slug)


def _check_droppable(row: "Segment", using: str) -> None:
    """Raise if anything reads the views of a segment, except segments deleted in this transaction.

    The rows of those no longer exist, but their views do until the commit.
    """
    alias = conf.exec_connection()
    with session.transaction(alias, row.slug, rollback=True) as connection:
        existing, graph = slugs_by_view(using), views.reads(connection)
        deletable = {name: read for name, read in graph.items() if name not in existing}
        drops = {names.view_name(row.slug)}
        while more := {name for name, read in deletable.items() if read & drops} - drops:
            drops |= more
        order = TopologicalSorter({name: graph.get(name, set()) & drops for name in drops})
        for name in reversed([*order.static_order()]):
            views.drop(connection, name)


@contextmanager
def _row_locks(slug: str) -> Iterator[None]:
    """Translate lock timeouts on the row. Let other errors of Django pass."""
    try:
        yield
    except OperationalError as error:
        raise from_driver(error, SegmentExecutionError, slug) from error
