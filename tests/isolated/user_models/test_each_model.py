"""The main job with user models of every kind.

A process has one `AUTH_USER_MODEL`, since the models of this package and its migrations refer to
it. Each user model therefore has a process and a database to itself.
"""

import pytest

from tests.processes import run_suite

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "model",
    ["IntegerUser", "BigUser", "UUIDUser", "TextUser", "OddUser", "SoftUser", "ChildUser"],
)
def test_user_model__of_every_kind_works(model):
    run_suite(
        "tests/isolated/user_models/test_main_job.py", SEGMENTS_TEST_USER=f"user_models.{model}"
    )
