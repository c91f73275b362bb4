"""Which column of a definition holds user ids: its origin decides first, its name second.

Postgres reports the table and column that each column of a result comes from, and the catalog
shows what that column refers to. Expressions and set operations have no origin.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from segments.exceptions import SegmentDefinitionError
from segments.sql import names
from segments.sql.session import fetch_all

Refuse = Callable[[str, str], SegmentDefinitionError]
"""Returns the error for a definition that is refused, from the reason and a hint."""

HINT = "Select only the one that holds user ids."


@dataclass(frozen=True)
class Column:
    """A column of a definition's result, as Postgres describes it.

    Attributes:
        name: Its name in the result.
        type: The OID of its type.
        table: The OID of the table or view that it comes from; zero if there is none.
        number: The number of the column in there.
        position: Its position in the result, from 1.
    """

    name: str
    type: int
    table: int
    number: int
    position: int


@dataclass(frozen=True)
class Origin:
    """What the catalog knows of a column of a table or view.

    Attributes:
        table, column: Their names.
        certain: Whether every value is known to be the key of an existing user.
        proved: Whether the values are keys of users, as those of a foreign key to them are.
        related: Whether they are keys of what the key of the users itself refers to.
        of_users: Whether the table is that of the users.
        elsewhere: If the column leads to another key: what it is itself (`key`, `unique` or
            `reference`), and the table and column of that key. Otherwise empty.
    """

    table: str
    column: str
    certain: bool
    proved: bool
    related: bool
    of_users: bool
    elsewhere: list[str]

    @property
    def disproved(self) -> bool:
        """Whether the values are known to be keys of something else."""
        return bool(self.elsewhere) and not (self.proved or self.related)

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class IdColumn:
    """The column of a definition that user ids are taken from.

    Attributes:
        column: The column.
        certain: Whether every value is known to be the key of an existing user.
        ids_from: Where the ids come from, for people: `shop_order.customer_id`. It says so if
            only the name of the column decided.
    """

    column: Column
    certain: bool
    ids_from: str


def id_column(
    connection: BaseDatabaseWrapper, columns: Sequence[Column], refused: Refuse
) -> IdColumn:
    """Return the column that user ids are taken from. Costs one query, or two.

    A column that is known to hold users is taken under any name. Of several, the one with the name
    of the user key comes first, then `user_id`. If none is known to hold users, the same names
    decide, then the only column, but a column that is known to hold something else is never taken.

    Raises:
        SegmentDefinitionError: when there is no such column, or the author must choose.
    """
    types = names.accepted_types(connection)
    fitting = [c for c in columns if types is None or c.type in types]
    candidates = [(c.table, c.number) for c in fitting if c.table]
    known = _certain_origin(connection, candidates) or origins(connection, candidates)
    origin_of = {c: known.get((c.table, c.number)) for c in columns}
    possible = [c for c, origin in origin_of.items() if not (origin and origin.disproved)]
    named = [c for c in possible if c.name in _id_names()]
    known_columns = [(c, origin) for c, origin in origin_of.items() if origin]
    proved = [c for c, origin in known_columns if origin.proved] or [
        c for c, origin in known_columns if origin.related
    ]
    if proved:
        rivals = [c for c in named if c in fitting and (not c.table or c.name == "user_id")]
        column = _choose(proved, rivals, refused)
        origin = known[column.table, column.number]
        return IdColumn(column, origin.certain, str(origin))
    named = [c for c in named if c in fitting] or named
    if len({c.name for c in named}) > 1:
        raise refused(
            f"the definition has {_listed(named)}, and neither is known to hold user ids", HINT
        )
    if named:
        column, reason = _only(named, refused), "by its name"
    elif len(columns) == len(possible) == 1 and not _is_other_of_users(origin_of[columns[0]]):
        column, reason = columns[0], "as the only column"
    else:
        raise _unusable(connection, origin_of, refused)
    return IdColumn(column, False, f"{origin_of[column] or _quoted(column.name)}, {reason}")


def origins(
    connection: BaseDatabaseWrapper, columns: Iterable[tuple[int, int | None]]
) -> dict[tuple[int, int], Origin]:
    """Return what the catalog knows of columns, by the OIDs of their tables and their numbers.

    Args:
        columns: The same; the number None stands for all columns of the table.
    """
    pairs = list(dict.fromkeys(columns))
    if not pairs:
        return {}
    rows = fetch_all(
        connection,
        "select_origins",
        users=names.user_table().as_string(),
        key=names.user_key_column(),
        tables=[table for table, _ in pairs],
        numbers=[number for _, number in pairs],
    )
    return {(table, number): Origin(*values) for table, number, *values in rows}


def _certain_origin(
    connection: BaseDatabaseWrapper, columns: list[tuple[int, int]]
) -> dict[tuple[int, int], Origin]:
    """Return the origin of the only column, if that is a simple one; see `origins`."""
    if len(columns) != 1:
        return {}
    ((table, number),) = columns
    rows = fetch_all(
        connection,
        "select_certain_origin",
        users=names.user_table().as_string(),
        key=names.user_key_column(),
        table=table,
        number=number,
    )
    return {(row[0], row[1]): Origin(*row[2:]) for row in rows}


def _choose(proved: list[Column], rivals: list[Column], refused: Refuse) -> Column:
    """Return the one column to take of those that are known to hold users.

    Args:
        rivals: Columns that are only called like user ids. An author who names an expression like
            that means it; a column that is called `id` in its table may be the key of anything.
    """
    for name in _id_names():
        if named := [c for c in proved if c.name == name]:
            return _only(named, refused)
    refer = "refers" if len(proved) == 1 else "refer"
    if rivals := [c for c in rivals if c not in proved]:
        raise refused(
            f"{_listed(proved)} {refer} to users, but {_quoted(rivals[0].name)} has the name of "
            "the user ids",
            HINT,
        )
    if len({c.name for c in proved}) > 1:
        key = _quoted(names.user_key_column())
        raise refused(f"{_listed(proved)} {refer} to users", f"{HINT[:-1]}, or name it: AS {key}")
    return _only(proved, refused)


def _only(columns: list[Column], refused: Refuse) -> Column:
    """Return the only column of a name; refuse several."""
    if len(columns) == 1:
        return columns[0]
    count = "two" if len(columns) == 2 else str(len(columns))
    *first, last = (str(c.position) for c in columns)
    raise refused(
        f"{count} columns are called {_quoted(columns[0].name)}: columns {', '.join(first)} and "
        f"{last}",
        HINT,
    )


def _unusable(
    connection: BaseDatabaseWrapper, origin_of: dict[Column, Origin | None], refused: Refuse
) -> SegmentDefinitionError:
    """Return the error for a definition none of whose columns can be taken for user ids."""
    columns, key = [*origin_of], _quoted(names.user_key_column())
    for column in sorted(columns, key=lambda c: c.name not in _id_names()):
        origin = origin_of[column]
        if origin is None or not (origin.disproved or len(columns) == 1):
            continue
        reason = _what_it_is(column, origin)
        if origin.of_users:
            return refused(f"{reason}; select {key}", "")
        known = origins(connection, [(column.table, None)]).values()
        if others := [_quoted(other.column) for other in known if other.proved]:
            refer = "refers" if len(others) == 1 else "refer"
            choice = " or ".join(others)
            return refused(f"{reason}; select {choice}, which {refer} to them", "")
        return refused(
            reason,
            f"Join the users, and select their {key}. If this column does hold users, add a "
            "foreign key to them.",
        )
    present = ", ".join(_quoted(c.name) for c in columns)
    return refused(
        f'the definition has no column {key} or "user_id" to take user ids from; it has {present}',
        f"Name the column of user ids: SELECT ... AS {key}",
    )


def _what_it_is(column: Column, origin: Origin) -> str:
    """Return why a column is none of user ids: `"id" is the key of shop_order, not of users`."""
    name = _quoted(column.name)
    if column.name != origin.column:
        name += f" ({origin})"
    match origin.elsewhere:
        case ["key", table, _]:
            return f"{name} is the key of {table}, not of users"
        case ["unique", table, _]:
            return f"{name} is a unique column of {table}, not the key of users"
        case ["reference", table, target]:
            return f"{name} refers to {table}.{target}, not to the key of users"
    return f"{name} is a column of {origin.table}, and not its key"


def _id_names() -> tuple[str, ...]:
    """Return the names of columns that say that they hold user ids, the first one first."""
    return tuple(dict.fromkeys((names.user_key_column(), "user_id")))


def _is_other_of_users(origin: Origin | None) -> bool:
    """Return whether a column belongs to the users, and is not known to refer to any of them."""
    return origin is not None and origin.of_users


def _quoted(name: str) -> str:
    return f'"{name}"'


def _listed(columns: Sequence[Column]) -> str:
    """Return the names of columns in quotes, as a list in words."""
    *first, last = dict.fromkeys(_quoted(c.name) for c in columns)
    return f"{', '.join(first)} and {last}" if first else last
