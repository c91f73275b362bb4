"""The admin of segments: list, form, preview, members, refresh."""

from segments.admin.forms import SegmentForm as SegmentForm
from segments.admin.segment import SegmentAdmin as SegmentAdmin
from segments.admin.user import SegmentMembershipInline as SegmentMembershipInline
