"""The settings of this package, cached until `override_settings` changes one."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import cache, lru_cache
from importlib.util import find_spec
from inspect import isfunction, unwrap
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS

UNSET = object()

NAME = re.compile(r"SEGMENTS_[A-Z_]+")

MAX_DAYS = 1_000_000
"""How far Postgres can go back from now, in round numbers."""

WORK_MEM = re.compile(r"[0-9]+(\.[0-9]+)?\s*(B|kB|MB|GB|TB)?")
"""How Postgres writes an amount of memory."""


def exec_connection() -> str:
    """The database alias on which definitions are evaluated and which owns the views."""
    return _text("SEGMENTS_EXEC_CONNECTION", _get("SEGMENTS_EXEC_CONNECTION", DEFAULT_DB_ALIAS))


def exec_role() -> str | None:
    """The role that owns the views, and with whose privileges definitions are evaluated.

    None means the application's own role.
    """
    role = _get("SEGMENTS_EXEC_ROLE", None)
    return None if role is None else _text("SEGMENTS_EXEC_ROLE", role)


def time_zone() -> str:
    """The time zone in which definitions are evaluated; by default that of `TIME_ZONE`."""
    return _checked_time_zone(_get("SEGMENTS_TIME_ZONE", None) or _get("TIME_ZONE", None) or "UTC")


def schema() -> str:
    """The schema of the views that hold the members."""
    return _checked_schema(_get("SEGMENTS_SCHEMA", "segments"))


def live_schema() -> str:
    """The schema of the live views: the members' schema with `_live` appended."""
    return f"{schema()}_live"


def reader_roles() -> list[str]:
    """The database roles that may read the members of every segment."""
    roles = _get("SEGMENTS_READER_ROLES", [])
    if not isinstance(roles, list | tuple | set | frozenset) or not all(
        isinstance(role, str) and role for role in roles
    ):
        raise ImproperlyConfigured(
            f"SEGMENTS_READER_ROLES must be a list of role names, not {roles!r}."
        )
    return list(roles)


def refresh_on_save() -> bool:
    """Whether saving a changed definition refreshes the segment at once."""
    return _switch("SEGMENTS_REFRESH_ON_SAVE", _get("SEGMENTS_REFRESH_ON_SAVE", True))


def refresh_async() -> bool:
    """Whether a save and the admin's action leave refreshing to a background worker."""
    return _switch("SEGMENTS_REFRESH_ASYNC", _get("SEGMENTS_REFRESH_ASYNC", False))


@cache
def tasks_framework() -> str | None:
    """The module of the tasks framework: `django.tasks` or `django_tasks`; None without one."""
    return next(filter(find_spec, ("django.tasks", "django_tasks")), None)


def refresh_every() -> timedelta | None:
    """The interval of `refresh_segments --due` for segments without one of their own."""
    every = _get("SEGMENTS_REFRESH_EVERY", None)
    return None if every is None else _duration("SEGMENTS_REFRESH_EVERY", every)


def skip_lag() -> timedelta:
    """How old the proof that nothing was written may be for a scheduled refresh."""
    return _duration("SEGMENTS_SKIP_LAG", _get("SEGMENTS_SKIP_LAG", 0))


def history() -> timedelta:
    """How long the rows of `segment.refreshes` are kept."""
    return _days("SEGMENTS_HISTORY_DAYS", _get("SEGMENTS_HISTORY_DAYS", 90))


def changes() -> timedelta:
    """How long the rows of who entered and who left are kept."""
    return _days("SEGMENTS_CHANGES_DAYS", _get("SEGMENTS_CHANGES_DAYS", 90))


def statement_timeout() -> timedelta:
    """How long one statement that evaluates a definition may run; 0 means no limit."""
    return _duration("SEGMENTS_STATEMENT_TIMEOUT", _get("SEGMENTS_STATEMENT_TIMEOUT", 300))


def max_timeout() -> timedelta:
    """The longest `timeout` of a segment; 0 allows any value, and no limit."""
    return _duration("SEGMENTS_MAX_TIMEOUT", _get("SEGMENTS_MAX_TIMEOUT", 3600))


def lock_timeout() -> timedelta:
    """How long to wait for a lock before giving up; 0 means no limit."""
    return _duration("SEGMENTS_LOCK_TIMEOUT", _get("SEGMENTS_LOCK_TIMEOUT", 10))


def preview_timeout() -> timedelta:
    """How long a preview counts members before it settles for an estimate; 0 means no limit."""
    return _duration("SEGMENTS_PREVIEW_TIMEOUT", _get("SEGMENTS_PREVIEW_TIMEOUT", 5))


