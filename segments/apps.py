"""The configuration of the app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate, pre_save


class SegmentsConfig(AppConfig):
    """Segments of users."""

    name = "segments"
    verbose_name = "Segments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers and register the checks."""
        from segments import checks  # noqa: F401  # Models are loaded now.
        from segments.rows import before_raw_save
        from segments.sync import migrate

        segment = self.get_model("Segment")
        pre_save.connect(before_raw_save, sender=segment, dispatch_uid="segments.before_raw_save")
        pre_migrate.connect(
            migrate.before_migrate, sender=self, dispatch_uid="segments.before_migrate"
        )
        post_migrate.connect(
            migrate.after_migrate, sender=self, dispatch_uid="segments.after_migrate"
        )
