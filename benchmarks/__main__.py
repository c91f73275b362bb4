"""Command line: python -m benchmarks [--users N]."""

import argparse
import os
import sys

import django

FEWEST = 10_000


def main() -> int:
    """Measure, print, and say 0 whether or not the goals are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure refreshes and membership checks, in a database of their own on a "
        "throw-away Postgres or, if DATABASE_URL is set, on that server.",
    )
    parser.add_argument("--users", type=int, default=1_000_000, help="default: %(default)s")
    users = parser.parse_args().users
    if users < FEWEST:
        parser.error(f"--users: at least {FEWEST}")

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from benchmarks.database import NotOursError
    from benchmarks.run import run

    try:
        run(users)
    except NotOursError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
