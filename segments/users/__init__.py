"""What a user is asked: `is_member` for any user or visitor, and the mixin for user models."""

from segments.users.asynchronous import aprefetch_segments as aprefetch_segments
from segments.users.mixin import SegmentMixin as SegmentMixin
from segments.users.mixin import ais_member as ais_member
from segments.users.mixin import is_member as is_member
