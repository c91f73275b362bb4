"""A process that works on segments: `python -m tests.isolated.faults.worker WHAT ...`."""

import json
import os
import random
import sys
import time
import traceback
from collections import Counter

import django
import psycopg

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import Error, connection  # noqa: E402

from segments import sync  # noqa: E402
from segments.exceptions import SegmentError  # noqa: E402
from segments.models import Segment  # noqa: E402
from tests.conftest import USERS  # noqa: E402

FIXED = "base"
"""A segment that others read; it is refreshed by hand, but not renamed or deleted."""

SLUGS = ("a", "b", "c-d")
"""Slugs of the other segments."""

DEFINITIONS = (
    f"SELECT id FROM {USERS} WHERE is_staff",
    f"SELECT * FROM {USERS} WHERE id % 3 = 0",
    f"SELECT id FROM {USERS} WHERE is_active UNION ALL SELECT id FROM {USERS}",
)

FAILING = f"SELECT id FROM {USERS} WHERE 1 / (id % 2) > 0"
"""A definition that divides by zero."""

READING = "SELECT user_id FROM segments.base"

Users = get_user_model().objects


def any_segment():
    return Segment.objects.get(slug=random.choice((FIXED, *SLUGS)))


def refresh(slug=None):
    segment = Segment.objects.get(slug=slug) if slug else any_segment()
    return segment.refresh(concurrently=random.random() < 0.7)


def refresh_by_hand():
    how = random.choice(("", "CONCURRENTLY"))
    with connection.cursor() as cursor:
        cursor.execute(f"REFRESH MATERIALIZED VIEW {how} segments.{FIXED}")


def redefine():
    segment = any_segment()
    texts = (*DEFINITIONS, FAILING, *([] if segment.slug == FIXED else [READING]))
    segment.definition = random.choice(texts)
    segment.save()


def list_ids():
    segment = Segment.objects.get(slug=random.choice(SLUGS))
    segment.static_ids = Users.order_by("?")[:20]
    segment.save()


def rename():
    segment = Segment.objects.get(slug=random.choice(SLUGS))
    segment.slug = random.choice(SLUGS)
    segment.save()


def create():
    slug = random.choice(SLUGS)
    Segment.objects.create(name=slug, slug=slug, definition=random.choice(DEFINITIONS))


def replace():
    Segment.objects.get(slug=random.choice(SLUGS)).delete()
    create()


def sync_all():
    for entry in sync.sync():
        if entry.error:
            raise entry.error


def change_users():
    chosen = list(Users.order_by("?").values_list("pk", flat=True)[:100])
    Users.filter(pk__in=chosen).update(is_staff=random.random() < 0.5)


def replace_user():
    user = Users.order_by("?").first()
    user.delete()
    Users.create(username=user.username)


WORK = {
    refresh: 12, refresh_by_hand: 3, redefine: 6, list_ids: 6, rename: 10, create: 8, replace: 5,
    sync_all: 3, change_users: 3, replace_user: 3,
}  # fmt: skip

TERMINATED = {"57P01", None}
"""admin_shutdown, or no code at all if the connection was closed before."""

TAKEN = {"segments_segment_slug_key", "segments_segment_view_name"}
"""Constraints that two sessions violate by using one slug at the same moment."""


def expected(error):
    """Return whether users of this package have to expect the error."""
    if isinstance(error, SegmentError | Segment.DoesNotExist):
        return True
    cause = error.__cause__ if isinstance(error, Error) else None
    return isinstance(cause, psycopg.Error) and (
        cause.sqlstate in TERMINATED or cause.diag.constraint_name in TAKEN
    )


def stress(seed, seconds):
    """Do random work for so long, and until each kind of it has succeeded once.

    Prints counts and unexpected errors as JSON.
    """
    random.seed(int(seed))
    done, failed, unexpected = Counter(), Counter(), []
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline or len(done) < len(WORK):
        (do,) = random.choices(list(WORK), WORK.values())
        try:
            do()
            done[do.__name__] += 1
        except Exception as error:  # noqa: BLE001
            failed[f"{do.__name__}: {type(error).__name__}"] += 1
            if not expected(error):
                unexpected.append(traceback.format_exc())
            connection.close_if_unusable_or_obsolete()  # As Django does between two requests.
    print(json.dumps({"done": done, "failed": failed, "unexpected": unexpected}))  # noqa: T201


if __name__ == "__main__":
    {"refresh": refresh, "stress": stress}[sys.argv[1]](*sys.argv[2:])
