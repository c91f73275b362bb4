"""System checks: whether this project and its database can have segments.

Those that ask a server run with `manage.py check --database default` and in `migrate`.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.pgviews.readers import missing_roles
from segments.roles import rights
from segments.rows import write_alias
from segments.sql.session import fetch_all
from segments.users import SegmentMixin

MIN_PG_VERSION = 150000
"""PostgreSQL 15, as `server_version_num` says it."""


SERVER_COLUMNS = ("database", "server", "role", "login", "may_temp", "may_create")
"""What `select_server` returns."""


@register()
def check_project(**kwargs: Any) -> list[CheckMessage]:
    """Check settings and installed apps; asks no server."""
    found: list[CheckMessage] = []
    if not apps.is_installed("django_pgviews"):
        found.append(
            Error(
                "segments needs django_pgviews.",
                hint='Add "django_pgviews" to INSTALLED_APPS, before "segments".',
                id="segments.E004",
            )
        )
    alias = conf.exec_connection()
    if alias not in connections:
        found.append(
            Error(
                f'SEGMENTS_EXEC_CONNECTION is "{alias}", which is not in DATABASES.',
                hint="Add this alias to DATABASES, or name one of those that are there.",
                id="segments.E001",
            )
        )
    elif connections[alias].vendor != "postgresql":
        found.append(
            Error(
                f'segments needs PostgreSQL, and "{alias}" is {connections[alias].display_name}.',
                hint="Let SEGMENTS_EXEC_CONNECTION name a PostgreSQL database.",
                id="segments.E002",
            )
        )
    if conf.refresh_async() and conf.tasks_framework() is None:
        found.append(
            Error(
                "SEGMENTS_REFRESH_ASYNC is on, and there is no tasks framework.",
                hint='pip install "django-segments[tasks]", and set TASKS.',
                id="segments.E009",
            )
        )
    if not issubclass(get_user_model(), SegmentMixin):
        found.append(
            CheckWarning(
                f"The user model {get_user_model()._meta.label} has no is_member().",
                hint="Let it inherit from segments.models.SegmentMixin.",
                obj=get_user_model(),
                id="segments.W001",
            )
        )
    return [*found, *_check_settings()]


@register(Tags.database)
def check_server(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the server's version, the rights on it, and that both aliases reach one database."""
    alias = conf.exec_connection()
    if alias not in (databases or ()) or alias not in connections or _check_settings():
        return []
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return []
    found: list[CheckMessage] = []
    version = connection.pg_version  # type: ignore[attr-defined]
    if version < MIN_PG_VERSION:
        found.append(
            Error(
                f'segments needs PostgreSQL 15; the server of "{alias}" is {version // 10000}.',
                hint="Upgrade the server.",
                id="segments.E003",
            )
        )
    server = _server(connection)
    models = write_alias() or DEFAULT_DB_ALIAS
    apart = (
        models != alias and models in connections and connections[models].vendor == "postgresql"
    )
    other = _server(connections[models]) if apart else server
    if (other["database"], other["server"]) != (server["database"], server["server"]):
        found.append(
            Error(
                f'"{alias}" and "{models}", where segments are saved, are not one database.',
                hint="SEGMENTS_EXEC_CONNECTION may have another role, not another database.",
                id="segments.E006",
            )
        )
    elif conf.exec_role() is None and server["role"] == other["role"]:
        found += _check_privileges(alias, server)
    else:
        found += _check_roles(alias, server, other["role"], apart)
    for role in missing_roles(connection):
        found.append(
            Error(
                f'SEGMENTS_READER_ROLES has "{role}", and no database role has that name.',
                hint="Create the role, or take it out of the setting.",
                id="segments.E008",
            )
        )
    return found


def _check_privileges(alias: str, server: dict[str, Any]) -> Iterator[CheckMessage]:
    """Check what the application's role needs to own the views itself."""
    missing = [
        name
        for name, granted in (("TEMP", server["may_temp"]), ("CREATE", server["may_create"]))
        if not granted
    ]
    if missing:
        yield Error(
            f'The role of "{alias}" may not use {" and ".join(missing)} on its database.',
            hint=f'GRANT {", ".join(missing)} ON DATABASE "{server["database"]}" '
            f'TO "{server["role"]}": views are created, and refreshed through temporary tables.',
            id="segments.E005",
        )


def _check_roles(
    alias: str, server: dict[str, Any], app: str, apart: bool
) -> Iterator[CheckMessage]:
    """Check the rights of a role that owns the views, and of the application besides it."""
    connection, role = connections[alias], conf.exec_role()
    login = rights.Owner(server["role"], owns=role is None, books=True)
    owner = login if role is None else rights.Owner(role, member=server["login"])
    roles = ["--role", owner.role, "--app-role", owner.member or app]
    command = shlex.join(["manage.py", "grant_segments", *roles, "--apply"])
    grants = f"As a role that may grant this (--using an alias of it): {command}"
    named = f'"{alias}" logs in as "{login.role}"'
    who = named if role is None else f'SEGMENTS_EXEC_ROLE is "{role}"'
    if missing := rights.missing(connection, owner):
        yield Error(
            f"{who}, and that lacks: {', '.join(missing)}.",
            hint=grants,
            id="segments.E010",
        )
    if role is not None and apart and (missing := rights.missing(connection, login)):
        yield Error(
            f"{named}, and that lacks, to refresh segments: {', '.join(missing)}.",
            hint="Grant it these.",
            id="segments.E010",
        )
    if owner.role == app:
        return
    if missing := rights.missing_for_app(connection, app):
        yield Error(
            f'The application\'s role "{app}" may not ask for members, and lacks: '
            f"{', '.join(missing)}.",
            hint=grants,
            id="segments.E011",
        )
    if surplus := rights.surplus(connection, owner):
        yield CheckWarning(
            f'The role "{owner.role}" is there to own the views, and it {", ".join(surplus)}.',
            hint="Definitions have all the rights of that role. Take these away (what it may do "
            "with the tables segments_*, grant_segments takes away), or use another role.",
            id="segments.W002",
        )


def _check_settings() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for read in (
        conf.schema,
        conf.reader_roles,
        conf.refresh_every,
        conf.skip_lag,
        conf.history,
        conf.statement_timeout,
        conf.max_timeout,
        conf.lock_timeout,
    ):
        try:
            read()
        except ImproperlyConfigured as error:
            found.append(Error(str(error), hint="Change this setting.", id="segments.E007"))
    return found


def _server(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    (row,) = fetch_all(connection, "select_server")
    return dict(zip(SERVER_COLUMNS, row, strict=True))
