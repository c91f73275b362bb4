"""Collect what runs with a user model from here there, and what starts it everywhere else."""

from django.conf import settings

collect_ignore = [
    "test_each_model.py"
    if settings.AUTH_USER_MODEL.startswith("user_models.")
    else "test_main_job.py"
]
