"""The roles of `SEGMENTS_READER_ROLES`; tests/sql/test_views.py has what a sync grants them."""

import pytest

from segments import sync


@pytest.mark.slow
def test_reader__taken_out_of_the_setting_reads_until_a_revoke(make, settings, role, query):
    """A sync only grants; docs/security.md has the statements that revoke."""
    bi = role("bi")
    settings.SEGMENTS_READER_ROLES = [bi]
    make()
    list(sync.sync())
    ask = "SELECT has_table_privilege(%s, 'segments.vip', 'SELECT')"
    settings.SEGMENTS_READER_ROLES = []
    assert sync.check() == []
    assert [result.error for result in sync.sync()] == []
    assert query(ask, bi) == [(True,)]
    query(f'REVOKE SELECT ON ALL TABLES IN SCHEMA segments FROM "{bi}"')
    list(sync.sync())
    assert query(ask, bi) == [(False,)]
