"""The package: what a wheel holds, and what a project that uses it sees."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_wheel__has_sql_migrations_and_types(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
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
    assert "segments/sql/replace_live_view.sql" in packed
    assert not [name for name in packed if name.split("/")[0] in ("tests", "demo", "benchmarks")]


@pytest.mark.parametrize(
    "model",
    [
        "variants.IntegerUser",
        "variants.BigUser",
        "variants.UUIDUser",
        "variants.TextUser",
        "variants.OddUser",
        "variants.ChildUser",
    ],
)
def test_user_model__of_every_kind_works(model):
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist",
            "tests/variants/suite.py",
        ],
        cwd=ROOT,
        env={**os.environ, "SEGMENTS_TEST_USER": model},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
