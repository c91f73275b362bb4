"""The manager methods that a form offers."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import models

from segments.definition.methods import address_of, all_methods, set_method
from segments.models import Segment
from tests.shop.models import Order, OrderQuerySet

pytestmark = pytest.mark.django_db

USER = get_user_model()._meta.label_lower


def addresses():
    return [method.address for method in all_methods()]


def test_methods__are_those_that_can_be_called():
    found = addresses()
    assert found[0] == f"{USER}.objects.all"
    assert {"shop.order.objects.large", "shop.order.objects.all"} <= set(found)
    for other in ("needs_an_argument", "filter", "create", "none"):
        assert f"shop.order.objects.{other}" not in found
    assert not [address for address in found if address.startswith(("segments.", "contenttypes."))]


def test_methods__are_not_called(monkeypatch):
    def raises(self):
        raise AssertionError

    monkeypatch.setattr(type(Order.objects), "raises", raises)
    assert "shop.order.objects.raises" in addresses()


@pytest.mark.parametrize(
    ("annotation", "offered"),
    [
        (OrderQuerySet, True),
        (models.QuerySet[Order], True),
        ("models.QuerySet[Order]", True),
        ("Self", True),
        (int, False),
        ("int", False),
        (list[int], False),
    ],
)
def test_methods__that_return_anything_else_are_left_out(annotation, offered, monkeypatch):
    def annotated(self):
        return self

    annotated.__annotations__["return"] = annotation
    monkeypatch.setattr(type(Order.objects), "annotated", annotated, raising=False)
    assert ("shop.order.objects.annotated" in addresses()) is offered


def test_methods__that_write_or_wait_are_left_out(monkeypatch):
    def writes(self):
        return self

    async def waits(self):
        return self

    writes.alters_data = True
    monkeypatch.setattr(type(Order.objects), "writes", writes, raising=False)
    monkeypatch.setattr(type(Order.objects), "waits", waits, raising=False)
    assert not {"shop.order.objects.writes", "shop.order.objects.waits"} & set(addresses())


def test_summary__is_the_first_line_of_the_docstring():
    summaries = {method.address: method.summary for method in all_methods()}
    told = "Orders of the last two hours, by the clock of the application."
    assert summaries["shop.order.objects.since_a_while"] == told
    assert summaries["shop.order.objects.large"] == ""


def test_address__is_kept_and_set():
    segment = Segment()
    assert address_of(segment) == ""
    set_method(segment, "shop.order.objects.large")
    assert segment.model == ContentType.objects.get_for_model(Order)
    assert (segment.manager_name, segment.manager_method) == ("objects", "large")
    assert address_of(segment) == "shop.order.objects.large"
    set_method(segment, f"{USER}.objects.all")
    assert segment.model is None
    assert address_of(segment) == f"{USER}.objects.all"
    set_method(segment, "")
    assert address_of(segment) == ""
