"""Collect what runs in a set-up there, and what starts the set-ups everywhere else."""

from django.conf import settings

collect_ignore = ["test_marked.py" if hasattr(settings, "SETUP") else "test_logins.py"]
