"""The methods of a segment that change its list, and export its members."""

from collections.abc import Iterable
from typing import Any

from django.db import models

from segments.lists.export import CsvFile, export
from segments.lists.incoming import Mode
from segments.lists.load import load
from segments.lists.report import LoadReport
from segments.lists.source import ListSource


class ListsMixin(models.Model):
    """The methods of `Segment` for lists, large and small.

    Each changes the list and the members in one transaction: they are current at the moment it
    commits. A surrounding transaction stays usable after an error.
    """

    class Meta:
        abstract = True

    def load_ids(
        self,
        source: ListSource,
        mode: Mode = "replace",
        by: str = "pk",
        skip_bad: bool = False,
        allow_empty: bool = True,
    ) -> LoadReport:
        """Load a list of any size, in constant memory; see `segments.lists.load.load`.

        A segment that is not saved yet is saved with its list, or not at all.

        Args:
            source: Text, a `pathlib.Path`, a file that is open for text or bytes, or an iterable.
                Text and files have one user a line, or are CSV with a header that names the field.
            mode: `replace` the list, `add` to it, or `remove` from it.
            by: The unique field of the user model by which the list names users.
            skip_bad: Use the good lines if others are malformed or unknown. If none is good, the
                list is not replaced.
            allow_empty: Whether the list may be replaced by one without a line, which empties it.

        Raises:
            SegmentListError: with the `report`, and nothing is changed.
            SegmentError: as `save()` does.
        """
        return load(self, source, mode, by, skip_bad, allow_empty)  # type: ignore[arg-type]

    def add(
        self,
        users: "models.Model | Iterable[Any]",
        skip_bad: bool = False,
    ) -> LoadReport:
        """Add users to the list of the segment.

        A segment that has SQL or a manager method then has a list as well. One that is not saved
        yet is saved with its list.

        Args:
            users: Users, keys of users, or a queryset, whose keys stay in Postgres.
            skip_bad: Add the others if some do not exist.

        Raises:
            SegmentListError: with the `report`, and nothing is changed.
        """
        return load(self, _several(users), "add", "pk", skip_bad)  # type: ignore[arg-type]

    def remove(
        self,
        users: "models.Model | Iterable[Any]",
        skip_bad: bool = False,
    ) -> LoadReport:
        """Remove users from the list of the segment; takes the same as `add`.

        Users that SQL or a manager method selects stay members, and `still_members` of the report
        counts them.

        Raises:
            SegmentDefinitionError: when the segment has SQL or a manager method, and no list.
            SegmentListError: with the `report`, and nothing is changed.
        """
        return load(self, _several(users), "remove", "pk", skip_bad)  # type: ignore[arg-type]

    def export(
        self,
        file: CsvFile,
        fields: Iterable[str] = ("pk",),
    ) -> int:
        """Write the members as CSV; see `segments.lists.export.export`."""
        return export(self, file, fields)  # type: ignore[arg-type]


def _several(users: Any) -> Any:
    """Return users as an iterable; one user or one key as a tuple."""
    one = isinstance(users, str | bytes | models.Model) or not isinstance(users, Iterable)
    return (users,) if one else users
