"""The floor plan: imports point down, no circle, small modules, and all SQL in one folder."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import segments

ROOT = Path(segments.__file__).parent

LAYERS = [
    {"conf", "exceptions", "signals"},
    {"sql"},
    {"rows"},
    {"definition"},
    {"pgviews", "roles"},
    {"changes", "membership", "refresh", "refreshing", "tasks", "validation"},
    {"lists", "saving", "sync"},
    {"models", "users"},
    {"admin", "apps", "checks", "management", "templatetags"},
]
"""From the bottom; a module imports from its own layer and from lower ones."""

MODULES = sorted(path for path in ROOT.rglob("*.py") if "migrations" not in path.parts)

STATEMENTS = sorted((ROOT / "sql").glob("*.sql"))

MAX_LINES = 300

MAX_FILES = 166
"""Python and SQL; a new feature has a room or a file of its own, and none grows beside it."""

KEYWORDS = (
    "ALTER|CALL|CLUSTER|COMMENT|COPY|CREATE|DELETE|DO|DROP|EXECUTE|EXPLAIN|GRANT|INSERT|LISTEN|LOCK"
    "|MERGE|NOTIFY|REFRESH|REINDEX|RESET|REVOKE|SELECT|SET|SHOW|TABLE|TRUNCATE|UPDATE|VALUES|WITH"
)


def name_of(path):
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Yield (module, whether it is imported inside a function) of what a module imports of us."""
    tree = ast.parse(path.read_text())
    for_typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    known = {name_of(module) for module in MODULES}
    for node in ast.walk(tree):
        if id(node) in for_typing:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            continue
        for target in targets:
            module = target
            while module and module not in known:
                module = module.rpartition(".")[0]
            if module not in ("", "segments", name_of(path)):
                yield module, id(node) in hidden


def layer(module):
    room = module.split(".")[1]
    for level, rooms in enumerate(LAYERS):
        if room in rooms:
            return level
    raise AssertionError(f"{module} belongs to no layer")


def names_in(path):
    return re.findall(r"^-- name: (\w+)$", path.read_text(), re.MULTILINE)


def test_layers__are_at_most_nine_and_name_what_exists():
    assert len(LAYERS) <= 9
    rooms = {path.name.removesuffix(".py") for path in ROOT.iterdir() if path.name[0] != "_"}
    others = {"migrations", "py.typed", "static", "templates"}
    assert set().union(*LAYERS) == rooms - others


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports__point_down(path):
    if path.parent == ROOT and path.name == "__init__.py":
        return
    for other, _ in imports_of(path):
        assert layer(other) <= layer(name_of(path)), f"it imports {other}"


@pytest.mark.slow
def test_imports__go_round_no_circle():
    graph = {name_of(path): {module for module, _ in imports_of(path)} for path in MODULES}
    TopologicalSorter(graph).prepare()  # Raises CycleError with the circle.


@pytest.mark.slow
def test_imports__inside_functions_are_few():
    hidden = {
        (name_of(path), module)
        for path in MODULES
        for module, is_hidden in imports_of(path)
        if is_hidden
    }
    # A tasks framework is optional, and checks and receivers need the models.
    optional = {
        (name, "segments.tasks") for name in ("segments.saving.follow", "segments.users.mixin")
    }
    ready = {("segments.apps", f"segments.{name}") for name in ("checks", "rows", "sync.migrate")}
    assert hidden == optional | ready | {("segments.admin.progress", "segments.tasks")}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules__hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_folders__are_tables_of_contents():
    def entries(folder):
        return [path for path in folder.iterdir() if path.name[0] not in "_."]

    folders = {path.parent for path in [*MODULES, *STATEMENTS]} - {ROOT}
    assert len(entries(ROOT)) <= 28
    assert max(len(entries(folder)) for folder in folders) <= 22
    assert len(MODULES) + len(STATEMENTS) <= MAX_FILES


def test_statements__are_each_used_and_named_once():
    code = "\n".join(path.read_text() for path in MODULES)
    sql = "\n".join(path.read_text() for path in STATEMENTS)
    names = [name for path in STATEMENTS for name in names_in(path)]
    assert len(names) == len(set(names))
    for name in names:
        assert f'"{name}"' in code or f"-- part: {name}\n" in sql, f"{name} is not used"


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.name)
def test_statements__say_when_they_run(path):
    for section in path.read_text().split("-- name: ")[1:]:
        name, comment, *lines = section.splitlines()
        assert comment.startswith(("-- Runs", "-- Part of", "-- Parsed")), name
        code = "".join(line for line in lines if not line.strip().startswith("--"))
        assert ";" not in code or "$body$" in code, name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sql__is_said_in_statements_only(path):
    """What Python says to a database is a statement's name: no call has SQL as its argument."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called not in ("execute", "executemany", "copy", "raw", "SQL", "RawSQL"):
            continue
        for argument in node.args[:1]:
            texts = [
                constant.value
                for constant in ast.walk(argument)
                if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
            ]
            for text in texts:
                assert not re.match(rf"\s*({KEYWORDS})\b", text), f"{text!r} is no statement"
