"""Export the members of a segment as CSV, by COPY."""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist
from django.core.management.base import OutputWrapper
from django.db import connections, models
from django.db.models.expressions import RawSQL
from psycopg import sql

from segments.exceptions import SegmentError, SegmentExecutionError, translated
from segments.membership.members import shown_users
from segments.rows import write_alias
from segments.sql import names, session
from segments.sql.keys import in_words
from segments.sql.statements import compose, sql_text
from segments.validation.preview import copy_moving

if TYPE_CHECKING:
    from segments.models import Segment

CsvFile = IO[str] | IO[bytes] | OutputWrapper | os.PathLike[str]
"""A file that is open for text or bytes, the stdout of a command, or a path."""

BLOCK = 1 << 16
"""How many bytes are read from a file at a time."""

SECRET = ("password",)
"""Fields that are never exported."""


def export(
    segment: "Segment",
    file: CsvFile,
    fields: Iterable[str] = ("pk",),
    users: "models.QuerySet[Any] | None" = None,
) -> int:
    """Write the members as CSV with a header, in the order of their keys; return how many.

    Streams them from Postgres, in constant memory. They are those of the last refresh, as in
    `members`. The values are as in the database: a program that calculates, such as Excel, may
    take text that begins with `=`, `+`, `-` or `@` for a formula.

    Args:
        file: A file that is open for text or bytes, or a path, whose file is replaced when all is
            written.
        fields: Names of fields of the user model that are columns of its table, or `pk`.
        users: Other users to write instead of the members.

    Raises:
        SegmentError: for another name, and for `password`.
        SegmentExecutionError: when Postgres cannot read the users.
    """
    if isinstance(file, os.PathLike):
        with replaced(Path(file)) as opened:
            return export(segment, opened, fields, users)
    if not hasattr(file, "write"):
        raise TypeError(f"members are written to an open file or a path, not {in_words(file)}")
    columns = [_column(segment.slug, name) for name in fields]
    if not columns:
        raise SegmentError("no field is to be exported", slug=segment.slug)
    chosen = segment.members if users is None else users
    rows = chosen.order_by("pk").values_list(*columns)
    alias = rows.db
    write = _writer(file)
    write(_header(columns))
    count = 0
    with translated(SegmentExecutionError, segment.slug):
        connection = connections[alias]
        try:
            text, params = rows.query.get_compiler(using=alias).as_sql()
        except EmptyResultSet:
            return 0
        operations: Any = connection.ops
        query = compose("export_members", query=sql.SQL(operations.compose_sql(text, params)))
        with connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                for block in copy:
                    write(bytes(block))
            count = int(cursor.rowcount)
    return count


def export_moving(
    segment: "Segment", file: CsvFile, fields: Iterable[str] = ("pk",), *, entering: bool
) -> int:
    """Write all users who would enter a segment, or leave it, if it was saved; return how many.

    They are written as `export` does. Saves nothing. Evaluates the definition as a preview does.
    The keys pass through a file on the disk into a temporary table, because the role that
    evaluates definitions may not read names and addresses.

    Args:
        segment: As it would be saved.
        entering: Whether to write those who would enter, not those who would leave.

    Raises:
        SegmentError: as `export`, and as `preview`.
        SegmentExecutionError: when there is not enough time.
    """
    alias = write_alias()
    with tempfile.TemporaryFile() as keys:
        copy_moving(segment, entering=entering, write=keys.write)
        keys.seek(0)
        with session.transaction(alias, segment.slug, rollback=True) as connection:
            key_type = sql.SQL(names.key_type(connection))
            session.fetch_all(connection, compose("create_incoming_ids", key_type=key_type))
            with (
                connection.cursor() as cursor,
                cursor.copy(sql_text("copy_incoming_ids")) as copy,
            ):
                while block := keys.read(BLOCK):
                    copy.write(block)
            moving = RawSQL(sql_text("select_incoming_ids"), ())  # noqa: S611  # The SQL is ours.
            return export(segment, file, fields, shown_users().using(alias).filter(pk__in=moving))


@contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of another one at the end, if no error is raised.

    Until then it has a name that nothing else has, in the same folder. It gets the permissions of
    the other file. A link stays, and what it leads to is replaced.
    """
    if path.exists() and not path.is_file():  # A pipe or a terminal cannot be replaced.
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            if path.exists():
                shutil.copymode(path, part)
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _column(slug: str, name: str) -> str:
    """Return the attribute of a field that may be exported."""
    model = get_user_model()
    if name == "pk":
        return names.user_key_field().attname
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = None
    if field is None or not getattr(field, "concrete", False) or field.many_to_many:
        known = ", ".join(f.name for f in model._meta.concrete_fields if f.name not in SECRET)
        raise SegmentError(
            f'{model._meta.label} has no column "{name}"', slug=slug, hint=f"It has: {known}."
        )
    if field.name in SECRET:
        raise SegmentError(f'the field "{name}" is never exported', slug=slug)
    return str(field.attname)


def _header(columns: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(columns)
    return line.getvalue().encode()


def _writer(file: Any) -> Any:
    """Return a function that writes bytes of UTF-8 to a file, whatever it is open for."""
    try:
        file.write(b"")
    except TypeError:
        return lambda block: file.write(block.decode())
    return file.write
