"""System checks: whether this project and its database can have segments.

Those that ask a server run with `manage.py check --database default` and in `migrate`.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.mixin import SegmentMixin
from segments.sql import names, text
from segments.sql.grants import OWN_TABLES
from segments.sql.labels import missing_roles
from segments.sql.session import rows

OLDEST = 150000
"""PostgreSQL 15, as `server_version_num` says it."""


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
    if version < OLDEST:
        found.append(
            Error(
                f'segments needs PostgreSQL 15; the server of "{alias}" is {version // 10000}.',
                hint="Upgrade the server.",
                id="segments.E003",
            )
        )
    server = _server(connection)
    # Where the views have an owner of their own, those are that role's to have.
    if conf.exec_role() is None and not (server["may_temp"] and server["may_create"]):
        missing = [
            name
            for name, granted in (("TEMP", server["may_temp"]), ("CREATE", server["may_create"]))
            if not granted
        ]
        found.append(
            Error(
                f'The role of "{alias}" may not use {" and ".join(missing)} on its database.',
                hint=f"GRANT {', '.join(missing)} ON DATABASE {server['database']} TO the role "
                f'of "{alias}": views are created, and refreshed through temporary tables.',
                id="segments.E005",
            )
        )
    role = conf.exec_role()
    lacks = _lacks(connection, role) if role else []
    if lacks:
        found.append(
            Error(
                f'SEGMENTS_EXEC_ROLE is "{role}", and that lacks: {", ".join(lacks)}.',
                hint=f"manage.py segments_grants --role {role} --app-role ... --read ... --apply",
                id="segments.E010",
            )
        )
    for role in missing_roles(connection):
        found.append(
            Error(
                f'SEGMENTS_READER_ROLES has "{role}", and no database role has that name.',
                hint="Create the role, or take it out of the setting.",
                id="segments.E008",
            )
        )
    models = _segment_alias()
    if models != alias and models in connections and connections[models].vendor == "postgresql":
        other = _server(connections[models])
        if (other["database"], other["server"]) != (server["database"], server["server"]):
            found.append(
                Error(
                    f'"{alias}" and "{models}", where segments are saved, are not one database.',
                    hint="SEGMENTS_EXEC_CONNECTION may have another role, not another database.",
                    id="segments.E006",
                )
            )
    return found


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


def _lacks(connection: BaseDatabaseWrapper, role: str) -> list[str]:
    found = rows(
        connection,
        "select_exec_role",
        role=role,
        schema=conf.schema(),
        live_schema=conf.live_schema(),
        users=names.user_table().as_string(),
        key=names.user_key_column(),
        tables=list(OWN_TABLES),
    )
    return [words for (words,) in found]


def _segment_alias() -> str:
    return router.db_for_write(apps.get_model("segments", "Segment")) or DEFAULT_DB_ALIAS


def _server(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            text("select_server"), {"schema": conf.schema(), "live_schema": conf.live_schema()}
        )
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))
