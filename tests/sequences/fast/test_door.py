"""Other modules use the fast readers only through ``maskcli.sequences.fast``."""

from __future__ import annotations

import pytest

from maskcli.sequences import fast
from tests.test_floors import imports_of, module_name, modules

pytestmark = pytest.mark.quick
DOOR = fast.__name__


def test_fast_modules_are_imported_only_by_the_door() -> None:
    for path in modules():
        if module_name(path).startswith(DOOR):
            continue
        imports = {name for name in imports_of(path) if name.startswith(f"{DOOR}.")}
        assert imports <= {f"{DOOR}.{name}" for name in fast.__all__}, module_name(path)


def test_door_exports_all_its_functions() -> None:
    assert sorted(fast.__all__) == fast.__all__
    functions = {name for name, value in vars(fast).items() if getattr(value, "__module__", None) == DOOR}
    assert {name for name in functions if not name.startswith("_")} <= set(fast.__all__)
