"""Kinds: what defines a segment."""

from typing import Any

from django.db import models
from django.db.models import Case, Q, Value, When


class HasKind(models.Model):
    """What `Segment` says of its definition without telling it."""

    definition: Any
    manager_method: Any

    # The database's own copy of `kind`: the catalog shows it, and whoever owns that view needs no
    # right to read definitions.
    stored_kind = models.GeneratedField(
        expression=Case(
            When(~Q(manager_method=""), then=Value("manager")),
            When(~Q(definition=""), then=Value("sql")),
            default=Value("static"),
        ),
        output_field=models.CharField(max_length=7),
        db_persist=True,
        db_column="kind",
    )

    class Meta:
        abstract = True

    @property
    def kind(self) -> str:
        """`sql`, `manager` or `static`."""
        if self.manager_method:
            return "manager"
        return "sql" if self.definition else "static"
