"""Which tests run: the choices of `--slow` divide all tests, without a gap."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import FEW, choose_items

pytestmark = pytest.mark.quick
PARTS = ("few", "more", "rest")


class Item:
    """A test as pytest collects it: a name and marks."""

    def __init__(self, nodeid: str, **marks: Any) -> None:
        self.nodeid = nodeid
        self._marks = {name: SimpleNamespace(kwargs=kwargs) for name, kwargs in marks.items()}

    def get_closest_marker(self, name: str) -> Any:
        return self._marks.get(name)


MODEL = [Item(f"a.py::test_model[{case}]") for case in range(30)]
SLOW = [Item(f"a.py::test_slow[{case}]", slow={"share": 0.5}) for case in range(30)]
QUICK = [Item(f"b.py::test_quick_{name}", quick={}) for name in range(9)]
QUICK_AND_SLOW = [Item(f"b.py::test_damage[{case}]", quick={}, slow={"share": 0.5}) for case in range(8)]
EXHAUSTIVE = [Item("a.py::test_alike[0]", exhaustive={})]
SINGLE = [Item(f"c.py::test_single_{name}") for name in range(9)]
ITEMS: list[Any] = [*MODEL, *SLOW, *QUICK, *QUICK_AND_SLOW, *EXHAUSTIVE, *SINGLE]


def count(choice: str, quick: bool = False) -> list[int]:
    chosen = choose_items(ITEMS, choice, quick)
    return [len(chosen & set(group)) for group in (MODEL, SLOW, QUICK, QUICK_AND_SLOW, EXHAUSTIVE, SINGLE)]


def test_shares_are_of_cases_and_of_functions() -> None:
    assert FEW == 1 / 4
    assert count("share") == [30, 15, 9, 4, 0, 9]
    assert count("few") == [8, 4, 9, 4, 0, 3]
    assert count("all") == [30, 30, 9, 8, 1, 9]
    assert count("share", quick=True) == [30, 0, 9, 0, 0, 9]


def test_parts_are_all_tests_each_once() -> None:
    parts = [choose_items(ITEMS, part, quick=False) for part in PARTS]
    assert sum(map(len, parts)) == len(ITEMS)
    assert set().union(*parts) == set(ITEMS)
    assert choose_items(ITEMS, "share", quick=False) == parts[0] | parts[1]
    assert choose_items(ITEMS, "half", quick=False) < parts[1]
    assert choose_items(ITEMS, "eighth", quick=False) < parts[2]


def test_choice_is_the_same_each_time() -> None:
    assert choose_items(ITEMS, "few", quick=False) == choose_items(ITEMS, "few", quick=False)


def test_ci_runs_more_and_an_eighth_of_the_rest() -> None:
    script = Path(__file__).parents[1].joinpath(".ci", "run").read_text()
    assert "-m pytest -q --slow=more\n" in script
    assert "-m pytest -q --slow=eighth\n" in script
