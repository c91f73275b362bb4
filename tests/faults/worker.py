"""A process of its own that works on segments: `python -m tests.faults.worker WHAT ...`."""

import os
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()


def refresh(slug):
    """Refresh a segment."""
    from segments.models import Segment

    Segment.objects.get(slug=slug).refresh()


if __name__ == "__main__":
    {"refresh": refresh}[sys.argv[1]](*sys.argv[2:])
