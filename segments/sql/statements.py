"""The statements of this package, by name.

Everything this package says to a database is in the `.sql` files beside this module: one file a
topic, one section a statement. A section begins with `-- name: create_members_index`; the comment
below that says when the statement runs and what it locks.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from psycopg import sql

from segments.sql import names

NAME = re.compile(r"^-- name: (\w+)\n((?:--.*\n)*)", re.MULTILINE)
"""How a section begins: its name, and the comment on it."""

PART = re.compile(r"^ *-- part: (\w+)$", re.MULTILINE)
"""A line that stands for the text of another section."""


def sql_text(name: str) -> LiteralString:
    """Return the statement of this name, without the comment on it."""
    return _statements()[name]


def compose(name: str, /, **parts: sql.Composable) -> Any:
    """Return the statement of this name with identifiers and literals in place of its braces.

    The result is typed `Any` because Django's cursors accept composed statements, but their
    annotations do not say so.
    """
    return sql.SQL(sql_text(name)).format(**parts)


def selected(queryset: "models.QuerySet[Any, Any]") -> sql.SQL:
    """Return the SELECT of a queryset of users, to be part of a statement that has parameters."""
    alias = queryset.db
    operations: Any = connections[alias].ops
    try:
        text = operations.compose_sql(
            *queryset.query.get_compiler(using=alias, elide_empty=False).as_sql()
        )
    except EmptyResultSet:  # Django elides an empty HAVING all the same.
        text = nobody()
    return sql.SQL(text.replace("%", "%%"))


def nobody() -> str:
    """Return a SELECT of the keys of no users."""
    query: sql.Composed = compose(
        "select_nobody", key=sql.Identifier(names.user_key_column()), users=names.user_table()
    )
    return query.as_string()


@cache
def _statements() -> dict[str, LiteralString]:
    texts: dict[str, str] = {}
    for file in files("segments.sql").iterdir():
        if file.name.endswith(".sql"):
            _, *sections = NAME.split(file.read_text(encoding="utf-8"))
            for name, text in zip(sections[::3], sections[2::3], strict=True):
                texts[name] = text.strip("\n")

    def expand(text: str) -> str:
        return PART.sub(lambda part: expand(texts[part[1]]), text)

    return {name: expand(text) for name, text in texts.items()}
