"""A process that refreshes or follows segments: python -m tests.changes.worker WHAT ..."""

import json
import os
import random
import sys
import time

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import transaction  # noqa: E402
from django.db.models import Q  # noqa: E402

from segments.changes import feed  # noqa: E402
from segments.exceptions import SegmentLockedError  # noqa: E402
from segments.models import Segment  # noqa: E402


class RolledBackError(Exception):
    """A refresh that is not to be committed."""


def refresh(seconds: str, *slugs: str) -> None:
    """Move users about, and refresh segments: some are rolled back, some stay open for a while."""
    users, end = get_user_model().objects, time.monotonic() + float(seconds)
    while time.monotonic() < end:
        chosen = random.sample(range(200), 20)
        names = Q(username__in=[f"v{n}" for n in chosen])
        users.filter(names).update(is_staff=random.random() < 0.5)
        try:
            with transaction.atomic():
                Segment.objects.get(slug=random.choice(slugs)).refresh(force=True)
                time.sleep(random.choice((0, 0, 0.02)))
                if random.random() < 0.3:
                    raise RolledBackError
        except RolledBackError:
            pass


def follow(slug: str, name: str) -> None:
    """Print what a consumer gets until stdin ends, and then once more; fail now and then.

    A line is what one run has delivered.
    """
    feed.PAGE = 7  # So that refreshes commit between two pages.
    segment, last = Segment.objects.get(slug=slug), False
    while not last:
        last = os.path.exists(sys.argv[-1])
        rows = []
        try:
            with segment.consumer(name) as delivery:
                for change in delivery:
                    rows.append((change.id, change.user, change.change, change.snapshot))
                    time.sleep(random.choice((0, 0.001)))
                if not last and random.random() < 0.3:
                    raise RolledBackError
        except (RolledBackError, SegmentLockedError):
            last = False
            continue
        sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    {"refresh": refresh, "follow": follow}[sys.argv[1]](*sys.argv[2:4], *sys.argv[4:-1])
