"""Names: the views of a slug, and the table and key of the user model."""

import re
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentDefinitionError
from segments.sql.owned import RESERVED_SLUGS

MAX_BYTES = 63
"""Postgres cuts longer names and only notices it (NAMEDATALEN - 1)."""

INDEX_NAME = re.compile(r"_idx\d*$")
"""Postgres names the views' unique indexes like this, and they share one namespace with views."""

INTEGERS = {"smallint": 21, "integer": 23, "bigint": 20, "serial": 23, "bigserial": 20}
STRINGS = {"text": 25, "varchar": 1043, "char": 1042}
UUID_OID = 2950


def check_slug(slug: str) -> None:
    """Raise SegmentDefinitionError unless the slug can name a segment and its views."""

    def refuse(why: str) -> SegmentDefinitionError:
        return SegmentDefinitionError(why, slug=slug, field="slug")

    if not re.fullmatch(r"[a-z][a-z0-9_-]*", slug):
        raise refuse(
            "a slug starts with a letter a-z and goes on with a-z, digits, hyphens and underscores"
        )
    if len(slug) > MAX_BYTES:
        raise refuse(f"a slug has at most {MAX_BYTES} characters, this one has {len(slug)}")
    if slug in RESERVED_SLUGS:
        raise refuse("this slug is reserved: a view over all segments has that name")
    if INDEX_NAME.search(view_name(slug)):
        raise refuse('this slug is reserved: the names of indexes end in "_idx"')


def view_name(slug: str) -> str:
    """Return the name of the segment's views, without their schemas."""
    return slug.replace("-", "_")


def shown(slug: str) -> str:
    """Return a slug without characters that Postgres, or a terminal, may not take.

    No slug has such characters, so what is returned for them is no slug either.
    """
    return slug if slug.isprintable() else ascii(slug)[1:-1]


def members_view(slug: str) -> sql.Identifier:
    """Return the materialized view of the segment's members."""
    return sql.Identifier(conf.schema(), view_name(slug))


def live_view(slug: str) -> sql.Identifier:
    """Return the view that computes the segment's members on each read."""
    return sql.Identifier(conf.live_schema(), view_name(slug))


def trial_name(connection: BaseDatabaseWrapper, slug: str, purpose: str) -> str:
    """Return a name for a view that is rolled back, which nothing else can have.

    No slug contains a space, and no other session has this process id.
    """
    raw: Any = connection.connection
    return f"{view_name(slug)[:40]} {purpose} {raw.info.backend_pid}"


def table(model: type[models.Model]) -> sql.Identifier:
    """Return the model's table; `db_table` may hold `"schema"."table"`, quoted like that."""
    return sql.Identifier(*model._meta.db_table.strip('"').split('"."'))


def user_table() -> sql.Identifier:
    """Return the table of the user model that holds its primary key."""
    return table(user_key_field().model)


def user_key_field() -> "models.Field[Any, Any]":
    """Return the primary key field of the user model."""
    return get_user_model()._meta.pk


def user_key_column() -> str:
    """Return the column of the user model's primary key."""
    return str(user_key_field().column)


def key_type(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL type of user ids in views.

    Integers of any size are bigint and strings are text, so that a key may grow without any view
    having to be rebuilt (the type of a view's column cannot change).
    """
    declared = user_key_field().rel_db_type(connection) or ""
    base = declared.partition("(")[0]
    if base in INTEGERS:
        return "bigint"
    return "text" if base in STRINGS else declared


def accepted_types(connection: BaseDatabaseWrapper) -> set[int] | None:
    """Return the OIDs of the types that user ids may have in a definition.

    None means that Postgres decides.
    """
    match key_type(connection):
        case "bigint":
            return set(INTEGERS.values())
        case "text":
            return set(STRINGS.values())
        case "uuid":
            return {UUID_OID}
        case _:
            return None
