"""The tool that changes the program: its changes, its choice of tests, and that it tells dead from living."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment
from tests.mutation import __main__ as mutation
from tests.mutation.coverage import choose_tests
from tests.mutation.mutants import draw_mutants, list_mutants, mutate
from tests.mutation.workers import exchange_code

pytestmark = [pytest.mark.quick, pytest.mark.slow(share=1 / 2)]

SOURCE = '''
def choose(numbers: list[int]) -> int | None:
    """Return a number."""
    for number in numbers:
        if number < 3 and not number == 1:
            continue
        return number + 1
    return None
'''


def write_package(root: Path) -> Path:
    room = root / "maskcli" / "rules"
    room.mkdir(parents=True)
    (room / "choose.py").write_text(SOURCE)
    return root


def test_mutants_differ_in_one_place(tmp_path: Path) -> None:
    mutants = list_mutants(write_package(tmp_path), ["rules"])
    assert [mutant.change for mutant in mutants] == [
        "if number < 3 and (not number == 1) -> if not",
        "number < 3 and (not number == 1) -> number < 3 or not number == 1",
        "number < 3 -> number <= 3",
        "3 -> 4",
        "not number == 1 -> number == 1",
        "number == 1 -> number != 1",
        "1 -> 2",
        "continue -> break",
        "return number + 1 -> return None",
        "number + 1 -> number - 1",
        "1 -> 2",
    ]
    assert {mutant.function for mutant in mutants} == {2}
    results = []
    for mutant in mutants:
        scope: dict[str, object] = {}
        exec(mutate(SOURCE, mutant.number), scope)  # noqa: S102
        results.append([scope["choose"]([number]) for number in (1, 2, 3, 4)])  # type: ignore[operator]
    assert results[7] == [2, None, 4, 5]
    assert results[2] == [2, None, None, 5]
    assert results[8] == [None] * 4
    assert results[9] == [0, None, 2, 3]


def test_sample_depends_on_the_seed() -> None:
    mutants = list_mutants(ROOT, ["rules"])
    assert len(mutants) > 200
    assert draw_mutants(mutants, 20, 0) == draw_mutants(mutants, 20, 0) != draw_mutants(mutants, 20, 1)


def test_all_mutants_can_be_compiled() -> None:
    for mutant in draw_mutants(list_mutants(ROOT, ["trace", "probes", "losses", "rules"]), 60, 3):
        source = (ROOT / mutant.path).read_text()
        changed = mutate(source, mutant.number)
        compile(changed, mutant.path, "exec")
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


def test_fastest_tests_of_a_function_are_chosen() -> None:
    tests = {
        f"t{seconds}": {"seconds": seconds, "lines": {"maskcli/a.py": [1, 3]}} for seconds in (9.0, 0.5, 4.0, 1.0, 30.0)
    } | {"other": {"seconds": 0.1, "lines": {"maskcli/a.py": [9]}}}
    assert choose_tests(tests, "maskcli/a.py", 3, 20) == ["t0.5", "t1.0", "t4.0", "t9.0"]
    assert choose_tests(tests, "maskcli/a.py", 3, 1) == ["t0.5", "t1.0", "t4.0"]
    assert choose_tests(tests, "maskcli/b.py", 3, 1) == []


def test_different_tests_are_chosen_before_cases_of_one() -> None:
    names = {"t.py::case[1]": 0.1, "t.py::case[2]": 0.2, "t.py::other": 2.0, "test_a.py::own": 4.0, "t.py::slow": 50.0}
    tests = {name: {"seconds": seconds, "lines": {"maskcli/a.py": [1, 3]}} for name, seconds in names.items()}
    chosen = choose_tests(tests, "maskcli/a.py", 3, 10)
    assert chosen == ["t.py::case[1]", "test_a.py::own", "t.py::other", "t.py::case[2]"]


def test_a_second_run_continues_the_first(tmp_path: Path) -> None:
    mutants = list_mutants(write_package(tmp_path), ["rules"])
    results = [(mutants[2], "survived"), (mutants[3], "killed"), (mutants[2], "killed"), (mutants[6], "no test")]
    lines = [
        json.dumps({"mutant": str(mutant), "number": mutant.number, "outcome": outcome, "tests": [f"t{index}"]})
        for index, (mutant, outcome) in enumerate(results)
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(lines))
    assert mutation.read_outcomes(path, mutants) == {mutants[2]: "killed", mutants[3]: "killed", mutants[6]: "no test"}
    assert mutation.read_outcomes(tmp_path / "none.jsonl", mutants) == {}
    assert mutation.read_tried(path)[str(mutants[2]), mutants[2].number] == {"t0", "t2"}
    assert mutation.read_tried(None) == {}


EXCHANGED = """
import functools


class Shape:
    def __init__(self):
        self.sides = 3

    @property
    def corners(self):
        return self.sides + 1

    @staticmethod
    def name():
        return "shape" + "s"


@functools.cache
def count():
    return 4
"""


def test_code_is_exchanged_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "exchanged.py"
    path.write_text(EXCHANGED)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("exchanged")
    other = EXCHANGED.replace("3", "5").replace("+ 1", "- 1").replace('"s"', '"d"').replace("return 4", "return 7")
    with exchange_code("exchanged", str(path), other) as changed:
        assert (changed, module.Shape().corners, module.Shape.name(), module.count()) == (4, 4, "shaped", 7)
    module.count.cache_clear()
    assert (module.Shape().corners, module.Shape.name(), module.count()) == (4, "shapes", 4)
    with exchange_code("exchanged", str(path), EXCHANGED) as changed:
        assert changed == 0


PROGRAM = """
import sys
from tests.mutation import __main__ as mutation
from tests.mutation.mutants import list_mutants
mutation.import_libraries = lambda: None
worker = mutation.Worker(mutation.ROOT)
test = "tests/rules/test_data_rules.py::test_padding_waste"
for change in ("16 -> 17", "rows >= FEWEST_ROWS -> rows > FEWEST_ROWS", "return rows >= FEWEST_ROWS"):
    mutants = [m for m in list_mutants(mutation.ROOT, ["rules"]) if "padding_waste" in m.path and m.change.startswith(change)]
    print([(mutation.run_tests(m, [test], 60), worker.try_mutant(m, [test], 60)) for m in mutants[:1]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process with these libraries cannot be forked safely")
def test_tests_notice_a_mutant() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, env=clean_environment(), timeout=120
    )
    assert done.stdout.splitlines() == ["[]", "[('survived', 'survived')]", "[('killed', 'killed')]"], done.stderr
