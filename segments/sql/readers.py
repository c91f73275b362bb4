"""Readers: the roles of `SEGMENTS_READER_ROLES`, and those that were among them before.

The comment on the members' schema keeps who was given something, since GRANTs do not tell who gave
them: what others have granted stays.
"""

import re
from urllib.parse import quote, unquote

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from segments import conf
from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.sql.labels import MARK
from segments.sql.session import execute, lock_base, rows, value

KEPT = re.compile(r" readers=(\S+)(?= [0-9a-f]+\]$)")
"""How the comment on the schema names them, before the fingerprint that it ends with."""


def ungranted(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[tuple[str, bool]]:
    """Return the roles of `SEGMENTS_READER_ROLES` that cannot read the view.

    Each with whether it may use the schema already. Those that do not exist are left out.
    """
    roles = conf.reader_roles()
    if not roles:
        return []
    asked = {"roles": roles, "schema": conf.schema(), "view": view.as_string()}
    return [(role, may_use) for role, may_use in rows(connection, "select_ungranted", **asked)]


def missing_roles(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the roles of `SEGMENTS_READER_ROLES` that do not exist."""
    found = rows(connection, "select_missing_roles", roles=conf.reader_roles())
    return [role for (role,) in found]


def grant(connection: BaseDatabaseWrapper, view: sql.Identifier) -> list[str]:
    """Let the roles of `SEGMENTS_READER_ROLES` read the view; return those that could not."""
    roles = ungranted(connection, view)
    for name, may_use in roles:
        role = sql.Identifier(name)
        if not may_use:
            lock_base(connection)
            execute(connection, "grant_usage", schema=sql.Identifier(conf.schema()), role=role)
            _keep(connection, name)
        execute(connection, "grant_select", view=view, role=role)
    return [name for name, _ in roles]


def former(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the roles that were readers, are no more, and may still read.

    Not those to which `segments_grants --reader` has given the same in a way of its own.
    """
    return list(_read_by_former(connection))


def revoke_former(connection: BaseDatabaseWrapper) -> list[SegmentError]:
    """Take from former readers what they were given; return why that could not be done of some."""
    schema, errors = sql.Identifier(conf.schema()), list[SegmentError]()
    lock_base(connection)
    for name, views in _read_by_former(connection).items():
        role = sql.Identifier(name)
        try:
            with translated(SegmentExecutionError), transaction.atomic(using=connection.alias):
                for view in views:
                    read = sql.Identifier(conf.schema(), view)
                    execute(connection, "revoke_select", view=read, role=role)
                execute(connection, "revoke_usage", schema=schema, role=role)
        except SegmentError as error:
            errors.append(
                SegmentExecutionError(
                    f"role {name} keeps what it was granted: {error.message}",
                    hint="Revoke that by hand, and what it has granted to others.",
                )
            )
    return errors


def kept(connection: BaseDatabaseWrapper) -> list[str]:
    """Return what the comment on the schema is to keep: the readers of now, and of before."""
    return _words(sorted({*conf.reader_roles(), *former(connection)}))


def _read_by_former(connection: BaseDatabaseWrapper) -> dict[str, list[str]]:
    """Return the views that former readers may still read, by role."""
    names = sorted(set(_kept(_comment(connection))) - set(conf.reader_roles()))
    if not names:
        return {}
    schemas = {"schema": conf.schema(), "live_schema": conf.live_schema()}
    found = rows(connection, "select_former_readers", roles=names, mark=MARK, **schemas)
    return dict(found)


def _keep(connection: BaseDatabaseWrapper, role: str) -> None:
    """Add a role to those that the comment on the schema names."""
    comment = _comment(connection)
    names = sorted({*_kept(comment), role})
    bare, _, fingerprint = KEPT.sub("", comment).rpartition(" ")
    if not bare:
        return  # There is no comment yet, and whoever writes it names all.
    words = " ".join([bare, *_words(names), fingerprint])
    schema = sql.Identifier(conf.schema())
    execute(connection, "comment_schema", schema=schema, comment=sql.Literal(words))


def _words(names: list[str]) -> list[str]:
    return ["readers=" + ",".join(quote(name, safe="") for name in names)] if names else []


def _kept(comment: str) -> list[str]:
    found = KEPT.search(comment)
    return [unquote(name) for name in found[1].split(",")] if found else []


def _comment(connection: BaseDatabaseWrapper) -> str:
    return str(value(connection, "select_schema_comment", schema=conf.schema()) or "")
