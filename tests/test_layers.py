"""Imports point down: surfaces, then refresh and sync, models, sql, conf and exceptions."""

import ast
from pathlib import Path

import pytest

import segments

ROOT = Path(segments.__file__).parent

LAYERS = [
    {"conf", "exceptions", "signals"},
    {"sql"},
    {"membership", "mixin", "querysets"},
    {"models"},
    {"source", "order", "schedule"},
    {"locking"},
    {"outcome"},
    {"refusals"},
    {"refresh"},
    {"workers"},
    {"runs"},
    {"watch"},
    {"lifecycle"},
    {"preview"},
    {"sync"},
    {"forgetting", "uninstall"},
    {"migrating"},
    {"admin", "apps", "checks", "management", "tasks"},
]
"""From the bottom; a module imports those of its own layer and of lower ones."""

MODULES = sorted(path for path in ROOT.rglob("*.py") if "migrations" not in path.parts)


def layer(name):
    for level, modules in enumerate(LAYERS):
        if name in modules:
            return level
    raise AssertionError(f"{name} belongs to no layer")


def imported(path):
    """Give what of this package is imported when a module is, not what functions import."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "segments":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("segments."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports__point_down(path):
    name = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if name == "__init__":
        return
    for other in imported(path):
        assert layer(other) <= layer(name), f"{name} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules__hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 360


def test_sql__stands_in_files_of_which_each_is_used_and_says_what_it_locks():
    code = "\n".join(path.read_text() for path in MODULES)
    for path in (ROOT / "sql").glob("*.sql"):
        text = path.read_text()
        assert f'"{path.stem}"' in code, f"{path.name} is not used"
        assert text.startswith(("-- Runs", "-- Part of"))
        code_lines = [line for line in text.splitlines() if not line.startswith("--")]
        assert ";" not in "".join(code_lines) or "$body$" in text
