"""The list of a saved segment, which its form only counts: it may have millions of ids."""

from typing import Any

from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from segments.admin.charts import number
from segments.definition.kinds import StaticList, kind_of
from segments.models import Segment, StaticMember

SIZE = "_segments_list_size"
"""The attribute of a segment with the length of its list, once that was counted."""


def has_list(segment: Segment) -> bool:
    """Return whether the list of a segment has any id."""
    return segment.pk is not None and StaticMember.objects.filter(segment=segment.pk).exists()


def is_listed(segment: Segment | None) -> bool:
    """Return whether a saved segment has a list, which may be empty if it is nothing else."""
    if segment is None or segment.pk is None:
        return False
    return kind_of(segment) is StaticList or has_list(segment)


def list_words(segment: Segment) -> str:
    """Return how many ids the list of a saved segment has, in words. Counts once an instance."""
    size = segment.__dict__.get(SIZE)
    if size is None:
        size = StaticMember.objects.filter(segment=segment.pk).count()
        segment.__dict__[SIZE] = size
    return ngettext("%s user", "%s users", size) % number(size)


def deletion_words(segment: Segment) -> Any:
    """Return what deletes the list of a segment, which is counted only when this is shown."""
    return lazy(lambda: _("Delete its list of %s") % list_words(segment), str)()
