"""Copies of a segment: frozen, cloned, and sampled."""

import hashlib
import re
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from segments import conf
from segments.definition.derive import sampled
from segments.exceptions import (
    SegmentCostError,
    SegmentDefinitionError,
    SegmentExecutionError,
    SegmentLockedError,
)
from segments.models import Segment, StaticMember
from segments.rows import FEED_STATE, STATE
from tests.conftest import EVEN, USERS

IDS = 1_000_000


def members(segment):
    return sorted(user.username for user in segment.members)


COPIES = {
    "freeze": lambda segment, slug="copy": segment.freeze(slug),
    "clone": lambda segment, slug="copy": segment.clone(slug),
    "sample": lambda segment, slug="copy": segment.sample(slug),
}

each_copy = pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)


@pytest.fixture
def even(staff, make):
    return make("even", definition=EVEN)


@pytest.mark.slow
@pytest.mark.django_db
@each_copy
@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ("taken", '"taken" already has the view'),
        ("A b", "a slug starts with"),
        ("membership", "this slug is reserved"),
    ],
)
def test_copy__refuses_a_slug(copy, slug, message, even, make):
    taken = make("taken", static_ids=[])
    with pytest.raises(SegmentDefinitionError, match=message) as caught:
        copy(even, slug)
    assert caught.value.field == "slug"
    assert set(Segment.objects.all()) == {even, taken}
    assert len(even) == 5  # And the transaction around it is usable.
    assert StaticMember.objects.count() == 0


@pytest.mark.django_db
@each_copy
def test_copy__refuses_a_segment_that_is_not_in_the_database(copy, even, make):
    with pytest.raises(SegmentExecutionError, match="not saved yet"):
        copy(Segment(slug="new", definition=EVEN))
    deleted = Segment.objects.get()
    even.delete()
    with pytest.raises(SegmentExecutionError, match='"even": it has been deleted'):
        copy(deleted)
    assert Segment.objects.count() == 0


@pytest.mark.django_db
@each_copy
def test_copy__of_a_stale_instance_is_of_its_own_segment(copy, even, make):
    stale = Segment.objects.get()
    even.rename("gold")
    make("even", definition=f"SELECT id FROM {USERS} WHERE false")
    stale.definition = "SELECT nothing"  # What is not saved is not copied.
    assert set(members(copy(stale))) <= {"u0", "u2", "u4", "u6", "u8"}
    assert "even (" not in Segment.objects.get(slug="copy").description


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("clean_views")
@each_copy
def test_copy__waits_for_another_session(copy, even, session, settings):
    settings.SEGMENTS_LOCK_TIMEOUT = timedelta(milliseconds=100)
    other = session()
    other.execute("BEGIN")
    other.execute("SELECT FROM segments_segment FOR UPDATE")
    with pytest.raises(SegmentLockedError):
        copy(even)
    assert Segment.objects.count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "exec"])
@pytest.mark.usefixtures("clean_views")
@each_copy
def test_copy__on_another_connection_is_populated(copy, even, exec_alias):
    assert set(members(copy(even))) <= set(members(even))
    assert Segment.objects.get(slug="copy").status == "refreshed"


@pytest.mark.django_db
@pytest.mark.roles
def test_freeze__keeps_the_members_of_the_last_refresh(even, staff):
    staff(1)
    moment = Segment.objects.get().refreshed_at
    frozen = even.freeze("frozen")
    even.refresh()
    assert members(even) == ["u1"]
    frozen.refresh(force=True)
    assert members(frozen) == ["u0", "u2", "u4", "u6", "u8"]
    assert (frozen.kind, frozen.name) == ("static", f"Even ({moment:%Y-%m-%d})")
    assert frozen.description == f"even at its refresh of {moment:%Y-%m-%d %H:%M} UTC"
    assert StaticMember.objects.filter(segment=frozen.pk).count() == 5


