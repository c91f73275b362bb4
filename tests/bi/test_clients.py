"""Programs and libraries that read segments; a test skips if its program is missing."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.bi.conftest import PAGE, ROLE, blocks
from tests.databases import PASSWORD, program, run
from tests.fill import MEMBERS

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent / "dbt_project"
SHARED = ["catalog", "changes", "history", "membership"]
VIEWS = sorted(MEMBERS)


@pytest.fixture
def psql(shop):
    """Run a command in psql as the reader."""

    def run_it(command):
        return subprocess.run(
            [program("psql"), "--no-psqlrc", "--csv", "--dbname", shop.reader, "-c", command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run_it


@pytest.fixture
def engine(shop):
    """An engine of SQLAlchemy for the reader."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(shop.reader)
    )
    yield engine
    engine.dispose()


def test_psql__lists_segments_with_their_comments(psql):
    listed = psql(r"\dm+ segments.*").stdout.splitlines()
    assert [line.split(",")[1] for line in listed[1:]] == VIEWS
    assert 'Members of segment ""vip"" at its last refresh. Big spenders: Spent 200' in (
        "\n".join(listed)
    )
    views = psql(r"\dv+ segments.*").stdout
    assert "Which user is in which segment, and since when." in views
    assert "Every segment, how it is doing, and how old its members are." in views


def test_psql__describes_the_key(psql):
    assert "Key of the user" in psql(r"\d+ segments.vip").stdout


def test_psql__joins_a_segment(psql):
    joined = psql("SELECT sum(amount) FROM shop_order JOIN segments.vip USING (user_id)")
    assert joined.stdout == "sum\n1950.00\n"


def test_psql__is_refused_a_live_view(psql):
    refused = psql("TABLE segments_live.vip")
    assert refused.returncode == 1
    assert "permission denied for schema segments_live" in refused.stderr


def test_sqlalchemy__finds_views_and_comments(engine):
    from sqlalchemy import inspect

    inspector = inspect(engine)
    assert sorted(inspector.get_materialized_view_names(schema="segments")) == VIEWS
    assert sorted(inspector.get_view_names(schema="segments")) == SHARED
    (column,) = inspector.get_columns("vip", schema="segments")
    assert (column["name"], str(column["type"])) == ("user_id", "BIGINT")
    assert column["comment"].startswith("Key of the user")
    columns = inspector.get_columns("catalog", schema="segments")
    assert [column["name"] for column in columns if not column["comment"]] == []
    comment = inspector.get_table_comment("vip", schema="segments")["text"]
    assert comment.startswith('Members of segment "vip" at its last refresh. Big spenders')


def test_sqlalchemy__joins_reflected_tables(engine):
    from sqlalchemy import MetaData, Table, func, select

    metadata = MetaData()
    vip = Table("vip", metadata, autoload_with=engine, schema="segments")
    orders = Table("shop_order", metadata, autoload_with=engine)
    revenue = select(func.sum(orders.c.amount)).join(vip, vip.c.user_id == orders.c.user_id)
    with engine.connect() as connection:
        assert connection.execute(revenue).scalar() == 1950
    metadata.reflect(engine, schema="segments", views=True)
    assert {f"segments.{name}" for name in [*VIEWS, *SHARED]} <= set(metadata.tables)


def test_pandas__reads_a_segment_and_memberships(engine):
    pandas = pytest.importorskip("pandas")
    vip = pandas.read_sql_table("vip", engine, schema="segments")
    assert sorted(vip["user_id"]) == MEMBERS["vip"]
    frame = pandas.read_sql("SELECT * FROM segments.membership", engine)
    assert list(frame.columns) == ["user_id", "segment_id", "slug", "entered_at"]
    assert frame.groupby("slug").size().to_dict() == {
        name.replace("_", "-"): len(keys) for name, keys in MEMBERS.items()
    }
    assert frame["entered_at"].min() == datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_dbt__builds_models_on_segments_and_tests_them(shop, tmp_path):
    if find_spec("dbt") is None or find_spec("dbt.adapters.postgres") is None:
        pytest.skip("dbt-core or dbt-postgres is not installed")
    parts = conninfo_to_dict(shop.reader)
    done = subprocess.run(
        [
            sys.executable, "-m", "dbt.cli.main", "build", "--no-use-colors",
            "--project-dir", PROJECT, "--profiles-dir", PROJECT,
            "--target-path", tmp_path / "target", "--log-path", tmp_path / "logs",
        ],
        env={
            **os.environ, "DO_NOT_TRACK": "1",
            "BI_HOST": str(parts.get("host", "localhost")),
            "BI_PORT": str(parts.get("port", 5432)),
            "BI_USER": ROLE, "BI_PASSWORD": PASSWORD, "BI_DATABASE": str(parts["dbname"]),
        },
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS=9 WARN=0 ERROR=0 SKIP=0" in done.stdout
    assert run(shop.reader, "SELECT slug, revenue FROM bi.revenue_by_segment ORDER BY 2, 1") == [
        ("inner-circle", 200), ("pilot", 200), ("win-back", 250), ("vip", 1950), ("large", 2200),
    ]  # fmt: skip
    assert run(shop.reader, "SELECT count(*) FROM bi.vip_orders") == [(6,)]


def test_dbt__models_are_those_of_the_page():
    told = [*blocks("sql"), *blocks("yaml")]
    for path in (PROJECT / "models").iterdir():
        assert path.read_text() in told
        assert f"`models/{path.name}`" in PAGE
    assert len(list((PROJECT / "models").iterdir())) == len(
        [code for code in told if "{{ source" in code or "sources:" in code]
    )


def test_duckdb__reads_segments(shop):
    duckdb = pytest.importorskip("duckdb")
    found = find_spec("duckdb_extension_postgres_scanner")
    if found is None or found.origin is None:
        pytest.skip("DuckDB's extension comes from the web, or from this package")
    folder = Path(found.origin).parent / "extensions" / f"v{duckdb.__version__}"
    (code,) = [code for code in blocks("sql") if "ATTACH" in code]
    attach, count = code.replace(f"dbname=shop user={ROLE}", shop.reader).splitlines()
    with duckdb.connect() as connection:
        # DuckDB verifies its signature.
        connection.execute(f"LOAD '{folder / 'postgres_scanner.duckdb_extension'}'")
        connection.execute(attach)
        assert connection.execute(count).fetchall() == [(6,)]
        listed = connection.execute("SHOW ALL TABLES").fetchall()
        names = {name for _, schema, name, *_ in listed if schema == "segments"}
        assert names == {*VIEWS, *SHARED}
        joined = "SELECT sum(amount) FROM shop.shop_order JOIN shop.segments.vip USING (user_id)"
        assert connection.execute(joined).fetchall() == [(1950,)]
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM shop.segments_live.vip")
