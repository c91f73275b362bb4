"""Signals, sent once what they tell of is committed; a receiver that fails stops nothing."""

from django.dispatch import Signal

segment_refreshed = Signal()
"""A refresh is done, or was not needed; with `segment` and `result`, a `RefreshResult`."""

segment_refresh_failed = Signal()
"""A refresh has failed; with `segment`, `result` and `error`, a `SegmentError`."""
