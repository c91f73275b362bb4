"""Work for a background worker, by Django's tasks framework.

That is `django.tasks` in Django 6.0, and the package django-tasks before.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import router, transaction

from segments.refresh import refresh_for_user


def refresh_user_segments(key: Any) -> dict[str, str]:
    """Refresh the segments in which a user's membership has changed; return slug -> status.

    A user who was deleted in the meantime has none.
    """
    user = get_user_model()._default_manager.filter(pk=key).first()
    results = refresh_for_user(user) if user else []
    return {result.slug: result.status for result in results}


def enqueue_for_user(user: Any) -> None:
    """Enqueue `refresh_user_segments` once the current transaction is committed.

    Raises:
        ImproperlyConfigured: when there is no tasks framework.
    """
    task, key = _task(), str(user.pk)  # Arguments of tasks travel as JSON.
    transaction.on_commit(lambda: task.enqueue(key), using=router.db_for_write(type(user)))


@cache
def _task() -> Any:
    for framework in ("django.tasks", "django_tasks"):
        if find_spec(framework):
            return import_module(framework).task(refresh_user_segments)
    raise ImproperlyConfigured(
        "Refreshing in the background needs a tasks framework: "
        'pip install "django-segments[tasks]", and set TASKS.'
    )
