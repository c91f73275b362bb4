"""Compile a manager method: call it, and turn its queryset into SQL."""

import inspect
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.manager import BaseManager
from django.utils import timezone, translation

from segments import conf
from segments.exceptions import SegmentDefinitionError
from segments.sql import names
from segments.sql.statements import nobody


class ManagerMethod:
    """A manager method that returns the members of a segment.

    Args:
        slug: The segment, for messages.
        model: The model that has the manager.
        manager_name: The name of the manager on the model.
        manager_method: The method to call, without arguments.
    """

    def __init__(
        self, slug: str, model: type[models.Model], manager_name: str, manager_method: str
    ) -> None:
        self.slug, self.model = slug, model
        self.manager_name, self.manager_method = manager_name, manager_method

    def compile(self, alias: str) -> tuple[str, str]:
        """Call the method and return its query, with and without its parameters.

        The method runs, but its query does not. The driver merges the parameters into the text.
        Both happen in the time zone of segments, in the default language, and in a context of
        their own, so nothing depends on the request that asks for it.

        Raises:
            SegmentDefinitionError: when there is no such method, it needs arguments, it raises,
                or it returns anything but a queryset of users.
        """
        opened = connections.all(initialized_only=True)
        return Context().run(self._compile, alias, list(opened))

    def _compile(self, alias: str, opened: Sequence[BaseDatabaseWrapper]) -> tuple[str, str]:
        for connection in opened:  # In a thread with an event loop, they belong to the context.
            connections[connection.alias] = connection
        language = settings.LANGUAGE_CODE
        with timezone.override(conf.time_zone()), translation.override(language):
            return self._query(alias)

    def _query(self, alias: str) -> tuple[str, str]:
        queryset = self._ids(self._call(alias).using(alias))
        try:
            stable_text, params = queryset.query.get_compiler(using=alias).as_sql()
        except EmptyResultSet:  # As .none() and filter(pk__in=[]) do.
            return nobody(), nobody()
        operations: Any = connections[alias].ops
        return operations.compose_sql(stable_text, params), stable_text

    def _call(self, alias: str) -> "models.QuerySet[Any, Any]":
        try:
            manager = getattr(self.model, self.manager_name, None)
        except AttributeError:  # The model is swapped out or abstract.
            manager = None
        if not isinstance(manager, BaseManager):
            raise self._refused(
                "manager_name", f'{self._label} has no manager "{self.manager_name}"'
            )
        name = self.manager_method
        method = getattr(manager.db_manager(alias), name, None)
        if not inspect.isroutine(method):
            raise self._refused(
                "manager_method", f'{self._label}.{self.manager_name} has no method "{name}"'
            )
        # Django's own methods write, as `create` does, or name no users, except `all`.
        if name.startswith("_") or (name != "all" and is_of_django(name)):
            raise self._refused(
                "manager_method", f'"{name}" is a method of Django\'s managers, and names no users'
            )
        if getattr(method, "alters_data", False):
            raise self._refused("manager_method", f'"{name}" writes data: its alters_data is set')
        try:
            inspect.signature(method).bind()
        except TypeError as error:
            raise self._refused(
                "manager_method", f'"{name}" cannot be called without arguments: {error}'
            ) from error
        try:
            result = method()
        except Exception as error:
            raise self._refused(
                "manager_method", f'"{name}" raised {type(error).__name__}: {error}'
            ) from error
        if not isinstance(result, models.QuerySet):
            raise self._refused(
                "manager_method", f'"{name}" returned {type(result).__name__}, not a queryset'
            )
        return result

    def _ids(self, queryset: "models.QuerySet[Any, Any]") -> "models.QuerySet[Any, Any]":
        """Return the queryset with user ids as its only column."""
        if queryset._fields is not None:  # type: ignore[attr-defined]  # values() was called
            return self._single(queryset)
        model: type[models.Model] = queryset.model
        if key := key_path(model):
            return queryset.values_list(key)
        relations = user_relations(model)
        if len(relations) != 1:
            raise self._refused(
                "manager_method",
                f'"{self.manager_method}" returns {model._meta.label}, which has '
                f"{len(relations) or 'no'} relations to the user model",
                'End the method with .values_list("...") and the name of the column of user ids.',
            )
        return queryset.values_list("__".join(relations[0]))

    def _single(self, queryset: "models.QuerySet[Any, Any]") -> "models.QuerySet[Any, Any]":
        """Return a queryset that selects certain columns; refuse it unless they are user ids."""
        query = queryset.query
        selected = [*query.extra_select, *query.values_select, *query.annotation_select]
        if len(selected) != 1:
            raise self._refused(
                "manager_method",
                f'"{self.manager_method}" selects {len(selected)} columns',
                'It must select one: end it with .values_list("...") and the column of user ids.',
            )
        if selected[0] in query.values_select:
            self._check_origin(queryset, selected[0])
        return queryset

    def _check_origin(self, queryset: "models.QuerySet[Any, Any]", path: str) -> None:
        """Refuse a column that is known to hold anything but user ids."""
        opts = queryset.model._meta
        field: Any = queryset.query.names_to_path(path.split("__"), opts)[1]
        while field.is_relation:  # A relation may also refer to another unique column.
            field = field.target_field
        if field.primary_key and has_user_keys(field.model):
            return
        if field.unique or key_path(field.model) or key_path(queryset.model):
            raise self._refused(
                "manager_method",
                f'"{self.manager_method}" selects {field.model._meta.label}.{field.name}, '
                "which is not a user id",
            )

    @property
    def _label(self) -> str:
        return self.model._meta.label

    def _refused(self, field: str, reason: str, hint: str | None = None) -> SegmentDefinitionError:
        return SegmentDefinitionError(reason, slug=self.slug, field=field, hint=hint)


def is_of_django(name: str) -> bool:
    """Return whether a method is one that Django gives every manager."""
    return hasattr(models.Manager, name) or hasattr(models.QuerySet, name)


def user_relations(model: type[models.Model]) -> list[tuple[str, str]]:
    """Return the names of a model's foreign keys to users, and of the key of those."""
    return [
        (field.name, key)
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey)
        and field.concrete
        and (key := key_path(field.related_model))
    ]


def key_path(model: type[models.Model]) -> str | None:
    """Return the name of the model's field that is the key of the user, if there is one.

    A model that inherits from the user model may have another primary key.
    """
    if issubclass(model, get_user_model()):
        return names.user_key_field().name
    return "pk" if has_user_keys(model) else None


def has_user_keys(model: type[models.Model]) -> bool:
    """Return whether the model's primary key is that of the user model."""
    return issubclass(names.user_key_field().model, model._meta.concrete_model or model)
