"""The same with a second server, which has the events; the suite makes its foreign tables."""

from tests.scaling.settings import *  # noqa: F403
from tests.servers import Server

REMOTE = Server({"synchronous_commit": "on"})
REMOTE.start()
