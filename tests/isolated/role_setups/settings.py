"""The project of the tests in one of three set-ups, which `SEGMENTS_SETUP` names.

`one_role`: the application logs in as the owner of the database, its tables and the views.
`exec_role`: a role that cannot log in owns the views; the application is its member.
`exec_alias`: another login owns the views; the application is not its member.
"""

import os

from tests.databases import PASSWORD, unique
from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

SETUP = os.environ["SEGMENTS_SETUP"]
APP, OWNER = unique("setup_app"), unique("setup_owner")
DATABASES["privileged"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
for alias, user in (("default", APP), ("exec", OWNER if SETUP == "exec_alias" else APP)):
    DATABASES[alias] |= {"USER": user, "PASSWORD": PASSWORD}
if SETUP == "exec_role":
    SEGMENTS_EXEC_ROLE = OWNER
if SETUP == "exec_alias":
    SEGMENTS_EXEC_CONNECTION = "exec"
