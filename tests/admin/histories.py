"""Histories of segments, written as rows: what charts and lists show, without the refreshes."""

from datetime import timedelta

from django.utils import timezone

from segments.models import Segment, SegmentRefresh, Status


def write_history(segment, counts, every=timedelta(hours=1)):
    """Write one good refresh for each count, the last one an interval ago."""
    start = timezone.now() - every * len(counts)
    before, rows = 0, []
    for n, count in enumerate(counts):
        came = max(count - before, 0)
        gone = max(before - count, 0)
        rows.append(
            SegmentRefresh(
                segment=segment,
                started_at=start + every * n,
                duration=timedelta(seconds=0.42),
                status=Status.REFRESHED,
                members_count=count,
                added=came,
                removed=gone,
            )
        )
        before = count
    SegmentRefresh.objects.bulk_create(rows)


def many_segments(number):
    """Write the rows of segments that were refreshed, without their views; return them."""
    now = timezone.now()
    return Segment.objects.bulk_create(
        Segment(
            name=f"Segment {n}",
            slug=f"s-{n}",
            definition="SELECT 1 AS id",
            description=f"About #tag{n % 7}",
            members_count=1000 + n,
            refreshed_at=now,
            attempted_at=now,
            refresh_every=timedelta(hours=1),
            status=Status.REFRESHED,
        )
        for n in range(number)
    )
