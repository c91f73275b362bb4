"""The gate: what a definition may call is checked in a view of it, before it is evaluated.

Creating a view evaluates nothing, and then Postgres itself says which functions are meant, however
they are spelled. Nothing else creates a view of a definition.
"""

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition.select import Compiled
from segments.exceptions import SegmentDefinitionError
from segments.sql.session import fetch_all, run_ddl

HARMLESS = (
    "random", "random_normal", "array_sample", "array_shuffle", "gen_random_uuid", "uuidv4",
    "uuidv7", "clock_timestamp", "timeofday", "pg_sleep", "pg_sleep_for", "pg_sleep_until",
)  # fmt: skip
"""The volatile functions of Postgres that leave nothing behind: chance, the clock and sleep."""


def create_checked_view(
    connection: BaseDatabaseWrapper, name: str, view: sql.Identifier, compiled: Compiled
) -> None:
    """Create a view of a definition by the statement of this name, which evaluates nothing.

    Costs one more round trip than the statement if somebody has written the definition.

    Raises:
        SegmentDefinitionError: when it does more than read; the caller must roll back.
    """
    run_ddl(connection, name, view=view, definition=compiled.as_sql())
    definition = compiled.definition
    if definition.text is None:
        return
    calls = fetch_all(connection, "select_calls", view=view.as_string(), harmless=list(HARMLESS))
    if calls:
        why, hint = _explained(*calls[0])
        raise SegmentDefinitionError(
            f"the definition {why}", slug=definition.slug, field=definition.field, hint=hint
        )


def _explained(what: str, name: str) -> tuple[str, str]:
    """Return what is wrong with a definition that does this, and what to write instead."""
    match what:
        case "locks":
            return "locks rows that it reads", "Leave out FOR UPDATE, FOR SHARE and the like."
        case "segment":
            view = f"{conf.schema()}.vip"
            return (
                f"calls {name}(), which hides what segment it reads",
                f'Read the view of that segment; for "vip" it is: SELECT user_id FROM {view}',  # noqa: S608
            )
        case "hides":
            return (
                f"calls {name}(), which hides what it reads",
                "Read that in the definition itself.",
            )
    return (
        f"calls {name}(), which may leave something behind",
        "A definition reads. Of the functions that Postgres calls volatile, it may call those of "
        "chance and of the clock, and pg_sleep().",
    )
