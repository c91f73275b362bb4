"""Forgetting users: out of lists, index and views, and out of the texts of errors."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections, models, router, transaction

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.locking import wait_for
from segments.models import Membership, Segment, SegmentRefresh, StaticMember, Status
from segments.order import ordered
from segments.refresh import refresh
from segments.sql import names, static_ids, view_models, views

POSITION = re.compile(r" \(line \d+, column \d+\)")
"""The numbers in the text of an error that are no one's keys."""

FORGOTTEN = "(The text of this error named a user that has been forgotten.)"


@dataclass(frozen=True)
class Step:
    """A view from which users were taken, or why they are still in it."""

    slug: str
    error: SegmentError | None = None


def parse_keys(texts: Iterable[str]) -> list[Any]:
    """Return the keys that these texts name, as the key field of the user model reads them.

    Raises:
        ValueError: saying what is no key.
    """
    key_type = names.key_type(connections[conf.exec_connection()])
    return [static_ids.parse_key(text, key_type) for text in texts]


def existing(keys: list[Any]) -> list[Any]:
    """Return those of the keys that a row in the table of users has."""
    users = get_user_model()._base_manager.using(conf.exec_connection())
    with translated(SegmentExecutionError):
        return list(users.filter(pk__in=keys).order_by("pk").values_list("pk", flat=True))


def forget(keys: list[Any]) -> Iterator[Step]:
    """Take users out of all that this package keeps, and give each view that had them.

    Their rows in the table of users are not touched; as long as there are any, definitions may go
    on naming them. Looks into each view once, waiting for a refresh that is under way, and
    refreshes those that have them, those that others read first. One that fails stops nothing.
    """
    alias = router.db_for_write(Segment)
    with translated(SegmentExecutionError), transaction.atomic(using=alias):
        for model in (StaticMember, Membership):
            model._default_manager.using(alias).filter(user_id__in=keys)._raw_delete(alias)
    segments = ordered(Segment.objects.using(conf.exec_connection()))
    for segment in segments:
        try:
            if _refreshed_without(segment, keys):
                yield Step(segment.slug)
        except SegmentError as error:
            yield Step(segment.slug, error)
    yield from _orphans({names.view_name(segment.slug) for segment in segments}, keys)
    _clear_texts(alias, keys)  # Last, as a refresh may have failed with another one.


def _refreshed_without(segment: Segment, keys: list[Any]) -> bool:
    """Refresh a segment if its view has one of the users; return whether it had.

    Raises:
        SegmentError: when the view cannot be asked, or still has one.
    """
    wait_for(segment)  # A refresh that began earlier may still bring them back.
    if not _has(segment.slug, keys):
        return False
    result = refresh(segment, force=True)
    if result.status != Status.REFRESHED:
        raise SegmentExecutionError(
            f"it was not refreshed, it is {result.status}", slug=segment.slug
        )
    if _has(segment.slug, keys):
        raise SegmentExecutionError(
            "its definition names them",
            slug=segment.slug,
            hint="Delete the user first, or change the definition; then run this again.",
        )
    return True


def _orphans(wanted: set[str], keys: list[Any]) -> Iterator[Step]:
    """Give the views with one of the users that no segment has, and so nothing refreshes."""
    with translated(SegmentExecutionError):
        states = views.states(connections[conf.exec_connection()])
    for name, state in states.items():
        if name in wanted or not state.ours:
            continue
        try:
            if _has(name, keys):
                raise SegmentExecutionError(
                    "no segment has this view",
                    slug=name,
                    hint="This drops it: manage.py sync_segments --prune",
                )
        except SegmentError as error:
            yield Step(name, error)


def _has(slug: str, keys: list[Any]) -> bool:
    """Return whether one of the users is in the view, whether they exist or not."""
    alias = conf.exec_connection()
    with translated(SegmentExecutionError, slug):
        if not views.state(connections[alias], slug).populated:
            return False
        return (
            view_models.segment_view(slug).objects.using(alias).filter(user_id__in=keys).exists()
        )


def _clear_texts(alias: str, keys: list[Any]) -> None:
    """Clear the texts of errors that name one of the users, as Postgres' details may."""
    named = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(str(key)) for key in keys)})(?!\w)")
    columns: list[tuple[Any, str]] = [(SegmentRefresh, "error"), (Segment, "last_error")]
    with translated(SegmentExecutionError):
        for model, column in columns:
            rows: models.QuerySet[Any] = model._default_manager.using(alias)
            texts = rows.exclude(**{column: ""}).values_list("pk", column)
            found = [pk for pk, text in texts.iterator() if named.search(POSITION.sub("", text))]
            rows.filter(pk__in=found).update(**{column: FORGOTTEN})
