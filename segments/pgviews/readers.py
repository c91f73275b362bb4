"""The roles of `SEGMENTS_READER_ROLES`, which may read the members of every segment."""

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.sql.session import fetch_all, lock_shared, run_ddl


def ungranted(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[tuple[str, bool]]:
    """Return the roles of `SEGMENTS_READER_ROLES` that cannot read the view.

    Each comes with whether it may already use the schema. Roles that do not exist are left out.
    """
    roles = conf.reader_roles()
    if not roles:
        return []
    rows = fetch_all(connection, "select_ungranted", roles=roles, view=view.as_string())
    return [(role, may_use) for role, may_use in rows]


def missing_roles(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the roles of `SEGMENTS_READER_ROLES` that do not exist."""
    rows = fetch_all(connection, "select_missing_roles", roles=conf.reader_roles())
    return [role for (role,) in rows]


def grant(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[str]:
    """Let the roles of `SEGMENTS_READER_ROLES` read the view; return the new readers."""
    roles = ungranted(connection, view)
    for name, may_use in roles:
        role = sql.Identifier(name)
        if not may_use:
            lock_shared(connection)
            run_ddl(connection, "grant_usage", schema=sql.Identifier(conf.schema()), role=role)
        run_ddl(connection, "grant_select", view=view, role=role)
    return [name for name, _ in roles]
