"""What `make demo` runs: python -m demo [--serve]"""

import argparse
import os
import shlex
import subprocess
import sys

import django
import psycopg

from demo import database, serve
from demo.console import console, heading, timed
from demo.postgres import database_url


def main() -> None:
    """Make a database, tell the story in it, and serve the admin if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Define segments of a shop's customers, refresh them, and show who is in.",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help=f"serve the admin at {serve.ADDRESS} afterwards, until Ctrl-C",
    )
    options = parser.parse_args()
    given = "DATABASE_URL" in os.environ
    try:
        server = serve.bind() if options.serve else None
        with timed("Use the server of DATABASE_URL" if given else "Start a Postgres of its own"):
            version = database.recreate(database_url())
            console.print(f"Postgres {version}, database {database.NAME}")
    except (RuntimeError, OSError, subprocess.SubprocessError, psycopg.Error) as error:
        sys.exit(f"The demo cannot start: {error}")

    os.environ["DJANGO_SETTINGS_MODULE"] = "demo.settings"
    django.setup()
    from demo import logins, show  # The models can be imported only now.

    show.tell(past=options.serve)
    reach = f"psql {shlex.quote(database.address(database_url()))}"
    if server:
        heading(f"Serve the admin until Ctrl-C: {serve.ADDRESS}")
        for name, role in ((logins.ADMINISTRATOR, "administrator"), (logins.MARKETER, "marketer")):
            console.print(f"Log in as the {role}: {name}, with the password {name}")
        console.print(f"The same database: {reach}", soft_wrap=True)
        serve.serve(server)
        console.print("\nStopped.")
    elif given:
        console.print(f"\nThe database stays until the next run: {reach}", soft_wrap=True)
    else:
        console.print("\nThe server ends here; make demo ARGS=--serve keeps it, with the admin.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