@pytest.mark.django_db
def test_freeze__is_dated_in_utc_in_any_time_zone(even, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    Segment.objects.update(refreshed_at="2026-10-31T23:30:00Z")
    frozen = even.freeze("frozen", "Before the move")
    assert frozen.description == "even at its refresh of 2026-10-31 23:30 UTC"
    assert frozen.name == "Before the move"


@pytest.mark.django_db
def test_freeze__survives_the_segment_and_those_who_read_it(even):
    frozen = even.freeze("frozen")
    even.delete()
    assert frozen.freeze("again").members_count == 5


@pytest.mark.django_db
def test_freeze__leaves_out_users_who_were_deleted(even, users, query):
    query(f"DELETE FROM {USERS} WHERE username = 'u2'")
    frozen = even.freeze("frozen")
    assert members(frozen) == ["u0", "u4", "u6", "u8"]
    assert not StaticMember.objects.filter(user_id=users[2].pk).exists()


@pytest.mark.django_db
def test_freeze__refuses_a_segment_that_was_never_populated(users):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=EVEN)])
    with pytest.raises(SegmentExecutionError, match="never populated.*\n.*refresh_segments new"):
        Segment.objects.get().freeze("frozen")
    assert Segment.objects.count() == 1


@pytest.mark.django_db
def test_sample__refuses_a_segment_that_was_never_populated(users):
    Segment.objects.bulk_create([Segment(slug="new", name="New", definition=EVEN)])
    with pytest.raises(
        SegmentExecutionError, match="no members to sample.*\n.*refresh_segments new"
    ):
        Segment.objects.get().sample("part")


@pytest.mark.django_db
def test_freeze__refuses_views_that_were_emptied(even, owner):
    owner("REFRESH MATERIALIZED VIEW segments.even WITH NO DATA")
    with pytest.raises(SegmentDefinitionError, match="has not been populated"):
        even.freeze("frozen")
    assert Segment.objects.count() == 1


@pytest.mark.django_db
def test_freeze__of_a_failed_segment_has_its_last_good_members(failing):
    with pytest.raises(SegmentExecutionError):
        failing.refresh()
    assert members(failing.freeze("frozen")) == members(failing) != []


@pytest.mark.django_db
def test_freeze__of_nobody_is_an_empty_list(users, make):
    frozen = make("none", definition=f"SELECT id FROM {USERS} WHERE false").freeze("frozen")
    assert (frozen.kind, frozen.members_count) == ("static", 0)


@pytest.mark.django_db
@pytest.mark.parametrize("copy", [COPIES["freeze"], COPIES["clone"]], ids=["freeze", "clone"])
def test_copy__passes_no_ids_through_python(copy, users, make, monkeypatch):
    source = make("listed", static_ids=users)
    monkeypatch.setattr("segments.definition.static_ids._numbered", None)
    assert copy(source).members_count == 10


@pytest.mark.django_db
def test_freeze__cuts_a_name_that_would_be_too_long(even):
    Segment.objects.update(name="x" * 255)
    name = even.freeze("frozen").name
    assert re.fullmatch(r"x+ \(\d{4}-\d\d-\d\d\)", name)
    assert len(name) == 255


@pytest.fixture
def kinds(orders, users, make):
    """A segment of each kind, by its name."""
    order = ContentType.objects.get_for_model(type(orders[0]))
    rich = "SELECT user_id FROM shop_order WHERE amount > 300"
    return {
        "sql": make("rich", definition=rich),
        "manager": make("large", model=order, manager_method="large"),
        "static": make("listed", static_ids=users[:3]),
        "sql and list": make("mixed", definition=rich, static_ids=users[:3]),
        "manager and list": make(
            "large-mixed", model=order, manager_method="large", static_ids=users[:3]
        ),
        "empty list": make("empty", static_ids=[]),
    }


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.roles
def test_clone__of_every_kind_has_the_same_definition_and_list(kinds):
    for kind, source in kinds.items():
        source.description, source.priority, source.is_active = "Why.", 3, False
        source.refresh_every, source.timeout = timedelta(hours=1), timedelta(seconds=9)
        source.save()
        clone = source.clone(f"{source.slug}-2")
        stored = Segment.objects.get(pk=clone.pk)
        for field in Segment._meta.concrete_fields:
            own = ("id", "slug", "name", "created_at", "updated_at", *STATE, *FEED_STATE)
            if field.name not in own:
                value = getattr(source, field.attname)
                assert getattr(stored, field.attname) == value, (kind, field)
        assert members(clone) == members(source), kind
        assert stored.static_ids == source.static_ids, kind
        assert (stored.name, stored.kind) == (f"{source.name} (copy)", source.kind)
        assert stored.members_count == source.members_count


