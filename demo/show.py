"""The demo on a terminal, or in a pipe: each step, and what came of it."""

from collections.abc import Sequence
from datetime import date

from django.core.management import call_command
from rich import box
from rich.table import Table

from demo import psql, replay, story
from demo.cdnow import purchases
from demo.console import console, heading, timed
from demo.database import NAME
from demo.load import Loaded, load
from demo.logins import create_logins
from segments.models import Segment


def tell(*, past: bool = False) -> None:
    """Do the whole story in an empty database, and print it.

    Args:
        past: Create logins for the admin, and begin with the shop's past, month by month.
    """
    with timed("Migrate"):
        call_command("migrate", verbosity=0)
    data = purchases()
    first = replay.FIRST if past else story.CUT
    with timed(f"Load what was ordered from CDNOW, a CD shop, up to {first}"):
        show_loaded(load(data, after=date.min, until=first))
    with timed("Define segments: saving one creates its views and fills them"):
        show_definitions(story.define())
    if past:
        marketer = create_logins()
        with timed(f"Load each month up to {story.CUT}, and refresh after each"):
            show_loaded(replay.replay(data, until=story.CUT, marketer=marketer))
    refresh("those that others read come first, and nothing has changed yet")
    heading("Who is in?")
    show_members(story.members())
    heading("Ask customers")
    show_answers("win-back", [story.ask(each, "win-back") for each in story.examples()])
    heading("Ask with psql")
    show_queries(psql.QUERIES)

    with timed("Load the rest of the orders"):
        show_loaded(load(data, after=story.CUT, until=date.max))
    customer = story.returned()
    heading(f"{customer} has ordered again, which only a live check knows by now")
    show_answers("lapsed", [story.ask(customer, "lapsed")])
    refresh("readers see the old members until the new ones are committed")
    heading("Who entered, who left?")
    show_changes(story.changes())
    heading(f"{customer} after the refresh")
    show_answers("lapsed", [story.ask(customer, "lapsed")])


def refresh(remark: str) -> None:
    """Run the command, which prints its own progress."""
    heading(f"Refresh: {remark}")
    console.print("[dim]$[/] [bold]manage.py refresh_segments[/]")
    call_command("refresh_segments")


def show_loaded(loaded: Loaded) -> None:
    """Print what a load has brought."""
    console.print(
        f"{loaded.customers:,} new customers, {loaded.orders:,} orders, "
        f"the newest of {loaded.newest}"
    )


def show_definitions(segments: Sequence[Segment]) -> None:
    """Print what each segment is."""
    table = _table("segment", "kind", "definition")
    for segment in segments:
        table.add_row(segment.slug, segment.kind, _definition(segment))
    console.print(table)


def show_members(members: Sequence[story.Members]) -> None:
    """Print how many are in each segment, and some of them."""
    table = _table("segment", "kind", "members:", "such as")
    for each in members:
        table.add_row(each.slug, each.kind, _number(each.count), _names(each.some))
    console.print(table)


def show_answers(slug: str, answers: Sequence[story.Answers]) -> None:
    """Print what customers say about a segment, and about all."""
    ask = f'("{slug}")'
    table = _table("customer", f"is_member\n{ask}", f"is_member_live\n{ask}", "segments", "ids")
    for each in answers:
        table.add_row(
            each.customer,
            _yes_no(each.is_member),
            _yes_no(each.is_member_live),
            ", ".join(each.segments) or "-",
            str(each.segment_ids),
        )
    console.print(table)


def show_queries(queries: Sequence[str]) -> None:
    """Print queries as they are typed into psql, and what psql answers."""
    for query in queries:
        if query != queries[0]:
            console.print()
        console.print(f"[dim]{NAME}=#[/] [bold]{query}[/]", soft_wrap=True)
        console.print(psql.ask(query), markup=False, soft_wrap=True)


def show_changes(changes: Sequence[story.Change]) -> None:
    """Print how many entered and left each segment, and some of them."""
    table = _table("segment", "before:", "after:", "entered:", "left:", "such as")
    for each in changes:
        some = [f"[green]+ {_names(each.some_entered)}[/]"] if each.some_entered else []
        some += [f"[red]- {_names(each.some_left)}[/]"] if each.some_left else []
        table.add_row(
            each.slug,
            *map(_number, (each.before, each.after, each.entered, each.left)),
            "\n".join(some),
        )
    console.print(table)


def _table(*headers: str) -> Table:
    """Return an empty table; a colon ends the name of a column of numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        name, number = header.removesuffix(":"), header.endswith(":")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table


def _definition(segment: Segment) -> str:
    if segment.kind == "manager":
        return f"Customer.{segment.manager_name}.{segment.manager_method}()"
    if segment.kind == "static":
        ids = str(segment.static_ids).split()
        return f"{len(ids)} ids: {', '.join(ids[: story.MAX_SHOWN])}, ..."
    return segment.definition


def _names(customers: Sequence[str]) -> str:
    return ", ".join(customers)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _yes_no(value: bool) -> str:
    return "[green]True[/]" if value else "[red]False[/]"
