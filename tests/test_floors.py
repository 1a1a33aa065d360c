"""The house rules: imports point downwards, and commands without a model never load TensorFlow."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.quick

PACKAGE = ROOT / "maskcli"
ROOMS = (
    "__main__",
    "entry",
    "cli",
    "commands",
    "integrations",
    "api",
    "corpus",
    "rules",
    "conclusions",
    "losses",
    "probes",
    "trace",
    "inputs",
    "models",
    "sequences",
    "render",
    "backends",
    "records",
    "tolerance",
    "errors",
    "version",
)
"""From top to bottom; a module imports from its own room and from those below."""
FACE = ""
"""The package itself, which loads everything lazily; no module imports from it."""
KERAS_ROOMS = ("models", "inputs", "trace", "probes", "losses", "backends")
ONLY_IN = {
    "click": ("cli", "commands"),
    "rich": ("render",),
    "keras": KERAS_ROOMS,
    "tensorflow": ("backends", "inputs", "losses"),
    "jax": ("backends",),
    "torch": ("backends",),
    "igraph": ("render",),
    "msgspec": ("render",),
    "vl_convert": ("render",),
    "junitparser": ("render",),
}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return FACE if first == "__init__" else first


def imports_of(path: Path) -> set[str]:
    """Return all imports of a file, at its top, in functions and for type checkers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    room = room_of(path)
    ours = {name for name in imports_of(path) if name.startswith("maskcli.")}
    for name in ours:
        target = name.split(".")[1]
        if room == FACE:
            continue
        assert target in ROOMS, f"{room} imports {name} from the package itself"
        assert ROOMS.index(room) <= ROOMS.index(target), f"{room} imports upwards: {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path) for path in modules()}
    graph = {}
    for path in modules():
        # The name that is imported is a module, or something in the module before the last dot.
        targets = {name if name in names else name.rpartition(".")[0] for name in imports_of(path)}
        graph[module_name(path)] = targets & names
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_its_rooms(path: Path) -> None:
    for name in imports_of(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{path.name} imports {name}"


def test_imports_are_absolute() -> None:
    for path in modules():
        relative = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
        ]
        assert not relative, path


def test_the_oldest_dependencies_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds, extras = {}, project["optional-dependencies"]
    for line in (
        *project["dependencies"],
        *extras["report"],
        *extras["parquet"],
        *extras["tokenizers"],
        *extras["tfrecord"],
    ):
        name, bound = re.match(r"([a-z0-9-]+)>=([0-9.]+)", line).groups()  # type: ignore[union-attr]
        bounds.setdefault(name, bound)
    lowest = dict(re.findall(r"^([a-z0-9-]+)==([0-9.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.M))
    assert lowest.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert f"{lowest[name]}.".startswith(f"{bound}."), name


def test_every_module_is_in_a_room() -> None:
    assert {room_of(path) for path in modules()} <= {FACE, *ROOMS}


WITHOUT_TENSORFLOW = [
    ["--version"],
    ["--help"],
    ["pad"],
    ["pad", "--format", "json"],
    ["profile"],
    ["profile", "--format", "json"],
    ["profile", "nofile.txt", "--processes", "2"],
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
