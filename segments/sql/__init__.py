"""All that this package says to Postgres: one statement a file, `<verb>_<object>.sql`."""

from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

from psycopg import sql


@cache
def text(file: str) -> LiteralString:
    """Return the statement in `<file>.sql`, without the comment that it starts with."""
    lines = files(__name__).joinpath(f"{file}.sql").read_text(encoding="utf-8").splitlines()
    while lines and lines[0].startswith("--"):
        del lines[0]
    return "\n".join(lines)


def statement(file: str, /, **parts: sql.Composable) -> Any:
    """Return the statement in `<file>.sql` with identifiers and literals put in for its braces.

    Typed `Any`: Django's cursors take composed statements, which their annotations do not say.
    """
    return sql.SQL(text(file)).format(**parts)
