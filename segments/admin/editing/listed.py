"""The list of a saved segment, which its form only counts: it may have millions of ids."""

from django.utils.translation import ngettext

from segments.definition.kinds import StaticList, kind_of
from segments.models import Segment, StaticMember


def has_list(segment: Segment) -> bool:
    """Return whether the list of a segment has any id."""
    return segment.pk is not None and StaticMember.objects.filter(segment=segment.pk).exists()


def is_listed(segment: Segment | None) -> bool:
    """Return whether a saved segment has a list, which may be empty if it is nothing else."""
    if segment is None or segment.pk is None:
        return False
    return kind_of(segment) is StaticList or has_list(segment)


def list_words(segment: Segment) -> str:
    """Return how many ids the list of a saved segment has, in words."""
    size = StaticMember.objects.filter(segment=segment.pk).count()
    return ngettext("%s user", "%s users", size) % f"{size:,}"
