"""The COMMENTs on views, which describe a view to people and keep values for this package."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.sql import names
from segments.sql.session import run_ddl

SIGNATURE = "[django-segments"
"""Every comment of this package ends with this, the values that it keeps, and a bracket."""


@dataclass(frozen=True)
class Label:
    """The words of a segment that the comments on its views repeat."""

    slug: str
    name: str
    description: str


def comment_live(connection: BaseDatabaseWrapper, slug: str, *fingerprints: str) -> None:
    """Comment a live view, and keep the fingerprints of its SQL in the comment."""
    words = f'Members of segment "{slug}", computed on each read.'
    comment_view(connection, names.live_view(slug), words, *fingerprints)


def comment_view(
    connection: BaseDatabaseWrapper, view: sql.Identifier, words: str, *values: str
) -> None:
    """Comment a plain view, and keep values in the comment."""
    run_ddl(connection, "comment_live_view", view=view, comment=comment_text(words, *values))


def comment_members(connection: BaseDatabaseWrapper, label: Label) -> None:
    """Comment the view of a segment's members with the segment's name and description."""
    words = f"{label.name}: {label.description}" if label.description else label.name
    comment = comment_text(f'Members of segment "{label.slug}" at its last refresh. {words}')
    view = names.members_view(label.slug)
    run_ddl(connection, "comment_members_view", view=view, comment=comment)
    comment_columns(connection, names.view_name(label.slug), {"user_id": key_comment()})


def comment_columns(
    connection: BaseDatabaseWrapper, view: str, comments: Mapping[str, str]
) -> None:
    """Comment the columns of a view in the members' schema."""
    for column, comment in comments.items():
        name = sql.Identifier(conf.schema(), view, column)
        run_ddl(connection, "comment_column", column=name, comment=sql.Literal(comment))


def key_comment() -> str:
    """Return the comment on a column of user ids."""
    return f"Key of the user ({names.user_table().as_string()}.{names.user_key_column()})"


def comment_text(words: str, *values: str) -> sql.Literal:
    """Return a comment with these words that keeps values."""
    return sql.Literal(f"{words} {' '.join([SIGNATURE, *values])}]")
