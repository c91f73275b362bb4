"""The order of refreshes: a segment comes after those that it reads."""

import pytest

from segments.models import Segment
from segments.refreshing import order
from tests.conftest import EVEN

pytestmark = pytest.mark.django_db


def test_ordered__holds_through_a_segment_that_is_left_out(staff, make):
    make("z", definition=EVEN)
    make("y", definition="SELECT user_id FROM segments.z")
    make("x", definition="SELECT user_id FROM segments.y")
    chosen = Segment.objects.filter(slug__in=["x", "z"])
    assert [segment.slug for segment in order.ordered(chosen)] == ["z", "x"]


def test_ordered__takes_slugs_where_a_circle_was_made_by_hand(make, query):
    make("a")
    make("b", definition="SELECT user_id FROM segments.a")
    query("CREATE OR REPLACE VIEW segments_live.a AS SELECT user_id FROM segments.b")
    assert [s.slug for s in order.ordered(Segment.objects.all())] == ["a", "b"]


def test_dependents__read_a_segment_directly_or_through_others(make, query):
    base = make("base")
    make("direct", definition="SELECT user_id FROM segments.base")
    query("CREATE VIEW bridge AS SELECT user_id FROM segments_live.direct")
    make("far", definition="SELECT user_id FROM bridge")
    make("off", definition="SELECT user_id FROM segments.base", is_active=False)
    make("other")
    assert {s.slug for s in order.dependents([base])} == {"direct", "far"}
    assert order.dependents([Segment.objects.get(slug="far")]) == []


def test_plan__yields_a_segment_after_its_dependencies(make):
    make("a")
    make("b")
    make("c", definition="SELECT user_id FROM segments.a INTERSECT TABLE segments.b")
    plan = order.Plan(Segment.objects.all())
    first = list(plan.ready())
    assert [s.slug for s in first] == ["a", "b"]
    plan.done(first[0])
    assert list(plan.ready()) == []
    plan.done(first[1])
    assert [s.slug for s in plan.ready()] == ["c"]
