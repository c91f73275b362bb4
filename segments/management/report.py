"""What the commands share: they print a line for each result, and exit with 1 if any failed."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import django.db
import psycopg
from django.core.management.base import BaseCommand, CommandError

from segments.exceptions import SegmentError, from_driver
from segments.rows import no_segment
from segments.sql.names import view_name


class Result(Protocol):
    """The result of one step: of a refresh, a sync, a detachment, a removal or a deletion."""

    @property
    def slug(self) -> str:
        """The segment; empty for what all segments share."""

    @property
    def error(self) -> SegmentError | None:
        """Why the step failed."""


R = TypeVar("R", bound=Result)


class ReportingCommand(BaseCommand):
    """A command that prints results, and turns errors of the database into a CommandError."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command."""
        try:
            return super().execute(*args, **options)
        except SegmentError as error:
            raise CommandError(str(error)) from error
        except (django.db.Error, psycopg.Error) as error:
            raise CommandError(str(from_driver(error, SegmentError))) from error

    def report(
        self,
        results: Iterable[R],
        line: Callable[[R], str],
        failure: str = "",
        *,
        failed_line: Callable[[R], str] | None = None,
        name: Callable[[R], str] = attrgetter("slug"),
        errors: bool = True,
    ) -> int:
        """Print each result when it is ready; return how many succeeded.

        Args:
            line: Returns the line for a success. An empty line is not printed.
            failure: The message of the CommandError that is raised at the end if any failed. It
                may name `failed`, `failures`, `done` and `total`. Empty: nothing is raised.
            failed_line: Returns the line for a failure; None prints no such line.
            name: Returns what `failed` lists for a failure.
            errors: Whether to write the error of a failure to stderr.
        """
        done, failed = 0, list[str]()
        for result in results:
            text = line if result.error is None else failed_line
            if text and (printed := text(result)):
                self.stdout.write(printed)
                self.stdout.flush()  # A log shipper reads each line when it is ready.
            if result.error is None:
                done += 1
                continue
            failed.append(name(result))
            if errors:
                self.stderr.write(str(result.error))
        if failed and failure:
            numbers = {"done": done, "failures": len(failed), "total": done + len(failed)}
            raise CommandError(failure.format(failed=", ".join(failed), **numbers))
        return done

    def with_progress(self, results: Iterable[R], total: int) -> Iterator[R]:
        """Yield the results. If stderr is a terminal, it shows how many are ready."""
        if not self.stderr.isatty():
            yield from results
            return
        ready, width = 0, len(f"Refreshing {total}/{total} ...")
        try:
            self._rewrite(f"Refreshing {ready}/{total} ...")
            for result in results:
                self._rewrite(" " * width, "\r")
                yield result
                ready += 1
                self._rewrite(f"Refreshing {ready}/{total} ...")
        finally:
            self._rewrite(" " * width, "\r")

    def _rewrite(self, text: str, end: str = "") -> None:
        self.stderr.write(f"\r{text}{end}", style_func=str, ending="")
        self.stderr.flush()


def check_slugs(slugs: Iterable[str], existing: Iterable[str]) -> None:
    """Raise CommandError for slugs that are not among the existing ones, naming the nearest.

    Hyphens and underscores count as the same.
    """
    views = set(map(view_name, existing))
    unknown = sorted({slug for slug in slugs if view_name(slug) not in views})
    if unknown:
        raise CommandError("\n".join(map(no_segment, unknown)))


def json_line(values: dict[str, Any]) -> str:
    """Return a JSON object on one line, with times in ISO 8601 and durations in seconds."""
    return json.dumps(values, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)
