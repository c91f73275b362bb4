"""A shop with segments, and a role that may read them, set up as docs/bi.md says."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.databases import address, database, login, login_role, manage, run, unique

PAGE = (Path(__file__).parents[2] / "docs" / "bi.md").read_text()
ROLE = unique("bi_reader")


def blocks(language):
    """Return the code blocks of a language on the page, with the role of this worker."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [code.replace("bi_reader", ROLE) for code in found]


@pytest.fixture(scope="session")
def shop():
    """The database, by its two addresses: `where` for its owner, `reader` for the reader."""
    with login_role("bi_reader", create=False), database("bi_shop") as name:
        where = address(name)
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
