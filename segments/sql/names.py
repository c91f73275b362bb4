"""Names: from a slug to the view it names, and from a model to its table and key."""

import re
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentDefinitionError

MAX_BYTES = 63
"""Postgres cuts longer names with no more than a notice (NAMEDATALEN - 1)."""

RESERVED = {"catalog", "membership"}
"""The views over all segments have these names."""

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
    if slug in RESERVED:
        raise refuse("this slug is reserved: a view over all segments has that name")
    if INDEX_NAME.search(view_name(slug)):
        raise refuse('this slug is reserved: names that end in "_idx" are those of indexes')


def view_name(slug: str) -> str:
    """Return the name of the segment's views, without their schemas."""
    return slug.replace("-", "_")


def members_view(slug: str) -> sql.Identifier:
    """Return the materialized view of the segment's members."""
    return sql.Identifier(conf.schema(), view_name(slug))


def live_view(slug: str) -> sql.Identifier:
    """Return the view that computes the segment's members on each read."""
    return sql.Identifier(conf.live_schema(), view_name(slug))


def table(model: type[models.Model]) -> sql.Identifier:
    """Return the model's table; `db_table` may hold `"schema"."table"`, quoted like that."""
    return sql.Identifier(*model._meta.db_table.strip('"').split('"."'))


def user_table() -> sql.Identifier:
    """Return the table of the user model that holds its primary key."""
    return table(user_key().model)


def user_key() -> "models.Field[Any, Any]":
    """Return the primary key field of the user model."""
    return get_user_model()._meta.pk


def user_key_column() -> str:
    """Return the column of the user model's primary key."""
    return str(user_key().column)


def key_type(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL type that views give user ids in.

    Integers of any size are bigint and strings are text, so that a key may grow without any view
    having to be rebuilt (the type of a view's column cannot change).
    """
    declared = user_key().rel_db_type(connection) or ""
    base = declared.partition("(")[0]
    if base in INTEGERS:
        return "bigint"
    return "text" if base in STRINGS else declared


def accepted_types(connection: BaseDatabaseWrapper) -> set[int] | None:
    """Return the type OIDs in which a definition may give user ids; None: Postgres decides."""
    match key_type(connection):
        case "bigint":
            return set(INTEGERS.values())
        case "text":
            return set(STRINGS.values())
        case "uuid":
            return {UUID_OID}
        case _:
            return None
