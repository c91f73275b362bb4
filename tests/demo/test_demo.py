"""The demo's output, compared with a computation over its data file in Python."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.processes import ROOT

pytestmark = pytest.mark.slow

DATABASE = f"segments_demo_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
CUT = date(1998, 3, 31)


@pytest.fixture(scope="module")
def server():
    """The server of the demo, by DATABASE_URL; the demo's database is dropped at the end."""
    url = os.environ["DATABASE_URL"]
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        )


@pytest.fixture(scope="module")
def demo(server):
    """Run the demo and return what it prints."""

    plain = {"COLUMNS": "100", "FORCE_COLOR": ""}

    def run(database=DATABASE):
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "demo"],
            cwd=ROOT, env=os.environ | plain | {"SEGMENTS_DEMO_DATABASE": database},
            capture_output=True, text=True,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def output(demo):
    """The output of a first run."""
    done = demo()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def purchases():
    """All lines of the data file: customer, day, dollars."""
    file = Path(find_spec("lifetimes").origin).parent / "datasets" / "CDNOW_master.txt"
    rows = [line.split() for line in file.read_text().splitlines()[1:]]
    return [(int(who), date.fromisoformat(day), Decimal(amount)) for who, day, _, amount in rows]


@pytest.fixture(scope="module")
def before(purchases):
    """The members of each segment up to the cut."""
    return compute([row for row in purchases if row[1] <= CUT])


@pytest.fixture(scope="module")
def after(purchases):
    """The members of each segment when everything is loaded."""
    return compute(purchases)


def compute(purchases):
    spent, last = defaultdict(Decimal), {}
    for who, day, amount in purchases:
        spent[who] += amount
        last[who] = max(day, last.get(who, day))
    lapsed_before = max(last.values()) - timedelta(days=180)
    big = {who for who, total in spent.items() if total >= 200}
    lapsed = {who for who, day in last.items() if day < lapsed_before}
    return {
        "big-spenders": big,
        "lapsed": lapsed,
        "pilot": set(range(900, 22_501, 900)),
        "win-back": big & lapsed,
    }


def counts(output):
    """Return (before, after, entered, left) of each segment, from the last table."""
    _, table = output.split("Who entered, who left?")
    return {
        slug: tuple(int(number.replace(",", "")) for number in numbers)
        for slug, *numbers in re.findall(
            r"^([a-z-]+) +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)", table, re.MULTILINE
        )
    }


def customers(ids):
    """Return the demo's names of the first two of them."""
    return ", ".join(f"customer-{id_}" for id_ in sorted(ids)[:2])


def test_demo__counts_are_those_of_the_file(output, before, after):
    assert counts(output) == {
        slug: (
            len(before[slug]),
            len(after[slug]),
            len(after[slug] - before[slug]),
            len(before[slug] - after[slug]),
        )
        for slug in before
    }


def test_demo__each_refresh_reports_its_members_and_changes(output, before, after):
    unchanged = [f"{slug}: {len(before[slug]):,} members, unchanged" for slug in sorted(before)]
    changed = [
        f"{slug}: {len(after[slug]):,} members, +{len(after[slug] - before[slug]):,} "
        f"-{len(before[slug] - after[slug]):,}"
        if after[slug] != before[slug]
        else f"{slug}: {len(after[slug]):,} members, unchanged"
        for slug in sorted(after)
    ]
    lines = re.findall(r"^[a-z-]+: [\d,]+ members, .*(?=,)", output, re.MULTILINE)
    assert lines == unchanged + changed


def test_demo__names_customers_who_entered_and_left(output, before, after):
    _, table = output.split("Who entered, who left?")
    for slug in before:
        for sign, changed in (
            ("+", after[slug] - before[slug]),
            ("-", before[slug] - after[slug]),
        ):
            assert not changed or f"{sign} {customers(changed)}" in table


def test_demo__customers_know_their_segments(output, before, after):
    several, pilot = min(before["win-back"]), min(before["pilot"])
    back = min(before["lapsed"] - after["lapsed"])
    assert re.search(rf"customer-{several} +True +True +win-back,", output)
    assert re.search(rf"customer-{pilot} +False +False +lapsed, pilot +\[2, 3\]", output)
    answers = re.findall(rf"^customer-{back} +(True|False) +(True|False)", output, re.MULTILINE)
    assert answers == [("True", "False"), ("False", "False")]


def test_demo__psql_counts_the_same(output, before):
    _, answer = output.split("SELECT count(*) FROM segments.win_back;")
    assert answer.split()[2] == str(len(before["win-back"]))


def test_demo__a_second_run_starts_again(output, demo):
    done = demo()
    assert (done.returncode, done.stderr) == (0, "")
    assert counts(done.stdout) == counts(output)


def test_demo__leaves_a_database_that_it_did_not_create(server, demo):
    name = f"{DATABASE}_of_somebody"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        done = demo(name)
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    assert done.returncode == 1
    assert f'has a database "{name}" that no demo has made' in done.stderr
