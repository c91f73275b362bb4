"""A restricted application, secrets to protect, and a fingerprint of everything."""

from contextlib import contextmanager

import pytest

from segments.models import Segment
from tests.conftest import USERS
from tests.gate.corpus import OBJECTS
from tests.roles.test_grants import restricted, roles  # noqa: F401

ROLES = "SELECT oid FROM pg_roles WHERE rolname ~ '^(exec|app|bi) '"
"""The roles of this test; other workers create theirs on the same server."""

CATALOG = {
    "functions": "SELECT p::text FROM pg_proc p WHERE p.oid >= 16384",
    "roles": f"SELECT a::text FROM pg_authid a WHERE rolsuper OR oid IN ({ROLES})",
    "members": f"SELECT m::text FROM pg_auth_members m WHERE member IN ({ROLES})",
    "role settings": f"SELECT s::text FROM pg_db_role_setting s WHERE setrole IN ({ROLES})",
    "schemas": "SELECT concat_ws(' ', nspname, nspowner, nspacl) FROM pg_namespace "
    "WHERE nspname !~ '^pg_(toast_)?temp'",
    "default rights": "SELECT a::text FROM pg_default_acl a",
    "large objects": "SELECT m::text FROM pg_largeobject_metadata m",
    "their content": "SELECT loid::text || encode(data, 'hex') FROM pg_largeobject",
    "sequences": "SELECT s::text FROM pg_sequences s WHERE sequencename !~ '^segments'",
    "casts and operators": "SELECT oid::text FROM pg_cast UNION ALL "
    "SELECT oid::text FROM pg_operator",
    "settings": "SELECT name || setting FROM pg_settings WHERE name NOT LIKE 'transaction%'",
    "roles of the session": "SELECT current_user || session_user",
    "session locks": "SELECT mode FROM pg_locks "
    "WHERE locktype = 'advisory' AND objid = 4242 AND pid = pg_backend_pid()",
    "temporary objects": "SELECT relname::text FROM pg_class "
    "WHERE relnamespace = pg_my_temp_schema()",
    "cursors": "SELECT name FROM pg_cursors WHERE name <> ''",
    "prepared statements": "SELECT name FROM pg_prepared_statements",
    "channels": "SELECT pg_listening_channels()",
}
"""What no definition may change, each with a query that shows it."""

RELATIONS = (
    "SELECT concat_ws(' ', relname, relkind, relowner, relnatts, relacl) FROM pg_class "
    "WHERE relnamespace NOT IN ('segments'::regnamespace, 'segments_live'::regnamespace) "
    "AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast_)?temp')"
)
OWN = (
    "SELECT concat_ws(' ', relnamespace, relname, relkind) FROM pg_class "
    "WHERE relnamespace IN ('segments'::regnamespace, 'segments_live'::regnamespace)"
)
"""The views and functions of segments; only an accepted definition changes them."""


@pytest.fixture
def as_superuser(restricted, query):  # noqa: F811
    """Leave the application's role for a moment; no definition runs meanwhile."""

    @contextmanager
    def out():
        query("RESET SESSION AUTHORIZATION")
        yield
        query(f'SET SESSION AUTHORIZATION "{restricted[1]}"')

    return out


@pytest.fixture
def vault(as_superuser, restricted, query):  # noqa: F811
    """Tables that the role may not read, and objects that it might write to."""
    role, app, _ = restricted
    with as_superuser():
        for statement in (
            f"UPDATE {USERS} SET password = 'hash of ' || username",
            "CREATE TABLE vault (id bigint, secret text)",
            f"INSERT INTO vault SELECT id, '4242' FROM {USERS}",
            "CREATE TABLE tenants (id bigint, tenant text)",
            f"INSERT INTO tenants SELECT id, CASE WHEN username < 'u5' THEN 'a' END FROM {USERS}",
            "ALTER TABLE tenants ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY own ON tenants USING (tenant = 'a')",
            f'GRANT SELECT ON tenants TO "{role}"',
            f'GRANT SELECT ON vault, tenants TO "{app}"',
            "CREATE SEQUENCE calls",
            f'GRANT ALL ON SEQUENCE calls, shop_order_id_seq TO "{app}"',
            "SELECT lo_from_bytea(424242, 'secret')",
            f'ALTER LARGE OBJECT 424242 OWNER TO "{app}"',
            *OBJECTS,
        ):
            query(statement)
    return restricted


@pytest.fixture
def look(as_superuser, query):
    """Return a fingerprint of the database and the session, by topic."""

    def fingerprint():
        before = {
            name: sorted(row[0] or "" for row in query(CATALOG[name].replace("%", "%%")))
            for name in ("roles of the session", "settings")
        }
        with as_superuser():
            topics = CATALOG | {"relations": RELATIONS, "own": OWN}
            tables = query(
                "SELECT oid::regclass::text FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
            topics |= {table: f"SELECT t::text FROM {table} t" for (table,) in tables}
            found = query(
                " UNION ALL ".join(
                    f"SELECT '{name}', md5(string_agg(w, ',' ORDER BY w)) FROM ({sql}) q (w)"
                    for name, sql in topics.items()
                    if name not in before
                )
            )
        return dict(found) | before

    return fingerprint


@pytest.fixture
def vip(vault):
    """A segment that all users are in."""
    return Segment.objects.get(slug="vip")
