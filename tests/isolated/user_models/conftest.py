"""Collect test_main_job.py with a user model of this app, test_each_model.py otherwise."""

from django.conf import settings

collect_ignore = [
    "test_each_model.py"
    if settings.AUTH_USER_MODEL.startswith("user_models.")
    else "test_main_job.py"
]
