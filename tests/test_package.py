"""The wheel has all files of the package."""

import zipfile

import pytest

from tests.processes import ROOT, run_module

pytestmark = pytest.mark.slow


def test_wheel__has_sql_migrations_and_types(tmp_path):
    run_module("hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "segments").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in packed if name.startswith("segments/")} == source
    assert {"segments/py.typed", "segments/migrations/0001_initial.py"} <= packed
    assert "segments/sql/segment.sql" in packed
    assert not [name for name in packed if name.split("/")[0] in ("tests", "demo", "benchmarks")]