@pytest.mark.django_db
def test_copies__have_names_of_their_own(users, make):
    segment = make(static_ids=users[:2])
    segment.name = "x" * 255
    segment.save()
    names = {segment.clone(f"c{n}").name for n in range(3)}
    assert names == {"x" * 248 + " (copy)", "x" * 245 + " (copy, 2)", "x" * 245 + " (copy, 3)"}
    names = [segment.freeze(f"f{n}").name for n in range(2)]
    assert names[1].endswith(", 2)")


@pytest.mark.django_db
def test_clone__is_independent_of_its_source(kinds, users):
    clone = kinds["sql and list"].clone("copy", "Mine")
    kinds["sql and list"].delete()
    clone.static_ids = users[:1]
    clone.save()
    assert members(clone) == ["u0", "u7", "u8", "u9"]
    assert clone.name == "Mine"


@pytest.mark.django_db
def test_clone__has_the_state_of_a_new_segment(failing):
    with pytest.raises(SegmentExecutionError):
        failing.refresh()
    with pytest.raises(SegmentExecutionError):
        failing.clone("copy")
    assert Segment.objects.count() == 1
    Segment.objects.update(definition=EVEN)
    clone = failing.clone("copy")
    assert (clone.failures, clone.last_error, clone.status) == (0, "", "refreshed")


@pytest.mark.django_db
def test_clone__is_priced_like_any_new_segment(kinds, settings):
    settings.SEGMENTS_MAX_COST = 1
    with pytest.raises(SegmentCostError):
        kinds["sql"].clone("copy")
    kinds["sql"].allow_cost = True
    assert kinds["sql"].clone("copy").members_count == 3


@pytest.mark.django_db
def test_clone__leaves_out_users_who_were_deleted(kinds, query, users):
    query("SET CONSTRAINTS ALL IMMEDIATE")
    query("DELETE FROM shop_order")
    query(f"DELETE FROM {USERS} WHERE username = 'u2'")
    assert kinds["static"].clone("copy").static_ids == f"{users[0].pk}\n{users[1].pk}"


@pytest.mark.django_db
@pytest.mark.parametrize("percent", [0, 101, -1, 100.1, float("nan"), float("inf"), 1e-8, True])
def test_sample__refuses_a_percentage(percent, even):
    with pytest.raises(ValueError, match=re.escape(f"not {percent!r}")) as caught:
        even.sample("part", percent)
    assert isinstance(caught.value, SegmentDefinitionError)
    assert Segment.objects.get() == even


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["10", None])
def test_sample__refuses_what_is_no_number(value, even):
    with pytest.raises(SegmentDefinitionError, match="a percentage above 0"):
        even.sample("part", value)
    with pytest.raises(SegmentDefinitionError, match="seed of a sample is a whole number"):
        even.sample("part", seed=value)
    with pytest.raises(SegmentDefinitionError, match="seed"):
        even.sample("part", seed=1.5)


@pytest.mark.django_db
@pytest.mark.roles
def test_sample__follows_the_segment(even, staff, users):
    sample = even.sample("half", 50, seed=3)
    assert (sample.kind, sample.name) == ("sql", "Even (50 %)")
    before = members(sample)
    staff(*range(10))
    even.refresh(with_dependents=True)
    chosen = [u.username for u in users if first_bits(3, u.pk) < 2**31]
    assert members(sample) == chosen
    assert before == [name for name in chosen if int(name[1]) % 2 == 0]


@pytest.mark.django_db
def test_sample__of_everyone_is_everyone(even):
    assert members(even.sample("everyone", 100)) == members(even)


@pytest.mark.django_db
def test_sample__is_rewritten_when_the_segment_is_renamed(even):
    sample = even.sample("half", 50)
    before = members(sample)
    even.rename("user", rewrite=True)
    sample.refresh_from_db()
    assert '"user"' in sample.definition
    sample.refresh(force=True)
    assert members(sample) == before


