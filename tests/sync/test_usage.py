"""What uses a segment: segments, views of others, and rows."""

import pytest
from django.apps import apps
from django.db import connection, models

from segments.exceptions import SegmentExecutionError
from segments.models import Segment
from segments.sync.usage import ForeignView, PointingRows, Usage
from tests.shop.models import Offer

pytestmark = pytest.mark.django_db


@pytest.mark.roles
def test_segments_and_views__are_found_through_views(make, query):
    vip = make("vip-1")
    make("gold", definition="SELECT user_id FROM segments.vip_1")
    query("CREATE VIEW bridge AS SELECT user_id FROM segments.gold")
    make("above", definition="SELECT user_id FROM bridge")
    make("beside")
    query("CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM segments.vip_1")
    ((role,),) = query("SELECT current_user")
    assert vip.used_by().segments == ("above", "gold")
    assert vip.used_by().views == (ForeignView("bridge", role), ForeignView("report", role))
    assert Segment.objects.get(slug="gold").used_by().segments == ("above",)
    assert Segment.objects.get(slug="above").used_by() == Usage()


def test_rows__are_counted_by_field(make, users):
    segment, other = make(), make("other")
    for n in range(3):
        Offer.objects.create(priority=n, discount=1, segment=segment)
    assert segment.used_by().rows == (PointingRows("shop.Offer.segment", 3),)
    assert segment.used_by()
    assert not other.used_by()


@pytest.fixture
def banner():
    """A model with other kinds of fields that point to segments, and no way back."""

    class Banner(models.Model):
        segments = models.ManyToManyField(Segment, related_name="+")
        fallback = models.OneToOneField(Segment, models.CASCADE, related_name="+", null=True)
        named = models.ForeignKey(
            Segment, models.CASCADE, to_field="slug", related_name="+", null=True
        )

        class Meta:
            app_label = "shop"

        def __str__(self):
            return "banner"

    with connection.schema_editor() as editor:
        editor.create_model(Banner)
    yield Banner
    for name in ("banner", "banner_segments"):
        del apps.all_models["shop"][name]
    apps.clear_cache()


def test_rows__of_every_kind_of_field_are_found(make, banner):
    segment = make()
    banner.objects.create(fallback=segment, named=segment).segments.set([segment])
    banner.objects.create().segments.set([segment])
    assert set(segment.used_by().rows) == {
        PointingRows("shop.Banner.segments", 2),
        PointingRows("shop.Banner.fallback", 1),
        PointingRows("shop.Banner.named", 1),
    }


def test_segment__that_is_not_saved(users):
    with pytest.raises(SegmentExecutionError, match="not saved yet"):
        Segment(slug="new").used_by()


def test_segment__without_its_views_has_rows(make, owner):
    segment = make()
    Offer.objects.create(priority=1, discount=1, segment=segment)
    owner("DROP VIEW segments_live.vip CASCADE")
    assert segment.used_by() == Usage(rows=(PointingRows("shop.Offer.segment", 1),))


def test_database__that_does_not_answer(make, monkeypatch, query):
    segment = make()
    query("DROP TABLE shop_offer")
    with pytest.raises(SegmentExecutionError, match="shop_offer"):
        segment.used_by()
