"""An app whose migrations a test writes, and a segment whose views must survive them."""

import os
import textwrap
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from segments import sync
from tests.processes import ROOT
from tests.sync.evolving import MIGRATION


@pytest.fixture
def evolve(tmp_path, settings, monkeypatch):
    """Write a second migration of the app stock and run it; undo it at the end."""
    package = f"evolved_{os.getpid()}_{tmp_path.name}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()
    initial = (ROOT / "tests/stock/migrations/0001_initial.py").read_text()
    (folder / "0001_initial.py").write_text(initial)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.MIGRATION_MODULES = {"stock": package}

    def write(*operations, name="0002_evolved", after="0001_initial", atomic=True, replaces=()):
        text = MIGRATION.format(
            operations=textwrap.indent("\n".join(operations), " " * 8),
            after=after, atomic=atomic, replaces=[("stock", each) for each in replaces],
        )  # fmt: skip
        (folder / f"{name}.py").write_text(text)

    def run(*operations, atomic=True, **options):
        if operations:
            write(*operations, atomic=atomic)
        out = StringIO()
        call_command("migrate", "stock", stdout=out, **options)
        return out.getvalue()

    run.write, run.package, run.path = write, package, str(tmp_path)
    yield run
    # Recreates the table after any migration.
    list(sync.detach())
    with connection.cursor() as cursor:
        cursor.execute(
            "DROP TABLE IF EXISTS stock_plan, stock_visit, stock_tariff, stock_renamed;"
            "DELETE FROM django_migrations WHERE app = 'stock'"
        )
    settings.MIGRATION_MODULES = {}
    call_command("migrate", "stock", verbosity=0)


@pytest.fixture
def plans(users, query):
    """Gold for u0 to u4, and a score of 0 to 9."""
    for n, user in enumerate(users):
        level = "gold" if n < 5 else "basic"
        query(
            "INSERT INTO stock_plan (user_id, level, score) VALUES (%s, %s, %s)",
            user.pk, level, n,
        )  # fmt: skip
        query("INSERT INTO stock_visit (user_id) VALUES (%s)", user.pk)


@pytest.fixture
def witness(plans, make, query, dba, relation, session):
    """A segment with a BI view and a GRANT; returns a function that asserts both."""
    make("gold", definition="SELECT user_id FROM stock_plan WHERE level = 'gold' AND score >= 0")
    make("other", definition="SELECT user_id FROM segments.gold")
    name = f"bi_witness_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    dba(f"CREATE ROLE {name}")
    dba(f"GRANT USAGE ON SCHEMA segments TO {name}")
    dba(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    dba(f"GRANT SELECT ON segments.gold TO {name}")
    dba("CREATE VIEW bi AS SELECT count(*) AS n FROM segments.gold")
    dba(f"ALTER VIEW bi OWNER TO {name}; GRANT SELECT ON bi TO PUBLIC")
    before = [relation(each) for each in ("segments.gold", "segments.other", "bi")]
    live = relation("segments_live.gold")[0]

    def stayed(members=5):
        assert [relation(each) for each in ("segments.gold", "segments.other", "bi")] == before
        assert relation("segments_live.gold")[0] == live
        assert query("SELECT n FROM bi") == [(members,)]

    yield stayed
    dba(f"DROP VIEW bi; DROP OWNED BY {name}; DROP ROLE {name}")
