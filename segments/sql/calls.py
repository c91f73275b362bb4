"""What a definition may call: looked up in the view that is made of it, before it is evaluated.

To make a view evaluates nothing, and then Postgres itself says which functions are meant, whatever
the spelling. Nothing else makes a view of a definition.
"""

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentDefinitionError
from segments.sql.definition import Compiled
from segments.sql.session import execute, rows

HARMLESS = (
    "random", "random_normal", "array_sample", "array_shuffle", "gen_random_uuid", "uuidv4",
    "uuidv7", "clock_timestamp", "timeofday", "pg_sleep", "pg_sleep_for", "pg_sleep_until",
)  # fmt: skip
"""The volatile functions of Postgres that leave nothing behind: of chance, of the clock, sleep."""


def make_view(
    connection: BaseDatabaseWrapper, file: str, view: sql.Identifier, compiled: Compiled
) -> None:
    """Make a view of a definition by the statement in `<file>.sql`, which evaluates nothing.

    Costs a round trip more than the statement, where somebody has written the definition.

    Raises:
        SegmentDefinitionError: when it does more than read; the caller must roll back.
    """
    execute(connection, file, view=view, definition=compiled.as_sql())
    if compiled.source.definition is None:
        return
    found = rows(
        connection,
        "select_calls",
        view=view.as_string(),
        schema=conf.schema(),
        live_schema=conf.live_schema(),
        harmless=list(HARMLESS),
    )
    if found:
        why, hint = _explained(*found[0])
        source = compiled.source
        raise SegmentDefinitionError(
            f"the definition {why}", slug=source.slug, field=source.field, hint=hint
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
