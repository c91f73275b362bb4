"""Durations of segments, which may be given as numbers of seconds."""

from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute


class Seconds(DeferredAttribute):
    """Makes an assigned number of seconds a timedelta."""

    field: "SecondsField"

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = self.field.in_seconds(value)


class SecondsField(models.DurationField):  # type: ignore[type-arg]
    """A duration that may be given as a number of seconds, as in settings."""

    descriptor_class = Seconds

    @staticmethod
    def in_seconds(value: Any) -> Any:
        """Return a number of seconds as a timedelta, and anything else unchanged."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return timedelta(seconds=value) if is_number else value

    def to_python(self, value: Any) -> Any:
        """Return a duration in any form as a timedelta."""
        return super().to_python(self.in_seconds(value))

    def get_db_prep_value(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a value for a query, as in `filter(timeout=60)`."""
        return super().get_db_prep_value(self.in_seconds(value), *args, **kwargs)

    def deconstruct(self) -> Any:
        """Return the field as migrations have it: in the database it is a DurationField."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DurationField", args, kwargs
