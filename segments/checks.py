"""System checks: can this project and its database have segments?

The checks that ask a server run with `manage.py check --database default` and in `migrate`.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from segments import conf
from segments.exceptions import POSTGRES_ENGINE
from segments.membership.members import shown_users
from segments.pgviews.shared import missing_roles
from segments.roles import rights
from segments.roles.rights import ViewOwner
from segments.rows import write_alias
from segments.sql.session import fetch_all
from segments.users import SegmentMixin

MIN_PG_VERSION = 150000
"""PostgreSQL 15, in the format of `server_version_num`."""

CUTOFF = 0.8
"""How similar a name must be to be suggested. All settings share their prefix."""

SERVER_COLUMNS = ("database", "server", "role", "login", "may_temp", "may_create")
"""The columns of `select_server`."""


@register()
def check_project(**kwargs: Any) -> list[CheckMessage]:
    """Check the settings and the installed apps, without asking a server."""
    messages: list[CheckMessage] = [*_check_names()]
    if not settings.USE_TZ:
        messages.append(
            Error(
                "segments needs times with a time zone, and USE_TZ is False.",
                hint="Set USE_TZ = True; TIME_ZONE remains the zone of what people see.",
                id="segments.E013",
            )
        )
    if not apps.is_installed("django_pgviews"):
        messages.append(
            Error(
                "segments needs django_pgviews.",
                hint='Add "django_pgviews" to INSTALLED_APPS, before "segments".',
                id="segments.E004",
            )
        )
    if not issubclass(get_user_model(), SegmentMixin):
        messages.append(
            CheckWarning(
                f"The user model {get_user_model()._meta.label} has no is_member().",
                hint="Add segments.models.SegmentMixin to its base classes.",
                obj=get_user_model(),
                id="segments.W001",
            )
        )
    if wrong := _check_values():
        return [*messages, *wrong]
    messages += _check_aliases()
    if conf.refresh_async() and conf.tasks_framework() is None:
        messages.append(
            Error(
                "SEGMENTS_REFRESH_ASYNC is on, but no tasks framework is installed.",
                hint='pip install "django-segments[tasks]", and set TASKS.',
                id="segments.E009",
            )
        )
    return messages


@register(Tags.database)
def check_server(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the server's version, the rights, and that both aliases reach the same database."""
    if _check_values():
        return []
    alias = conf.exec_connection()
    if alias not in (databases or ()) or alias not in connections:
        return []
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return []
    messages: list[CheckMessage] = []
    version = connection.pg_version  # type: ignore[attr-defined]
    if version < MIN_PG_VERSION:
        messages.append(
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
        messages.append(
            Error(
                f'"{alias}" and "{models}", where segments are saved, are not one database.',
                hint="SEGMENTS_EXEC_CONNECTION can differ in its role, but not in its database.",
                id="segments.E006",
            )
        )
    elif conf.exec_role() is None and server["role"] == other["role"]:
        messages += _check_privileges(alias, server)
    else:
        messages += _check_roles(alias, server, other["role"], apart)
    for role in missing_roles(connection):
        messages.append(
            Error(
                f'SEGMENTS_READER_ROLES names "{role}", but there is no such database role.',
                hint="Create the role, or remove it from the setting.",
                id="segments.E008",
            )
        )
    return messages


def _check_privileges(alias: str, server: dict[str, Any]) -> Iterator[CheckMessage]:
    """Check the privileges that the application's role needs to own the views itself."""
    missing = [
        name
        for name, granted in (("TEMP", server["may_temp"]), ("CREATE", server["may_create"]))
        if not granted
    ]
    if missing:
        yield Error(
            f'The role of "{alias}" lacks {" and ".join(missing)} on its database.',
            hint=f'GRANT {", ".join(missing)} ON DATABASE "{server["database"]}" '
            f'TO "{server["role"]}". Segments are views, and a refresh uses temporary tables.',
            id="segments.E005",
        )


def _check_roles(
    alias: str, server: dict[str, Any], app: str, apart: bool
) -> Iterator[CheckMessage]:
    """Check the rights of a role that owns the views, and those of the application's role."""
    connection, role = connections[alias], conf.exec_role()
    login = ViewOwner(server["role"], app, records_refreshes=True)
    owner = login if role is None else ViewOwner(role, server["login"])
    roles = ["--role", owner.name, "--app-role", owner.app_role]
    command = shlex.join(["manage.py", "grant_segments", *roles, "--apply"])
    hint = f"With --using an alias whose role can grant this, run: {command}"
    named = f'"{alias}" logs in as "{login.name}"'
    setting = named if role is None else f'SEGMENTS_EXEC_ROLE is "{role}"'
    if missing := rights.missing(connection, owner):
        yield Error(
            f"{setting}, which lacks: {', '.join(missing)}.",
            hint=hint,
            id="segments.E010",
        )
    also_refreshes = role is not None and apart
    if also_refreshes and (missing := rights.missing(connection, login, owns_views=False)):
        yield Error(
            f"{named}, which lacks privileges to refresh segments: {', '.join(missing)}.",
            hint="Grant it these privileges.",
            id="segments.E010",
        )
    if owner.name == app:
        return
    if missing := rights.missing_for_app(connection, app):
        yield Error(
            f'The application\'s role "{app}" cannot look up members. It lacks: '
            f"{', '.join(missing)}.",
            hint=hint,
            id="segments.E011",
        )
    if surplus := rights.surplus(connection, owner):
        yield CheckWarning(
            f'Role "{owner.name}" owns the views and has more than it needs: '
            f"{', '.join(surplus)}.",
            hint="Definitions have all the rights of that role. Take these away, or use another "
            "role.",
            id="segments.W002",
        )


def _check_aliases() -> Iterator[CheckMessage]:
    """Check that definitions are evaluated, and segments saved, in a PostgreSQL database."""
    alias = conf.exec_connection()
    if alias not in connections:
        yield Error(
            f'SEGMENTS_EXEC_CONNECTION is "{alias}", which is not in DATABASES.',
            hint=f"{_suggestion(alias, connections)}Add this alias to DATABASES, or name an "
            "existing one.",
            id="segments.E001",
        )
    models = write_alias() or DEFAULT_DB_ALIAS
    for name in dict.fromkeys((alias, models)):
        if name not in connections or connections[name].vendor == "postgresql":
            continue
        hint = POSTGRES_ENGINE
        if name == alias and models in connections and models != alias:
            hint = "Set SEGMENTS_EXEC_CONNECTION to the alias of a PostgreSQL database."
        yield Error(
            f'segments needs PostgreSQL, and "{name}" is {connections[name].display_name}.',
            hint=hint,
            id="segments.E002",
        )


def _check_names() -> Iterator[CheckMessage]:
    """Check that every setting which looks like one of this package is one."""
    known = conf.readers()
    names = f"The settings are: {', '.join(sorted(known))}."
    for name in dir(settings):
        prefix, _, rest = name.partition("_")
        right = f"SEGMENTS_{rest}"
        # Other packages have settings that begin with SEGMENT, so only a typing error counts.
        if (prefix == "SEGMENTS") != (right in known) and prefix in ("SEGMENT", "SEGMENTS"):
            hint = _suggestion(right, known).strip() or names
            yield Error(f"There is no setting {name}.", hint=hint, id="segments.E012")


def _check_values() -> list[CheckMessage]:
    """Check the value of each setting."""
    messages: list[CheckMessage] = []
    for read in (*conf.readers().values(), shown_users):
        try:
            read()
        except ImproperlyConfigured as error:
            messages.append(Error(str(error), hint="Change this setting.", id="segments.E007"))
    return messages


def _suggestion(name: str, names: Iterable[str]) -> str:
    """Return a question that names the nearest of the names; empty if none is near."""
    nearest = get_close_matches(name, names, n=1, cutoff=CUTOFF)
    return f"Did you mean {nearest[0]}? " if nearest else ""


def _server(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    (row,) = fetch_all(connection, "select_server")
    return dict(zip(SERVER_COLUMNS, row, strict=True))
