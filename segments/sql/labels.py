"""What views say of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.sql import names
from segments.sql.session import execute

MARK = "[django-segments"
"""Every comment of ours ends with this, a space and what it needs, and a bracket."""


@dataclass(frozen=True)
class Label:
    """How a segment presents itself to those who look at its views."""

    slug: str
    name: str
    description: str


def comment_live(connection: BaseDatabaseWrapper, slug: str, *prints: str) -> None:
    """Say on the live view what it is, and keep the fingerprint and shape of its SQL there."""
    what = f'Members of segment "{slug}", computed on each read.'
    comment_live_view(connection, names.live_view(slug), what, *prints)


def comment_live_view(
    connection: BaseDatabaseWrapper, view: sql.Identifier, what: str, *kept: str
) -> None:
    """Say on a plain view what it is, and keep what is to be read back from there."""
    execute(connection, "comment_live_view", view=view, comment=about(what, *kept))


def comment_members(connection: BaseDatabaseWrapper, label: Label) -> None:
    """Say on the members what they are, in the words of the segment."""
    view = names.members_view(label.slug)
    words = f"{label.name}: {label.description}" if label.description else label.name
    execute(
        connection,
        "comment_members_view",
        view=view,
        comment=about(f'Members of segment "{label.slug}" as of its last refresh. {words}'),
    )
    comment_columns(connection, names.view_name(label.slug), {"user_id": about_key()})


def comment_columns(
    connection: BaseDatabaseWrapper, view: str, comments: Mapping[str, str]
) -> None:
    """Say what the columns of a view in the members' schema are."""
    for column, comment in comments.items():
        name = sql.Identifier(conf.schema(), view, column)
        execute(connection, "comment_column", column=name, comment=sql.Literal(comment))


def about_key() -> str:
    """Return what a column of user ids says of itself."""
    return f"Key of the user ({names.user_table().as_string()}.{names.user_key_column()})"


def about(what: str, *kept: str) -> sql.Literal:
    """Return a comment that says what a view is, and keeps what is to be read back from it."""
    return sql.Literal(f"{what} {' '.join([MARK, *kept])}]")
