"""Tasks for a background worker, with Django's tasks framework.

The framework is `django.tasks` since Django 6.0, and the package django-tasks before. Without one,
these are plain functions. Other schedulers, such as Celery beat, call `segments.refresh_due`.
"""

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router, transaction

from segments import conf
from segments.membership.members import every_user
from segments.refresh import refresh
from segments.refreshing.history import LOCKED
from segments.refreshing.many import refresh_due, refresh_for_user, refresh_many
from segments.rows import segment_rows, wait_for
from segments.sql.keys import user_key
from segments.sql.session import fetch_value

if TYPE_CHECKING:
    from segments.models import Segment


def task(function: Callable[..., Any]) -> Any:
    """Make a function a task, if there is a tasks framework."""
    framework = conf.tasks_framework()
    return import_module(framework).task(function) if framework else function


@task
def refresh_segment(
    key: int, asked_at: str | None = None, accept_loss: bool = False, force: bool = False
) -> str:
    """Refresh one segment; return the status, or `deleted` if it no longer exists.

    Waits for a running refresh, which may have started before this one was enqueued.

    Args:
        key: The primary key of the segment.
        asked_at: When this was enqueued, by the database's clock. A refresh that has started since
            counts as this one, unless a loss is accepted.
        accept_loss, force: As for `segments.refresh.refresh`.

    Raises:
        SegmentError: when it fails or is refused.
    """
    enqueued = datetime.fromisoformat(asked_at) if asked_at else None
    while True:
        segment = segment_rows(conf.exec_connection()).filter(pk=key).first()
        if segment is None:
            return "deleted"
        attempted = segment.attempted_at
        if enqueued and attempted and attempted >= enqueued and not accept_loss:
            return segment.status
        result = refresh(segment, force=force, accept_loss=accept_loss)
        if result.status != LOCKED:
            return str(result.status)
        wait_for(segment)


@task
def refresh_segments(due: bool = True) -> dict[str, str]:
    """Refresh the active segments that are due, or all active ones; return statuses by slug."""
    active = segment_rows().filter(is_active=True)
    results = refresh_due() if due else refresh_many(active)
    return {result.slug: str(result.status) for result in results}


@task
def refresh_user_segments(key: str) -> dict[str, str]:
    """Refresh the segments in which a user's membership has changed; return statuses by slug.

    The result is empty if the user no longer exists.
    """
    user = every_user().filter(pk=key).first()
    results = refresh_for_user(user) if user else []
    return {result.slug: str(result.status) for result in results}


def enqueue_refresh(segment: "Segment", accept_loss: bool = False, *, force: bool = False) -> None:
    """Let a worker refresh a segment once the current transaction is committed.

    Args:
        accept_loss, force: As for `segments.refresh.refresh`.

    Raises:
        ImproperlyConfigured: when there is no tasks framework.
    """
    check_framework()

    def enqueue() -> None:
        asked_at = fetch_value(connections[conf.exec_connection()], "select_clock")
        refresh_segment.enqueue(segment.pk, asked_at.isoformat(), accept_loss, force)

    transaction.on_commit(enqueue, using=conf.exec_connection())


def enqueue_for_user(user: Any) -> None:
    """Let a worker call `refresh_user_segments` once the current transaction is committed.

    Raises:
        ImproperlyConfigured: when there is no tasks framework.
    """
    check_framework()
    key = user_key(user)
    if key is None:  # Nobody can have entered or left a segment.
        return
    using = router.db_for_write(type(user))
    # Arguments of tasks must be JSON.
    transaction.on_commit(lambda: refresh_user_segments.enqueue(str(key)), using=using)


def check_framework() -> None:
    """Raise ImproperlyConfigured when there is no tasks framework."""
    if conf.tasks_framework() is None:
        raise ImproperlyConfigured(
            "Refreshing in the background needs a tasks framework: "
            'pip install "django-segments[tasks]", and set TASKS.'
        )
