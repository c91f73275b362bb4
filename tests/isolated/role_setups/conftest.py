"""Collect test_logins.py in a set-up, and test_marked.py everywhere else."""

from django.conf import settings

collect_ignore = ["test_marked.py" if hasattr(settings, "SETUP") else "test_logins.py"]
