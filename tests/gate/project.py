"""The settings of a project that follows docs/security.md."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES
from tests.settings import MIDDLEWARE as MIDDLEWARE

DATABASES["default"]["USER"] = "shop_app"
DATABASES["default"]["PASSWORD"] = "secret"
DATABASES["exec"]["USER"] = "segments_exec"
DATABASES["exec"]["PASSWORD"] = "secret"
SEGMENTS_EXEC_ROLE = os.environ.get("SEGMENTS_EXEC_ROLE") or None
SEGMENTS_EXEC_CONNECTION = os.environ.get("SEGMENTS_EXEC_CONNECTION", "default")
