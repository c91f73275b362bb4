"""A shop with segments, and a role that may read them, set up as docs/bi.md says.

They are on a server of their own: the page gives the role a setting, and the next refresh of each
segment on the same server is then not skipped.
"""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.databases import login, manage, run
from tests.own_server import create_database
from tests.servers import Server

PAGE = (Path(__file__).parents[2] / "docs" / "bi.md").read_text()
ROLE = "bi_reader"


def blocks(language):
    """Return the code blocks of a language on the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="session")
def shop():
    """The database, by its two addresses: `where` for its owner, `reader` for the reader."""
    with Server({"timezone": "UTC"}) as server:
        where = create_database(server)
        manage(where, module="tests.fill")
        for statement in blocks("sql"):
            if re.match("CREATE (ROLE|SCHEMA)", statement):
                run(where, statement)
        manage(where, "sync_segments", readers=[ROLE])
        # User 1 entered at noon on Monday, January 5, and each following user a day later.
        run(
            where,
            "UPDATE segments_membership SET entered_at = timestamp '2026-01-04 12:00' "
            "+ user_id * interval '1 day'",
        )
        yield SimpleNamespace(where=where, reader=login(where, ROLE))


@pytest.fixture
def ask(shop):
    """Run SQL as the reader, and return its rows."""

    def run_it(*statements):
        return run(shop.reader, *statements)

    return run_it
