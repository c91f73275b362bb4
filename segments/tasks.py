"""Work for a background worker, by Django's tasks framework.

That is `django.tasks` in Django 6.0, and the package django-tasks before. Without either, these
are plain functions. What else runs functions by the clock, such as Celery beat, calls those of
`segments.runs`.
"""

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router, transaction

from segments import conf, locking, runs
from segments.models import Segment
from segments.outcome import LOCKED
from segments.refresh import refresh
from segments.sql import session


def task(function: Callable[..., Any]) -> Any:
    """Make a task of a function, if there is a framework."""
    framework = conf.tasks_framework()
    return import_module(framework).task(function) if framework else function


@task
def refresh_segment(key: int, asked_at: str | None = None) -> str:
    """Refresh one segment; return the status.

    Waits for a refresh that is under way, since that may have begun before what is asked for now.

    Args:
        key: The primary key of the segment; one that was deleted in the meantime is `deleted`.
        asked_at: When this was enqueued, by the database's clock; a refresh that has begun since
            then counts for this one, too.

    Raises:
        SegmentError: when it fails.
    """
    asked = datetime.fromisoformat(asked_at) if asked_at else None
    while True:
        segment = Segment.objects.using(conf.exec_connection()).filter(pk=key).first()
        if segment is None:
            return "deleted"
        if asked and segment.attempted_at and segment.attempted_at >= asked:
            return segment.status
        result = refresh(segment)
        if result.status != LOCKED:
            return str(result.status)
        locking.wait_for(segment)


@task
def refresh_segments(due: bool = True) -> dict[str, str]:
    """Refresh the active segments that are due, or all active ones; return slug -> status."""
    active = Segment.objects.filter(is_active=True)
    results = runs.refresh_due() if due else runs.refresh_many(active)
    return {result.slug: str(result.status) for result in results}


@task
def refresh_user_segments(key: str) -> dict[str, str]:
    """Refresh the segments in which a user's membership has changed; return slug -> status.

    A user who was deleted in the meantime has none.
    """
    user = get_user_model()._default_manager.filter(pk=key).first()
    results = runs.refresh_for_user(user) if user else []
    return {result.slug: str(result.status) for result in results}


def enqueue_refresh(segment: Segment) -> None:
    """Have a worker refresh a segment, once the current transaction is committed.

    Raises:
        ImproperlyConfigured: when there is no tasks framework.
    """
    check_framework()

    def enqueue() -> None:
        asked_at = session.value(connections[conf.exec_connection()], "select_clock")
        refresh_segment.enqueue(segment.pk, asked_at.isoformat())

    transaction.on_commit(enqueue, using=conf.exec_connection())


def enqueue_for_user(user: Any) -> None:
    """Have a worker do `refresh_user_segments`, once the current transaction is committed.

    Raises:
        ImproperlyConfigured: when there is no tasks framework.
    """
    check_framework()
    key = str(user.pk)  # Arguments of tasks travel as JSON.
    using = router.db_for_write(type(user))
    transaction.on_commit(lambda: refresh_user_segments.enqueue(key), using=using)


def check_framework() -> None:
    """Raise ImproperlyConfigured when there is no tasks framework."""
    if conf.tasks_framework() is None:
        raise ImproperlyConfigured(
            "Refreshing in the background needs a tasks framework: "
            'pip install "django-segments[tasks]", and set TASKS.'
        )
