"""The gate: check what a definition calls and reads, in a view of it, before it is evaluated.

Creating a view evaluates nothing. Afterwards the catalog shows which functions the definition
calls, however they are spelled, and what it reads, also through other views. No other module
creates a view of a definition.
"""

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition.select import Compiled, Definition
from segments.exceptions import SegmentDefinitionError
from segments.sql.owned import STATIC_MEMBER, package_relations
from segments.sql.session import fetch_all, pinned, run_ddl
from segments.sql.statements import compose

HARMLESS = (
    "random", "random_normal", "array_sample", "array_shuffle", "gen_random_uuid", "uuidv4",
    "uuidv7", "clock_timestamp", "timeofday", "pg_sleep", "pg_sleep_for", "pg_sleep_until",
)  # fmt: skip
"""The volatile functions of Postgres without side effects: randomness, the clock and sleep."""

UNSTOPPABLE = (
    "path_distance", "path_inter", "poly_contain", "poly_contained", "poly_distance",
    "poly_overlap", "poly_same",
)  # fmt: skip
"""Functions of Postgres, by their C names, that compare all parts of one value with all parts of
another and never look for a timeout or a cancellation in the meantime."""


def create_checked_view(
    connection: BaseDatabaseWrapper, name: str, view: sql.Identifier, compiled: Compiled
) -> None:
    """Create a view of a definition with the statement of this name, which evaluates nothing.

    If the definition is more than a list of ids, this costs one more round trip. Names and
    literals are read under the settings of all definitions.

    Raises:
        SegmentDefinitionError: when the definition does more than read. The caller must roll back.
    """
    definition = compiled.definition
    with pinned(connection):
        run_ddl(connection, name, view=view, definition=compiled.as_sql())
        if definition.text is None:
            return
        offences = fetch_all(
            connection,
            compose("select_offences", offences=sql.Identifier(conf.live_schema(), "offences")),
            view=view.as_string(),
            harmless=list(HARMLESS),
            unstoppable=list(UNSTOPPABLE),
            package=package_relations(conf.schema()),
        )
    for what, name in offences:
        if what != "reads":
            raise _refused(definition, what, name)
    _check_package_reads(definition, [name for _, name in offences])


def _check_package_reads(definition: Definition, package_reads: Iterable[str]) -> None:
    """Refuse a definition that reads tables or shared views of this package.

    Other segments' refreshes change them, and so does its own: members would depend on the order
    of refreshes, and could change with each one.

    Args:
        package_reads: What its view reads of them, each as often as the query names it.

    Raises:
        SegmentDefinitionError: naming the first one.
    """
    remaining = list(package_reads)
    if definition.static_ids_of is not None:  # The wrapper reads the list once.
        own = [name for name in remaining if name.rpartition(".")[2] == STATIC_MEMBER]
        remaining = [name for name in remaining if name not in own] + own[1:]
    if remaining:
        raise _refused(definition, "reads", remaining[0])


def _refused(definition: Definition, what: str, name: str) -> SegmentDefinitionError:
    reason, hint = _explain(what, name)
    return SegmentDefinitionError(
        f"the definition {reason}", slug=definition.slug, field=definition.field, hint=hint
    )


def _explain(what: str, name: str) -> tuple[str, str]:
    """Return what a definition does wrong, and what to write instead."""
    match what:
        case "reads":
            schema = conf.schema()
            return (
                f"reads {name}, which refreshes change",
                f'Read {schema}.<slug>, the view of a segment; for "vip" it is {schema}.vip.',
            )
        case "locks":
            return "locks rows that it reads", "Remove FOR UPDATE, FOR SHARE and similar clauses."
        case "segment":
            view = f"{conf.schema()}.vip"
            return (
                f"calls {name}(), which hides which segment it reads",
                f'Read the view of that segment; for "vip" it is: SELECT user_id FROM {view}',  # noqa: S608
            )
        case "hides":
            return (
                f"calls {name}(), which hides what it reads",
                "Read the same tables in the definition itself.",
            )
        case "runs on":
            return (
                f"calls {name}(), which no timeout stops",
                "Compare points with a path or a polygon, or bounding boxes, instead of two paths "
                "or two polygons.",
            )
    return (
        f"calls {name}(), which may have side effects",
        "A definition may only read. Of the volatile functions of Postgres, it may call those for "
        "random values and the clock, and pg_sleep().",
    )
