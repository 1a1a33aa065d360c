"""A public name has one meaning in the package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "maskcli"
ONE_IN_EACH_FILE = {
    "rules": {"judge"},
    "render/views": {"view"},
    "render/charts": {"make_figure"},
    "models/builtin": {"check_settings", "make_head"},
}
"""By folder, the entry functions that its files share by design."""
VERBS = {"check", "compare", "inspect", "loss", "models", "pad", "profile", "report"}
"""A command and the function of the library that it calls, each in the file of its name."""


def public_names(path: Path) -> Iterator[str]:
    """Yield the classes, functions and type aliases of a module; constants in capitals may repeat."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_alias(node):
            name = node.targets[0].id
        else:
            continue
        if not name.startswith("_"):
            yield name


def _is_alias(node: ast.Assign) -> bool:
    """Return whether an assignment names a type; a type variable belongs to its own module."""
    target, value = node.targets[0], node.value
    is_variable = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"
    return isinstance(target, ast.Name) and not target.id.isupper() and not is_variable


def is_shared_by_design(name: str, folder: str, path: Path) -> bool:
    if name in VERBS and folder in ("api", "commands"):
        return path.stem == name
    return name in ONE_IN_EACH_FILE.get(folder, ())


def test_public_name_has_one_meaning() -> None:
    homes = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        folder = path.parent.relative_to(PACKAGE).as_posix()
        for name in public_names(path):
            if not is_shared_by_design(name, folder, path):
                homes[name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_every_exception_is_needed() -> None:
    for folder, names in ONE_IN_EACH_FILE.items():
        files = [set(public_names(path)) for path in (PACKAGE / folder).glob("*.py")]
        for name in names:
            assert sum(name in file for file in files) > 1, f"{folder}: {name}"
    for name in VERBS:
        for room in ("api", "commands"):
            assert name in set(public_names(PACKAGE / room / f"{name}.py")), f"{room}: {name}"
