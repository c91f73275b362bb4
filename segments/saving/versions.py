"""Versions: keep what defined a segment before a change, show what changed, and undo it.

A version has the fields that define a segment. Of the list of ids, it has only which ids the
change has added and removed, so a version of a list of a million ids costs as much as its change.
The list of a former version is the current one with all changes since undone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef, Q, Subquery

from segments import conf
from segments.definition import static_ids
from segments.definition.kinds import DEFINING_FIELDS, StaticList, kind_of
from segments.definition.static_ids import StaticIds
from segments.exceptions import SegmentDefinitionError, SegmentExecutionError, translated
from segments.rows import copy_state, segment_rows, static_member_rows
from segments.sql.keys import user_key

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


def version_rows(alias: str) -> "models.QuerySet[Any]":
    """Return the versions of all segments."""
    return apps.get_model("segments", "SegmentVersion")._base_manager.using(alias)


def list_change_rows(alias: str) -> "models.QuerySet[Any]":
    """Return the changes of all lists of ids."""
    return apps.get_model("segments", "ListChange")._base_manager.using(alias)


def keep(
    connection: BaseDatabaseWrapper,
    before: "Segment | None",
    row: "Segment",
    ids: StaticIds | None,
    redefined: bool,
) -> None:
    """Replace the list of ids, if there is another one, and keep the version before the change.

    Nothing is kept of a segment that is new, or whose list is the same as before.

    Args:
        before, row: The segment before and after the change; the caller holds its lock.
        ids: The new list; None if it stays.
        redefined: Whether a field that defines the segment has changed.

    Raises:
        SegmentDefinitionError: as `static_ids.replace`.
    """
    alias, version = connection.alias, None
    if before is not None and conf.versions() and (redefined or ids is not None):
        version = _insert(alias, before)
    added = removed = 0
    if ids is not None:
        key = version.pk if version else None
        added, removed = static_ids.replace(connection, row.slug, row.pk, ids, key)
    if version and not (redefined or added or removed):
        version.delete()
    elif version:
        version_rows(alias).filter(pk=version.pk).update(ids_added=added, ids_removed=removed)
    if redefined or ids is not None:
        _prune(alias, row.pk)


def keep_rewritten(connection: BaseDatabaseWrapper, key: int) -> None:
    """Keep the version of a segment whose definition is rewritten by a rename of another one."""
    if conf.versions():
        _insert(connection.alias, segment_rows(connection.alias).get(pk=key))
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


def text(fields: Mapping[str, Any], ids_count: int) -> str:
    """Return what defines a segment as text: its SQL, then other fields and its list."""
    meta = apps.get_model("segments", "Segment")._meta
    lines = [fields["definition"]] if fields.get("definition") else []
    for name in DEFINING_FIELDS:
        field: Any = meta.get_field(name)
        value = fields.get(name)
        if name != "definition" and value not in (None, "", field.get_default()):
            lines.append(f"{name}: {value}")
    if ids_count:
        lines.append(f"ids: {ids_count:,}")
    return "\n".join(lines)


def diff(version: "SegmentVersion", other: "SegmentVersion | None") -> str:
    """Return a unified diff of the texts of two versions; see `SegmentVersion.diff`."""
    if other is not None and other.segment_id != version.segment_id:
        raise ValueError("the versions are of two segments")
    alias = version._state.db or _alias()
    between = version_rows(alias).filter(segment=version.segment_id)
    if other is None:
        row = _row(alias, version)
        after, title = text(_fields(row), _listed(alias, row.pk).count()), "now"
        between = between.filter(pk__gte=version.pk)
    else:
        after, title = other.text, _title(other)
        first, last = sorted((version.pk, other.pk))
        between = between.filter(pk__gte=first, pk__lt=last)
    added, removed = (
        between.aggregate(total=models.Sum(name))["total"] or 0
        for name in ("ids_added", "ids_removed")
    )
    if other is not None and other.pk < version.pk:
        added, removed = removed, added
    if added or removed:  # The number of ids may be the same.
        after += f"\n(of the list: {added:,} added, {removed:,} removed)"
    lines = unified_diff(
        version.text.splitlines(), after.splitlines(), _title(version), title, lineterm=""
    )
    return "\n".join(lines)


def restore(version: "SegmentVersion", allow_cost: bool) -> "Segment":
    """Save what a version has as a new change of its segment, in one transaction.

    Its list is restored with the users who still exist, in one pass over the table of users. The
    state is set on the version's instance of the segment as well.

    Args:
        allow_cost: Whether it may be above `SEGMENTS_MAX_COST`.

    Raises:
        SegmentDefinitionError: when the definition no longer compiles, as when a table is gone.
            Nothing has changed then.
        SegmentExecutionError: when Postgres cannot evaluate it, or the segment was deleted.
    """
    alias = _alias()
    row = _row(alias, version)
    for name, value in version.fields.items():
        if name in DEFINING_FIELDS:
            setattr(row, name, _value(row, name, value))
    changes = list_change_rows(alias).filter(
        version__segment=version.segment_id, version_id__gte=version.pk
    )
    if changes.exists():
        row.static_ids = _users_listed(alias, version, changes)
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


def _users_listed(
    alias: str, version: "SegmentVersion", changes: "models.QuerySet[Any]"
) -> "models.QuerySet[Any, Any]":
    """Return the users who were in the list: the first change of a user since tells."""
    first = changes.filter(user=OuterRef("pk")).order_by("version_id").values("added")[:1]
    listed = Exists(_listed(alias, version.segment_id).filter(user=OuterRef("pk")))
    users = get_user_model()._base_manager.using(alias).annotate(first=Subquery(first))
    return users.filter(Q(first=False) | Q(listed, first__isnull=True)).order_by("pk")


def _insert(alias: str, before: "Segment") -> "SegmentVersion":
    created: SegmentVersion = version_rows(alias).create(
        segment_id=before.pk,
        replaced_by_id=_actor.get(),
        fields=_fields(before),
        ids_count=_listed(alias, before.pk).count(),
        members_before=before.members_count,
    )
    return created


def _prune(alias: str, segment: int) -> None:
    """Delete the oldest versions, of which `SEGMENTS_VERSIONS` says how many are kept."""
    rows = version_rows(alias).filter(segment=segment).order_by("-pk")
    old = list(rows.values_list("pk", flat=True)[conf.versions() :])
    if old:
        remove(alias, segment, old)


def _fields(segment: "Segment") -> dict[str, Any]:
    """Return the fields that define a segment, a model by its name."""
    fields = {name: getattr(segment, name) for name in DEFINING_FIELDS}
    return {
        name: ".".join(value.natural_key()) if isinstance(value, ContentType) else value
        for name, value in fields.items()
    }


def _value(segment: "Segment", name: str, value: Any) -> Any:
    """Return the value of a field that `_fields` has returned."""
    if value is None or not segment._meta.get_field(name).is_relation:
        return value
    try:
        return ContentType.objects.get_by_natural_key(*value.split("."))
    except ObjectDoesNotExist as error:
        raise SegmentDefinitionError(
            f"the model {value} is not installed", slug=segment.slug, field=name
        ) from error


def _row(alias: str, version: "SegmentVersion") -> "Segment":
    with translated(SegmentExecutionError):
        row = segment_rows(alias).filter(pk=version.segment_id).first()
    if row is None:
        raise SegmentExecutionError("the segment of this version has been deleted")
    return row


def _listed(alias: str, segment: int) -> "models.QuerySet[Any]":
    return static_member_rows(alias).filter(segment=segment)


def _title(version: "SegmentVersion") -> str:
    return f"until {version.replaced_at:%Y-%m-%d %H:%M:%S}"


def _alias() -> str:
    return router.db_for_write(apps.get_model("segments", "SegmentVersion"))
