"""What an editor of definitions completes."""

import pytest

from segments import conf
from segments.roles.readable import readable_columns
from tests.conftest import USERS

pytestmark = pytest.mark.django_db


@pytest.mark.roles
def test_readable__has_tables_and_segments(users, make):
    make("vip")
    schema, path = readable_columns()
    assert "public" in path
    assert {"id", "username"} <= set(schema["public"][USERS])
    assert schema[conf.schema()] == {"vip": ["user_id"]}


@pytest.mark.roles
def test_readable__leaves_out_what_definitions_may_not_read(users, make):
    make("vip")
    schema, _path = readable_columns()
    assert conf.live_schema() not in schema
    assert not {"pg_catalog", "information_schema"} & set(schema)
    assert not [table for table in schema["public"] if table.startswith("segments_")]


def test_readable__is_what_the_owner_may_read(users, query, role, settings):
    reader = role("author")
    query(f'GRANT "{reader}" TO CURRENT_USER')
    query(f'GRANT SELECT (id) ON {USERS} TO "{reader}"')
    query(f'GRANT USAGE ON SCHEMA public, {conf.live_schema()} TO "{reader}"')
    settings.SEGMENTS_EXEC_ROLE = reader
    query(f'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {conf.live_schema()} TO "{reader}"')
    schema, _path = readable_columns()
    assert schema["public"][USERS] == ["id"]
    assert "shop_order" not in schema["public"]