def first_bits(seed, key):
    return int.from_bytes(hashlib.md5(f"{seed}:{key}".encode()).digest()[:4], "big")


def part(query, keys, percent, seed=7):
    """Return which of some keys, by a query for them, are in a sample."""
    view = f'"{conf.schema()}"."vip"'
    text = sampled("vip", percent, seed).replace(view, f"({keys}) AS vip (user_id)")
    return {key for (key,) in query(text)}


KEYS = {
    "int": "SELECT generate_series(-50::bigint, 150)",
    "uuid": "SELECT md5(n::text)::uuid FROM generate_series(1, 200) AS n",
    "text": "SELECT 'ä%' || n || U&'\\2603' FROM generate_series(1, 200) AS n",
}


@pytest.mark.django_db
@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("seed", [7, 0, -3, 2**70])
@pytest.mark.parametrize("percent", [30, 0.5, Decimal("12.50"), 1e1, 100])
def test_sample__is_of_the_users_whom_md5_chooses(keys, seed, percent, query):
    everyone = {key for (key,) in query(keys)}
    limit = Decimal(str(percent)) * 2**32 / 100
    chosen = {key for key in everyone if first_bits(seed, key) < int(limit)}
    assert part(query, keys, percent, seed) == chosen


def chi_square(observed, expected):
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


@pytest.fixture
def shares(query):
    """The number of ids in the samples of some percentages and seeds, in blocks of 1,000 ids."""

    def count(*samples):
        texts = [sampled("vip", percent, seed) for percent, seed in samples]
        conditions = [text.partition("WHERE")[2].partition("--")[0] for text in texts]
        columns = ", ".join(f"count(*) FILTER (WHERE {each})" for each in conditions)
        both = " AND ".join(conditions)
        return query(
            f"SELECT {columns}, count(*) FILTER (WHERE {both}) "
            f"FROM generate_series(1, {IDS}) AS ids (user_id) GROUP BY (user_id - 1) / 1000"
        )

    return count


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("percent", [0.5, 10, 50])
def test_sample__is_even_over_a_million_ids(percent, shares):
    sizes = [row[0] for row in shares((percent, 7))]
    expected = IDS * percent / 100
    assert chi_square([sum(sizes), IDS - sum(sizes)], [expected, IDS - expected]) < 10.83
    if percent >= 10:  # Too few in a block otherwise.
        share = percent / 100
        blocks = sum((size - 1000 * share) ** 2 / (1000 * share * (1 - share)) for size in sizes)
        assert 850 < blocks < 1150  # 1,000 degrees of freedom; 3.4 standard deviations.


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("seeds", [(7, 8), (7, 70), (1, 11), (0, -1)])
def test_sample__of_another_seed_is_independent(seeds, shares):
    rows = shares((10, seeds[0]), (20, seeds[1]))
    first, second, both = (sum(row[column] for row in rows) for column in range(3))
    observed = [both, first - both, second - both, IDS - first - second + both]
    share, other = first / IDS, second / IDS
    expected = [
        IDS * a * b for a, b in ((share, other), (share, 1 - other), (1 - share, other))
    ] + [IDS * (1 - share) * (1 - other)]
    assert chi_square(observed, expected) < 10.83  # 1 degree of freedom, p = 0.001.


@pytest.mark.slow
@pytest.mark.django_db
def test_sample__of_a_smaller_percentage_is_within(shares, query):
    rows = shares((10, 7), (20, 7))
    assert sum(row[2] for row in rows) == sum(row[0] for row in rows) > 90_000
    keys = KEYS["int"]
    parts = [part(query, keys, percent) for percent in (0.5, 1, 10, 50, 99.9, 100)]
    for smaller, larger in pairwise(parts):
        assert smaller <= larger


@pytest.mark.django_db
def test_sample__names_no_function_that_fails_in_another_path(even):
    sample = even.sample("half", 50)
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA early")
        cursor.execute(
            "CREATE FUNCTION early.left(text, int) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$"
        )
        cursor.execute("SET LOCAL search_path = early, public")
    before = members(sample)
    sample.refresh(force=True)
    assert members(sample) == before
