"""A process that refreshes `half` whenever it is told to: python -m benchmarks.refreshing [CORE].

For each line that it reads, it writes one when it begins and one when that is done.
"""

import os
import sys

import django


def main() -> None:
    """Refresh until nobody can tell it to any more."""
    django.setup()
    from django.db import connection

    from benchmarks import database
    from benchmarks.placement import Placement
    from segments.models import Segment

    core = int(sys.argv[1]) if len(sys.argv) > 1 else None
    placement = Placement(client=core, server=core)
    database.reconnect()
    placement.place(connection.connection)
    with placement.client_placed():
        segment = Segment.objects.get(slug="half")
        for _ in sys.stdin:
            print("begun", flush=True)
            segment.refresh(force=True)
            print("done", flush=True)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    main()
