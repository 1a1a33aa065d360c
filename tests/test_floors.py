"""The house rules: imports point downwards, and what needs no model never loads TensorFlow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.quick

PACKAGE = ROOT / "maskcli"
FLOORS = ("__main__", "cli", "commands", "verbs", "sequences", "models", "inspection", "rules", "render")
SIDEWAYS = ("", "display", "errors", "evidence", "records")
LATER = {"display": "maskcli.render.notebook"}
"""What a word of every floor may import, but only when it is called: a notebook asks a record how it is shown."""
ONLY_IN = {
    "click": ("cli", "commands"),
    "rich": ("render",),
    "keras": ("models", "inspection"),
    "tensorflow": ("models", "inspection"),
    "igraph": ("render",),
    "vl_convert": ("render",),
}


def floor_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    here = floor_of(path)
    for name in imports_of(path):
        if not name.startswith("maskcli."):
            continue
        there = name.split(".")[1]
        if here == "" or there in SIDEWAYS or there not in FLOORS or name.startswith(LATER.get(here, " ")):
            continue
        assert here in FLOORS, f"{here} is a word of every floor and imports none, but imports {name}"
        assert FLOORS.index(here) <= FLOORS.index(there), f"{here} imports upwards: {name}"


def test_what_points_upwards_is_imported_when_it_is_called() -> None:
    for here, name in LATER.items():
        tree = ast.parse((PACKAGE / f"{here}.py").read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        lazy = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
        every = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == name]
        assert every
        assert set(every) <= set(lazy)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_its_floors(path: Path) -> None:
    for name in imports_of(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or floor_of(path) in allowed, f"{path.name} imports {name}"


def test_imports_are_absolute() -> None:
    for path in modules():
        relative = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
        ]
        assert not relative, path


def test_the_oldest_dependencies_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds, extras = {}, project["optional-dependencies"]
    for line in (*project["dependencies"], *extras["report"], *extras["parquet"]):
        name, bound = re.match(r"([a-z-]+)>=([0-9.]+)", line).groups()  # type: ignore[union-attr]
        bounds.setdefault(name, bound)
    lowest = dict(re.findall(r"^([a-z-]+)==([0-9.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.M))
    assert lowest.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{lowest[name]}.".startswith(f"{bound}."), name


def test_every_module_is_on_a_floor() -> None:
    assert {floor_of(path) for path in modules()} <= {*FLOORS, *SIDEWAYS}


WITHOUT_TENSORFLOW = [
    ["--version"],
    ["--help"],
    ["pad"],
    ["pad", "--format", "json"],
    ["models"],
    ["rules"],
    ["rules", "--format", "json"],
    ["explain", "MSK001"],
    ["explain", "MSK999"],
    ["check", "--data-only"],
    ["check", "--data-only", "--format", "json"],
    ["check", "--data-only", "nofile.txt"],
    ["check", "--data-only", "--model", "embedding-dense"],
    ["check", "--select", "NOPE"],
    ["check", "--model", "nosuch"],
    ["check", "--model", "x.keras", "--mask-source", "none"],
    ["check", "--targets-field", "y"],
    ["check", "--help"],
    ["check", "--json-schema"],
    ["inspect", "--model", "nosuch"],
    ["inspect", "--model", "x.keras", "--units", "3"],
    ["inspect", "--unsafe-load"],
    ["pad", "--help"],
    ["inspect", "--help"],
    ["loss", "--help"],
    ["inspect", "--json-schema"],
    ["inspect", "--nosuch"],
    ["inspect", "--value", "7"],
    ["inspect", "--model", "embedding-dense", "--last-only"],
    ["inspect", "--input-dim", "9"],
    ["inspect", "nofile.txt"],
    ["inspect", "--output", "x.csv"],
    ["loss", "--targets", "nofile.txt"],
    ["loss", "--loss", "binary_crossentropy", "--targets", "arange"],
    [
        "loss",
        "--model",
        "embedding-dense",
        "--loss",
        "sparse_categorical_crossentropy",
        "--targets",
        "shift",
        "--units",
        "2",
    ],
]


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("arguments", WITHOUT_TENSORFLOW, ids=" ".join)
def test_no_tensorflow_without_a_model(arguments: list[str]) -> None:
    code = f"""
import atexit, sys
loaded = lambda: [name for name in ("tensorflow", "keras") if name in sys.modules]
atexit.register(lambda: print("LOADED", loaded(), file=sys.stderr))
from maskcli.cli import run
run({arguments!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert "LOADED []" in done.stderr
    assert "Traceback" not in done.stderr


def test_shell_completion_loads_no_tensorflow() -> None:
    code = """
import sys
from maskcli.cli import run
run([])
print([name for name in ("tensorflow", "keras") if name in sys.modules], file=sys.stderr)
"""
    env = clean_environment(_MASKCLI_COMPLETE="bash_complete", COMP_WORDS="maskcli ins", COMP_CWORD="1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert "inspect" in done.stdout
    assert not re.search("tensorflow|keras", done.stderr)


def test_importing_the_library_loads_nothing() -> None:
    code = (
        "import sys, maskcli; print([n for n in ('numpy', 'click', 'rich', 'keras', 'tensorflow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
