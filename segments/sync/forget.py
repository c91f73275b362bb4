"""Remove users from lists, the membership index, views, and the texts of errors."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import connections, models, transaction

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.pgviews import views
from segments.pgviews.models import segment_view
from segments.refresh import refresh
from segments.refreshing.history import ATTACH
from segments.refreshing.order import ordered
from segments.rows import (
    Status,
    change_rows,
    membership_rows,
    refresh_rows,
    segment_rows,
    static_member_rows,
    wait_for,
    write_alias,
)
from segments.saving import versions
from segments.sql import keys
from segments.sync.detach import StepResult
from segments.sync.repair import orphans

if TYPE_CHECKING:
    from segments.models import Segment

POSITION = re.compile(r" \(line \d+, column \d+\)|remove [\d,]+ of [\d,]+ members .*? of \d+ %")
"""Numbers in the text of an error that are not keys."""

FORGOTTEN = "(This error named a user who has been forgotten.)"


def parse_keys(texts: Iterable[str]) -> list[Any]:
    """Return the keys of users that these texts mean, which need not exist.

    Raises:
        ValueError: naming the text that cannot be a key.
    """
    return [keys.cast_key(text) for text in texts]


def existing(keys: list[Any]) -> list[Any]:
    """Return the keys that are in the table of users."""
    users = get_user_model()._base_manager.using(conf.exec_connection())
    with translated(SegmentExecutionError):
        return list(users.filter(pk__in=keys).order_by("pk").values_list("pk", flat=True))


def forget(keys: list[Any]) -> Iterator[StepResult]:
    """Remove users from everything that this package stores; yield each view that had them.

    Does not touch the table of users: while a user is in it, definitions may still select them.
    Looks into each view once, after any running refresh, and refreshes the views that contain one
    of the users, in dependency order. A failure stops nothing else.
    """
    alias = write_alias()
    with translated(SegmentExecutionError), transaction.atomic(using=alias):
        for rows in (static_member_rows(alias), membership_rows(alias)):
            rows.filter(user_id__in=keys)._raw_delete(alias)
    for segment in ordered(segment_rows(conf.exec_connection())):
        try:
            if _refreshed_without(segment, keys):
                yield StepResult(segment.slug, ["refreshed without them"])
        except SegmentError as error:
            yield StepResult(segment.slug, error=error)
    yield from _orphans_with(keys)
    # After each segment was waited for: a refresh or a save may have written them until then.
    with translated(SegmentExecutionError):
        change_rows(alias).filter(user_id__in=keys)._raw_delete(alias)
        versions.forget(alias, keys)
    _clear_texts(alias, keys)  # Last, since a failed refresh may have stored another text.


def _refreshed_without(segment: "Segment", keys: list[Any]) -> bool:
    """Refresh a segment if its view contains one of the users; return whether it did.

    Raises:
        SegmentError: when the view cannot be read, or still contains one of them.
    """
    wait_for(segment)  # A running refresh may still add them.
    number = _count(segment.slug, keys)
    if not number:
        return False
    # They leave in any case, so the guard asks only whether others leave with them.
    result = refresh(segment, force=True, expected_loss=number)
    if result.status != Status.REFRESHED:
        raise SegmentExecutionError(
            f"it was not refreshed, because it is {result.status}",
            slug=segment.slug,
            hint=ATTACH if result.detached_manually else None,
        )
    if _count(segment.slug, keys):
        raise SegmentExecutionError(
            "its definition selects them",
            slug=segment.slug,
            hint="Delete the user first, or change the definition; then run this again.",
        )
    return True


def _orphans_with(keys: list[Any]) -> Iterator[StepResult]:
    """Yield the orphans that contain one of the users, since nothing refreshes them."""
    with translated(SegmentExecutionError):
        orphan_names = orphans(connections[conf.exec_connection()])
    for name in orphan_names:
        try:
            if _count(name, keys):
                raise SegmentExecutionError(
                    "no segment has this view",
                    slug=name,
                    hint="This drops it: manage.py sync_segments --prune",
                )
        except SegmentError as error:
            yield StepResult(name, error=error)


def _count(slug: str, keys: list[Any]) -> int:
    """Return how many of the users the view contains, existing or not."""
    alias = conf.exec_connection()
    with translated(SegmentExecutionError, slug):
        if not views.state(connections[alias], slug).populated:
            return 0
        return segment_view(slug).objects.using(alias).filter(user_id__in=keys).count()


def _clear_texts(alias: str, keys: list[Any]) -> None:
    """Clear the texts of errors that name one of the users, as details of Postgres may."""
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(str(key)) for key in keys)})(?!\w)")
    columns: list[tuple[models.QuerySet[Any], str]] = [
        (refresh_rows(alias), "error"),
        (segment_rows(alias), "last_error"),
    ]
    with translated(SegmentExecutionError):
        for rows, column in columns:
            texts = rows.exclude(**{column: ""}).values_list("pk", column)
            pks = [pk for pk, text in texts.iterator() if pattern.search(POSITION.sub("", text))]
            rows.filter(pk__in=pks).update(**{column: FORGOTTEN})
