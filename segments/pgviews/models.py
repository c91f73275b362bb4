"""The views as Django models, built with django-pgviews-redux.

Each model is in an app registry of its own, hidden from `makemigrations` and `sync_pgviews`: the
first would ask for a migration, and the second would drop and recreate the views in its own way.
"""

from functools import lru_cache
from typing import Any, ClassVar

from django.apps.registry import Apps
from django.contrib.auth import get_user_model
from django.db import connections, models
from django_pgviews.view import MaterializedView, ReadOnlyView

from segments import conf
from segments.sql import names


class SegmentView(MaterializedView):
    """The members of a segment, with one row for each user."""

    objects: ClassVar[models.Manager[Any]]

    class Meta:
        abstract = True
        managed = False

    @classmethod
    def get_view_connection(cls, using: str, restricted_mode: bool = True) -> Any:
        """Return the connection that owns the views, and so may refresh them."""
        return connections[conf.exec_connection()]


def segment_view(slug: str) -> type[SegmentView]:
    """Return the model of a segment's members."""
    return _segment_view(conf.schema(), names.view_name(slug))


def membership_view() -> type[ReadOnlyView]:
    """Return the model of `segments.membership`: which user is in which segment, since when."""
    return _membership_view(conf.schema())


def catalog_view() -> type[ReadOnlyView]:
    """Return the model of `segments.catalog`: every segment and its state."""
    return _catalog_view(conf.schema())


@lru_cache(maxsize=4096)
def _segment_view(schema: str, name: str) -> type[SegmentView]:
    view: type[SegmentView] = _model(
        SegmentView,
        schema,
        name,
        concurrent_index="user_id",
        user=_user_field(models.OneToOneField, primary_key=True),
    )
    return view


@lru_cache
def _membership_view(schema: str) -> type[ReadOnlyView]:
    view: type[ReadOnlyView] = _model(
        ReadOnlyView,
        schema,
        "membership",
        pk=models.CompositePrimaryKey("user_id", "segment_id"),
        user=_user_field(models.ForeignKey),
        segment_id=models.BigIntegerField(),
        slug=models.CharField(max_length=names.MAX_BYTES),
        entered_at=models.DateTimeField(),
    )
    return view


@lru_cache
def _catalog_view(schema: str) -> type[ReadOnlyView]:
    view: type[ReadOnlyView] = _model(
        ReadOnlyView,
        schema,
        "catalog",
        segment_id=models.BigIntegerField(primary_key=True),
        slug=models.CharField(max_length=names.MAX_BYTES),
        name=models.TextField(),
        description=models.TextField(),
        view_name=models.TextField(),
        kind=models.TextField(),
        members_count=models.BigIntegerField(null=True),
        refreshed_at=models.DateTimeField(null=True),
        age=models.DurationField(null=True),
        status=models.TextField(),
        last_error=models.TextField(),
        duration=models.DurationField(null=True),
        failures=models.IntegerField(),
        due=models.DateTimeField(null=True),
        ids_from=models.TextField(null=True),
    )
    return view


def _user_field(kind: Any, **options: Any) -> Any:
    return kind(
        get_user_model(),
        db_column="user_id",
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
        **options,
    )


def _model(base: Any, schema: str, view: str, /, **attributes: Any) -> Any:
    # Django does not quote a name that is in double quotes already, so this one keeps its schema.
    meta = type(
        "Meta",
        (),
        {
            "app_label": "segments",
            "apps": Apps(),
            "managed": False,
            "db_table": f'"{schema}"."{view}"',
        },
    )
    return type(base)(
        f"{view.title().replace('_', '')}View",
        (base,),
        {"__module__": __name__, "Meta": meta, **attributes},
    )
