"""The same through pgbouncer, set up as docs/scaling.md has it, with a pool of two connections."""

from demo.postgres import django_database
from tests.scaling.docs import block
from tests.scaling.pgbouncer import start
from tests.scaling.settings import *  # noqa: F403
from tests.scaling.settings import DATABASES, PRIMARY

POOL = 2
DATABASES["direct"] = DATABASES["default"]
DATABASES["default"] = django_database(start(PRIMARY, POOL))
exec(block("python", "DISABLE_SERVER_SIDE_CURSORS"), {"DATABASES": DATABASES})
