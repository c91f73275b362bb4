"""Signals, which are sent after the commit. A receiver that fails stops nothing."""

from django.dispatch import Signal

segment_refreshed = Signal()
"""Sent after a refresh, needed or not, with `segment` and `result`, a `RefreshResult`.

`result.added` and `result.removed` count the changes, and `result.changes()` iterates over them.
"""

segment_refresh_failed = Signal()
"""Sent after a refresh that failed, with `segment`, `result` and `error`, a `SegmentError`."""
