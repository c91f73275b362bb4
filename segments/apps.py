"""The app, and what it hooks into Django."""

import logging
from typing import Any

from django.apps import AppConfig
from django.db import connections, router
from django.db.models.signals import post_migrate, pre_delete

logger = logging.getLogger(__name__)


class SegmentsConfig(AppConfig):
    """Segments of users."""

    name = "segments"
    verbose_name = "Segments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers and register the checks."""
        from segments import checks, lifecycle  # noqa: F401  # Models are there only now.

        pre_delete.connect(
            lifecycle.deleting, sender=self.get_model("Segment"), dispatch_uid="segments.deleting"
        )
        post_migrate.connect(sync_after_migrate, sender=self, dispatch_uid="segments.sync")


def sync_after_migrate(using: str, **kwargs: Any) -> None:
    """Create the views of a fresh or restored database; a `post_migrate` receiver.

    A segment that cannot be brought in step is told of, and stops no migration.
    """
    from segments import conf, sync
    from segments.exceptions import SegmentError
    from segments.models import Segment

    connection = connections[using]
    # Where definitions are evaluated on an alias of their own, it reaches the same database.
    ours = {conf.exec_connection(), router.db_for_write(Segment)}
    if using not in ours or connection.vendor != "postgresql":
        return
    if Segment._meta.db_table not in connection.introspection.table_names():
        return
    stdout = kwargs.get("stdout")
    try:
        for entry in sync.sync():
            if entry.error:
                _tell(stdout, str(entry.error))
    except SegmentError as error:
        _tell(stdout, str(error))


def _tell(stdout: Any, message: str) -> None:
    logger.warning("Not in step after migrate: %s", message)
    if stdout is not None:
        stdout.write(f"Not in step after migrate: {message}")
