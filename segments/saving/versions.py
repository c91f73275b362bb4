"""Versions: keep what defined a segment before a change, and undo it.

A version has the fields that define a segment. Of the list of ids, it has only which ids the
change has added and removed, so a version of a list of a million ids costs as much as its change.
The list of a former version is the current one with all changes since undone, or an empty one with
the changes until then undone: of a change of an empty list, a version keeps no ids.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition import static_ids
from segments.definition.kinds import DEFINING_FIELDS, StaticList, defining, kind_of
from segments.definition.static_ids import SelectedIds, StaticIds
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, translated
from segments.rows import (
    copy_state,
    locked,
    segment_rows,
    static_member_rows,
    version_rows,
    write_alias,
)
from segments.sql.keys import user_key
from segments.sql.owned import LIST_CHANGE, STATIC_MEMBER
from segments.sql.statements import compose

if TYPE_CHECKING:
    from segments.models import Segment
    from segments.saving.models import SegmentVersion

_actor: ContextVar[Any] = ContextVar("segments_actor", default=None)


@contextmanager
def acting(user: Any) -> Iterator[None]:
    """Name the user who changes segments in the block, for their versions.

    Args:
        user: A user or the key of one; None or an anonymous user means that nobody is known.

    Raises:
        TypeError, ValueError: when it can be neither.
    """
    token = _actor.set(user_key(user))
    try:
        yield
    finally:
        _actor.reset(token)


def list_change_rows(alias: str) -> "models.QuerySet[Any]":
    """Return the changes of all lists of ids."""
    return apps.get_model("segments", "ListChange")._base_manager.using(alias)


def keep(
    connection: BaseDatabaseWrapper,
    before: "Segment | None",
    row: "Segment",
    ids: StaticIds | None,
    redefined: bool,
) -> tuple[int, int]:
    """Replace the list of ids, if there is another one, and keep the version before the change.

    Nothing is kept of a segment that is new, or whose list is the same as before.

    Args:
        before, row: The segment before and after the change; the caller holds its lock.
        ids: The new list; None if it stays.
        redefined: Whether a field that defines the segment has changed.

    Returns:
        How many ids are added to the list, and removed from it.

    Raises:
        SegmentDefinitionError, SegmentListError: as `static_ids.replace`.
    """
    alias, version = connection.alias, None
    if before is not None and (redefined or ids is not None):
        version = begin(alias, before)
    added = removed = 0
    if ids is not None:
        added, removed = static_ids.replace(
            connection, row.slug, row.pk, ids, key_for_ids(version)
        )
    if version:
        finish(version, added, removed, redefined=redefined)
    return added, removed


def begin(alias: str, before: "Segment") -> "SegmentVersion | None":
    """Keep what a segment is before a change, whose caller then calls `finish`.

    Returns:
        The version; None if no versions are kept.
    """
    if conf.versions():
        return _insert(alias, before)
    _prune(alias, before.pk)
    return None


def key_for_ids(version: "SegmentVersion | None") -> int | None:
    """Return the key of the version if it keeps which ids are added and removed."""
    return version.pk if version and version.ids_count else None


def finish(
    version: "SegmentVersion", added: int, removed: int, *, redefined: bool = False
) -> None:
    """Store how a change has changed the list; keep no version if it has changed nothing."""
    alias = alias_of(version)
    rows = version_rows(alias)
    if redefined or added or removed:
        rows.filter(pk=version.pk).update(ids_added=added, ids_removed=removed)
        _prune(alias, version.segment_id)
    else:
        rows.filter(pk=version.pk)._raw_delete(alias)


def keep_rewritten(connection: BaseDatabaseWrapper, key: int) -> None:
    """Keep the version of a segment whose definition is rewritten by a rename of another one."""
    if conf.versions():
        row = segment_rows(connection.alias).get(pk=key)
        _insert(connection.alias, row, members_after=row.members_count, entered=0, left=0)
        _prune(connection.alias, key)


def remove(alias: str, segment: int, pks: "list[int] | None" = None) -> None:
    """Delete versions of a segment, or all of them, without loading them."""
    rows = version_rows(alias).filter(segment=segment)
    if pks is not None:
        rows = rows.filter(pk__in=pks)
    list_change_rows(alias).filter(version__in=rows.values("pk"))._raw_delete(alias)
    rows._raw_delete(alias)


def forget(alias: str, keys: list[Any]) -> None:
    """Remove users from the changes of lists, and from those who have changed segments."""
    list_change_rows(alias).filter(user__in=keys)._raw_delete(alias)
    version_rows(alias).filter(replaced_by__in=keys).update(replaced_by=None)


def restore(version: "SegmentVersion", allow_cost: bool) -> "Segment":
    """Save what a version has as a new change of its segment, in one transaction.

    Its list is restored with the users who still exist, at the cost of the list and of its changes
    since; no id passes through Python. The state is set on the version's instance of the segment
    as well.

    Args:
        allow_cost: Whether it may be above `SEGMENTS_MAX_COST`.

    Raises:
        SegmentDefinitionError: when the definition no longer compiles, as when a table is gone.
            Nothing has changed then.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
    """
    alias = write_alias()
    slug = row_of(alias, version).slug
    with locked(alias, version.segment_id, slug) as (_, row):
        if row is None:
            raise _deleted()
        for name, value in version.fields.items():
            if name in DEFINING_FIELDS:
                setattr(row, name, _value(row, name, value))
        ids = _ids_listed(alias, version)
        if ids is not None:
            row.unsaved_static_ids = ids
        elif kind_of(row) is StaticList and not version.ids_count:
            row.static_ids = []
        row.allow_cost = allow_cost
        row.save(using=alias)
    if "segment" in version._state.fields_cache:
        segment = version.segment
        for name in DEFINING_FIELDS:
            setattr(segment, name, getattr(row, name))
        segment.discard_unsaved()
        copy_state(row, segment)
    return row


def _ids_listed(alias: str, version: "SegmentVersion") -> SelectedIds | None:
    """Return the ids that were in the list; None if they are those that are in it now."""
    key: int | None = version.segment_id
    since = version_rows(alias).filter(segment=key, pk__gte=version.pk)
    empty = since.filter(ids_count=0).order_by("pk").first()
    if empty is None:
        if not list_change_rows(alias).filter(version__in=since.values("pk")).exists():
            return None
    elif empty == version and not _listed(alias, version.segment_id).exists():
        return None
    else:  # From when the list was empty, and not from what it is now.
        key, since = None, since.filter(pk__lt=empty.pk)
    query = compose(
        "select_ids_of_version",
        change=sql.Identifier(LIST_CHANGE),
        static=sql.Identifier(STATIC_MEMBER),
        versions=sql.Literal(list(since.values_list("pk", flat=True))),
        segment=sql.Literal(key),
    )
    return SelectedIds(query)


def _insert(alias: str, before: "Segment", **numbers: int | None) -> "SegmentVersion":
    created: SegmentVersion = version_rows(alias).create(
        segment_id=before.pk,
        replaced_by_id=_actor.get(),
        fields=defining(before),
        ids_count=_listed(alias, before.pk).count(),
        members_before=before.members_count,
        **numbers,
    )
    return created


def _prune(alias: str, segment: int) -> None:
    """Delete the oldest versions, of which `SEGMENTS_VERSIONS` says how many are kept."""
    rows = version_rows(alias).filter(segment=segment).order_by("-pk")
    old = list(rows.values_list("pk", flat=True)[conf.versions() :])
    if old:
        remove(alias, segment, old)


def _value(segment: "Segment", name: str, value: Any) -> Any:
    """Return the value of a field that `defining` has returned."""
    if value is None or not segment._meta.get_field(name).is_relation:
        return value
    try:
        return ContentType.objects.get_by_natural_key(*value.split("."))
    except ObjectDoesNotExist as error:
        raise SegmentDefinitionError(
            f"the model {value} is not installed", slug=segment.slug, field=name
        ) from error


def row_of(alias: str, version: "SegmentVersion") -> "Segment":
    """Return the segment of a version as it is stored now, or raise SegmentExecutionError."""
    with translated(SegmentExecutionError):
        row = segment_rows(alias).filter(pk=version.segment_id).first()
    if row is None:
        raise _deleted()
    return row


def _deleted() -> SegmentExecutionError:
    return SegmentExecutionError("the segment of this version has been deleted")


def _listed(alias: str, segment: int) -> "models.QuerySet[Any]":
    return static_member_rows(alias).filter(segment=segment)


def alias_of(version: "SegmentVersion") -> str:
    """Return the alias of the database that a version is saved in."""
    return version._state.db or router.db_for_write(apps.get_model("segments", "SegmentVersion"))
