"""The project of the tests, on a server that its process has to itself."""

import os

from tests.servers import Server

PRIMARY = Server({"synchronous_commit": "on"})
PRIMARY.start()
os.environ["DATABASE_URL"] = PRIMARY.url()

from tests.settings import *  # noqa: E402, F403
