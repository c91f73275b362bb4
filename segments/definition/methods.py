"""The manager methods that can define a segment, found without calling any."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple, get_origin

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.manager import BaseManager

from segments.definition.manager import is_of_django, key_path, user_relations

OWN = "segments"
"""The app whose tables no definition may read."""


class Method(NamedTuple):
    """A manager method that can be called without arguments.

    Attributes:
        model: The model that has the manager.
        manager: The name of the manager.
        name: The name of the method.
        summary: The first line of its docstring; empty without one.
    """

    model: type[models.Model]
    manager: str
    name: str
    summary: str

    @property
    def address(self) -> str:
        """The method in one word: `shop.order.objects.large`."""
        return f"{self.model._meta.label_lower}.{self.manager}.{self.name}"


def all_methods() -> Iterator[Method]:
    """Yield the methods of all models that may return users, those of the user model first.

    Whether a method returns a queryset is known only if it is annotated. Any other is left out,
    because calling it could do anything.
    """
    users = get_user_model()
    every = [model for model in apps.get_models() if model._meta.app_label != OWN]
    for model in sorted(every, key=lambda model: (model is not users, model._meta.label)):
        for manager in model._meta.managers:
            yield from _methods_of(model, manager)


def address_of(segment: Any) -> str:
    """Return the address of the method that defines a segment; empty if none does."""
    if not segment.manager_method:
        return ""
    label = get_user_model()._meta.label_lower
    if segment.model_id is not None:
        content_type = ContentType.objects.get_for_id(segment.model_id)
        label = f"{content_type.app_label}.{content_type.model}"
    return f"{label}.{segment.manager_name}.{segment.manager_method}"


def set_method(segment: Any, address: str) -> None:
    """Let a segment be defined by the method with this address, or by none if that is empty."""
    if address == address_of(segment):
        return
    if not address:
        segment.manager_method = ""
        return
    label, segment.manager_name, segment.manager_method = address.rsplit(".", 2)
    model = apps.get_model(label)
    own = model is get_user_model()
    segment.model = None if own else ContentType.objects.get_for_model(model, False)


def _methods_of(model: type[models.Model], manager: "BaseManager[Any]") -> Iterator[Method]:
    for name in sorted(dir(manager)):
        if name.startswith("_") or is_of_django(name):
            continue
        method = getattr(type(manager), name, None)
        if inspect.isroutine(method) and _is_usable(getattr(manager, name)):
            summary = (inspect.getdoc(method) or "").partition("\n")[0]
            yield Method(model, manager.name, name, summary)
    if key_path(model) or len(user_relations(model)) == 1:
        yield Method(model, manager.name, "all", "")


def _is_usable(method: Any) -> bool:
    """Return whether a method needs no arguments, writes nothing, and may return a queryset.

    The methods of Django's own apps return no users.
    """
    if inspect.unwrap(method).__module__.startswith("django."):
        return False
    if getattr(method, "alters_data", False) or inspect.iscoroutinefunction(method):
        return False
    try:
        signature = inspect.signature(method)
        signature.bind()
    except (TypeError, ValueError):
        return False
    returned = signature.return_annotation
    if returned is inspect.Signature.empty or isinstance(returned, str):
        return returned is inspect.Signature.empty or "QuerySet" in returned or returned == "Self"
    returned = get_origin(returned) or returned
    return not isinstance(returned, type) or issubclass(returned, models.QuerySet)
