"""User segments for Django, kept in Postgres as materialized views."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

HOMES = {
    "Segment": "segments.models",
    "SegmentMixin": "segments.models",
    "RefreshResult": "segments.refreshing.history",
    "SegmentError": "segments.exceptions",
    "SegmentDefinitionError": "segments.exceptions",
    "SegmentExecutionError": "segments.exceptions",
    "SegmentLockedError": "segments.exceptions",
    "overlap": "segments.membership.overlap",
    "aoverlap": "segments.membership.asynchronous",
    "SegmentLossError": "segments.exceptions",
    "acting": "segments.saving.versions",
    "refresh_due": "segments.refreshing.many",
    "refresh_many": "segments.refreshing.many",
    "segment_refreshed": "segments.signals",
    "segment_refresh_failed": "segments.signals",
}
"""The modules of the public names; models cannot be imported before the apps are loaded."""

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
