"""What the text of a definition means now, compared with what its live view reads.

Text names objects. A live view is bound to the objects that had these names when it was created,
and follows them when they are renamed. A trial view of the same text shows what the names mean
now. It is rolled back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.definition.gate import create_checked_view
from segments.definition.select import Compiled
from segments.sql import names
from segments.sql.owned import STATIC_MEMBER
from segments.sql.session import fetch_all, fetch_value


@dataclass(frozen=True)
class Difference:
    """A difference between what a text is bound to now and what its live view reads.

    Attributes:
        words: The difference in meaning, in words; empty if there is none, as after a restored
            dump.
    """

    words: str = ""


def difference(
    connection: BaseDatabaseWrapper, slug: str, compiled: Compiled
) -> Difference | None:
    """Return how a live view differs from a new view of its text, or None if it does not.

    Creates a view in a savepoint that is rolled back, and evaluates nothing. Takes AccessShare on
    what the text names.

    Raises:
        SegmentDefinitionError: when the text now does more than read.
    """
    live = names.live_view(slug).as_string()
    with _trial(connection, compiled) as trial:
        if fetch_value(connection, "select_same_binding", live=live, trial=trial):
            return None
        bound, named = fetch_all(connection, "select_bindings", live=live, trial=trial)
    # The parameters of a manager method may be other labels each time.
    return Difference(_words(bound, named, labels=compiled.definition.stable_text is None))


def binding(connection: BaseDatabaseWrapper, compiled: Compiled) -> str:
    """Return a digest of what a new view of a definition reads; see `difference`."""
    with _trial(connection, compiled) as trial:
        return str(fetch_value(connection, "select_binding", live=trial, trial=trial))


@contextmanager
def _trial(connection: BaseDatabaseWrapper, compiled: Compiled) -> Iterator[str]:
    """Create a view of a definition, and roll it back in the end."""
    name = names.trial_name(connection, compiled.definition.slug, "binding")
    trial = sql.Identifier(conf.live_schema(), name)
    with transaction.atomic(using=connection.alias):
        create_checked_view(connection, "replace_live_view", trial, compiled)
        yield trial.as_string()
        transaction.set_rollback(True, using=connection.alias)


def _words(bound: Any, named: Any, labels: bool) -> str:
    """Return in words what a text names now, and what its live view is bound to.

    Args:
        bound, named: The rows of `select_bindings` for the live view and for the text.
        labels: Whether to compare labels of enums.
    """
    old_shape, old_labels, old_objects, old_sql = bound
    new_shape, new_labels, new_objects, _ = named
    if _has_list(old_objects) != _has_list(new_objects):
        return ""  # The list of ids was emptied, or is new, which the next refresh takes over.
    if (old_shape, old_objects) == (new_shape, new_objects) and (
        not labels or old_labels == new_labels
    ):
        return ""
    added = ", ".join(name for name in new_objects if name not in old_objects)
    removed = ", ".join(name for name in old_objects if name not in new_objects)
    if added or removed:
        return (
            f"its text means something else by now: it reads {added or 'nothing else'}, "
            f"and the view reads {removed or 'the rest'}"
        )
    return f"its text means something else by now; the view still reads:\n{old_sql.strip()}"


def _has_list(objects: list[str]) -> bool:
    return any(STATIC_MEMBER in name for name in objects)