def max_cost() -> float | None:
    """The planner's cost above which a definition is refused; None means no limit."""
    cost = _get("SEGMENTS_MAX_COST", None)
    if cost is None:
        return None
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not cost > 0:
        raise ImproperlyConfigured(
            f"SEGMENTS_MAX_COST must be a number above zero, or None, not {cost!r}."
        )
    return float(cost)


def user_manager() -> str | None:
    """The manager of the user model whose users are listed and counted; None: the default one."""
    name = _get("SEGMENTS_USER_MANAGER", None)
    return None if name is None else str(name)


def max_loss() -> int | None:
    """How many percent of its members a refresh may remove; None means all of them."""
    percent = _get("SEGMENTS_MAX_LOSS", None)
    if percent is None:
        return None
    if not isinstance(percent, int) or isinstance(percent, bool) or not 1 <= percent <= 100:
        raise ImproperlyConfigured(
            f"SEGMENTS_MAX_LOSS must be a whole number from 1 to 100, or None, not {percent!r}."
        )
    return percent


def versions() -> int:
    """How many versions of each segment are kept."""
    number = _get("SEGMENTS_VERSIONS", 100)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ImproperlyConfigured(
            f"SEGMENTS_VERSIONS must be a whole number, zero or more, not {number!r}."
        )
    return number


def work_mem() -> str | None:
    """Postgres' work_mem during a refresh, such as "256MB"; None keeps the server's value."""
    value = _get("SEGMENTS_WORK_MEM", None)
    if value is None:
        return None
    if isinstance(value, bool) or not WORK_MEM.fullmatch(str(value)):
        raise ImproperlyConfigured(
            f'SEGMENTS_WORK_MEM must be an amount of memory such as "64MB", not {value!r}.'
        )
    return str(value)


def readers() -> dict[str, Callable[[], object]]:
    """Return the function of this module that reads each setting, by the setting's name.

    The names are taken from the code of the functions, so there is no list to keep in step.
    """
    functions = [
        function
        for name, function in globals().items()
        if not name.startswith("_") and isfunction(unwrap(function))
    ]
    return {
        constant: function
        for function in functions
        for constant in unwrap(function).__code__.co_consts
        if isinstance(constant, str) and NAME.fullmatch(constant)
    }


def _get(name: str, default: object) -> Any:
    value = _setting(name)
    return default if value is UNSET else value


@cache
def _setting(name: str) -> Any:
    """Return a setting. Cached, since Django takes 3 us to find out that it is not set."""
    return getattr(settings, name, UNSET)


def _clear_cache(**kwargs: Any) -> None:
    """Read settings again, since one has been overridden."""
    _setting.cache_clear()


setting_changed.connect(_clear_cache)


@lru_cache
def _checked_schema(name: object) -> str:
    # Postgres takes names of at most 63 bytes, and `_live` is still to be appended.
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[a-z_][a-z0-9_]{0,57}", name)
        or name in ("public", "information_schema")
        or name.startswith("pg_")
    ):
        raise ImproperlyConfigured(
            f"SEGMENTS_SCHEMA is {name!r}. It must name a schema of its own, with at most 58 "
            "lower-case letters, digits and underscores."
        )
    return name


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ImproperlyConfigured(f"{name} must be a name, not {value!r}.")
    return value


def _switch(name: str, value: object) -> bool:
    if value not in (True, False):
        raise ImproperlyConfigured(f"{name} must be True or False, not {value!r}.")
    return bool(value)


@lru_cache
def _checked_time_zone(name: object) -> str:
    try:
        return ZoneInfo(name).key  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError, ZoneInfoNotFoundError) as error:
        raise ImproperlyConfigured(
            f'SEGMENTS_TIME_ZONE is {name!r}. It must name a time zone, such as "Europe/Berlin".'
        ) from error


def _days(name: str, days: object) -> timedelta:
    """Return a timedelta, given a number of days."""
    if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= MAX_DAYS:
        raise ImproperlyConfigured(
            f"{name} must be a whole number from 0 to {MAX_DAYS}, not {days!r}."
        )
    return timedelta(days=days)


def _duration(name: str, value: object) -> timedelta:
    """Return a timedelta, given one or a number of seconds."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        duration = timedelta(seconds=value) if number else value  # type: ignore[arg-type]
    except (OverflowError, ValueError):  # As for infinity.
        duration = None
    if not isinstance(duration, timedelta) or duration < timedelta():
        raise ImproperlyConfigured(
            f"{name} must be a timedelta or a number of seconds, zero or more, not {value!r}."
        )
    return duration
