"""What definitions may read: the tables, views and columns, for an editor that completes names."""

from segments import conf
from segments.sql import session
from segments.sql.owned import TABLES, VIEWS
from segments.sql.session import as_owner, fetch_all, fetch_value

STANDARD_SCHEMA = "information_schema"
"""The schema of views over the catalog, which every database has."""

MAX_RELATIONS = 5_000
"""How many tables and views are listed."""


def readable_columns() -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """Return the columns by table and schema, and the schemas whose names need no qualifier.

    These are what the role that evaluates definitions may read, without the tables of this package
    and its views over all segments, which definitions may not read. Costs two queries on the
    catalog, in a transaction that is rolled back.

    Raises:
        SegmentExecutionError: when Postgres refuses.
    """
    with (
        session.transaction(conf.exec_connection(), "", read_only=True) as connection,
        session.pinned(connection),
        as_owner(connection),
    ):
        hidden = [*TABLES, *(view.name for view in VIEWS)]
        rows = fetch_all(
            connection,
            "select_readable",
            hidden=hidden,
            standard_schema=STANDARD_SCHEMA,
            limit=MAX_RELATIONS,
        )
        path: list[str] = fetch_value(connection, "select_search_path")
    schemas: dict[str, dict[str, list[str]]] = {}
    for schema, relation, columns in rows:
        schemas.setdefault(schema, {})[relation] = columns
    return schemas, path
