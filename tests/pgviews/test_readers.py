"""Readers that were taken out of the setting: told, and read no more."""

import pytest
from django.db import transaction

from segments import sync
from segments.pgviews import shared
from segments.sql import session

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
def may_read(query):
    """Return whether a role reads members: the view, the memberships, and has the way to them."""

    def ask(role):
        ((usage, *views),) = query(
            "SELECT has_schema_privilege(%s, 'segments', 'USAGE'), "
            "has_table_privilege(%s, 'segments.vip', 'SELECT'), "
            "has_table_privilege(%s, 'segments.membership', 'SELECT')",
            role, role, role,
        )  # fmt: skip
        assert all(views) == any(views)
        return usage and views[0]

    return ask


def told():
    return [(entry.slug, entry.what) for entry in sync.check()]


def test_reader__that_is_no_more_is_told_and_reads_no_more(make, settings, role, query, may_read):
    bi, other, mine = role("bi"), role("Other, Reader]"), role("mine")
    settings.SEGMENTS_READER_ROLES = [bi, other]
    make()
    list(sync.sync())
    query(f'GRANT USAGE ON SCHEMA segments TO "{mine}"')
    query(f'GRANT SELECT ON ALL TABLES IN SCHEMA segments TO "{mine}"')
    assert told() == []
    settings.SEGMENTS_READER_ROLES = [bi]
    what = [f"role {other} is no more in SEGMENTS_READER_ROLES, and may still read"]
    assert told() == [("", what)]
    with session.transaction("default", "test") as opened:
        shared.ensure_shared(opened)  # As for detach_segments, which is no sync.
    assert may_read(other)
    assert told() == [("", what)]
    assert [(entry.slug, entry.what) for entry in sync.sync()] == [("", what)]
    assert [may_read(each) for each in (bi, other, mine)] == [True, False, True]
    assert told() == []
    query(f'GRANT SELECT ON segments.vip TO "{other}"')
    assert told() == []  # By hand, now that it is not in the setting.


def test_reader__that_a_save_alone_has_known_is_told(make, settings, role, query):
    make()
    list(sync.sync())
    settings.SEGMENTS_READER_ROLES = [role("late")]
    segment = make("new")
    segment.refresh(force=True)
    settings.SEGMENTS_READER_ROLES = []
    (entry,) = told()
    assert entry[1] == [
        f"role {role('late')} is no more in SEGMENTS_READER_ROLES, and may still read"
    ]
    list(sync.sync())
    assert told() == []
    query(f'SET LOCAL ROLE "{role("late")}"')
    with pytest.raises(Exception, match="permission denied for schema"), transaction.atomic():
        query("SELECT * FROM segments.new")
    query("RESET ROLE")


def test_reader__of_all_that_is_made_stays_one(make, settings, role, query, may_read):
    """As `grant_segments --reader` makes one."""
    bi = role("bi")
    settings.SEGMENTS_READER_ROLES = [bi]
    make()
    list(sync.sync())
    query(f'ALTER DEFAULT PRIVILEGES IN SCHEMA segments GRANT SELECT ON TABLES TO "{bi}"')
    settings.SEGMENTS_READER_ROLES = []
    assert told() == []
    list(sync.sync())
    assert may_read(bi)


def test_reader__keeps_what_others_let_it_read_in_the_schema(make, settings, role, query, dba):
    bi = role("bi")
    settings.SEGMENTS_READER_ROLES = [bi]
    make()
    list(sync.sync())
    dba("CREATE VIEW segments.report AS SELECT 1 AS sold")
    dba(f'GRANT SELECT ON segments.report TO "{bi}"')
    settings.SEGMENTS_READER_ROLES = []
    assert [entry.error for entry in sync.sync()] == [None]
    assert told() == []
    for view, readable in (("vip", False), ("report", True)):
        ask = f"SELECT has_table_privilege(%s, 'segments.{view}', 'SELECT')"
        assert query(ask, bi) == [(readable,)]
    dba("DROP VIEW segments.report")


def test_reader__that_has_granted_it_on_is_told_and_stops_nothing(make, settings, role, query):
    bi, other, third = role("bi"), role("other"), role("third")
    settings.SEGMENTS_READER_ROLES = [bi, other]
    segment = make()
    list(sync.sync())
    query(f'GRANT SELECT ON segments.vip TO "{bi}" WITH GRANT OPTION')
    query(f'SET LOCAL ROLE "{bi}"')
    query(f'GRANT SELECT ON segments.vip TO "{third}"')
    query("RESET ROLE")
    query("COMMENT ON MATERIALIZED VIEW segments.vip IS NULL")
    settings.SEGMENTS_READER_ROLES = []
    first, second = sync.sync()
    assert str(first.error).startswith(f"role {bi} keeps what it was granted: dependent")
    assert "Revoke that by hand" in str(first.error)
    assert (second.slug, second.what) == (segment.slug, ["the comment is missing"])
    assert told() == [("", [f"role {bi} is no more in SEGMENTS_READER_ROLES, and may still read"])]
    query(f'REVOKE SELECT ON segments.vip FROM "{bi}" CASCADE')
    list(sync.sync())
    assert told() == []


def test_reader__whose_role_is_gone_stops_nothing(make, settings, role, query):
    settings.SEGMENTS_READER_ROLES = [role("gone")]
    make()
    list(sync.sync())
    gone = role("gone")
    query(f'DROP OWNED BY "{gone}"')
    query(f'DROP ROLE "{gone}"')
    settings.SEGMENTS_READER_ROLES = []
    assert told() == []
    assert [entry.error for entry in sync.sync()] == []
