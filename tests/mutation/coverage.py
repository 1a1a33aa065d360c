"""A plugin of pytest that records which functions of the package each test calls, and how long the test takes."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = f"{ROOT / 'maskcli'}/"
MAP = ROOT / ".mutation-map.json"
"""The recorded map: for each test its seconds and functions, as ``path:first line``. Git ignores it."""


def measure_processor_time() -> float:
    """Return the processor's seconds of this process and of its children: those of the clock grow on a busy machine."""
    return sum(os.times()[:4])


class Recorder:
    """Records the functions that are called while a test runs, fixtures included."""

    def __init__(self, target: Path) -> None:
        """Begin with the tests that were recorded before."""
        self.target = target
        self.tests: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test."""
        codes: set[CodeType] = set()

        def note(frame: FrameType, event: str, _: object) -> None:
            del event
            codes.add(frame.f_code)  # Without a result, no line of the function is traced.

        started = measure_processor_time()
        sys.settrace(note)
        try:
            yield
        finally:
            sys.settrace(None)
        functions = {
            f"{code.co_filename.removeprefix(f'{ROOT}/')}:{code.co_firstlineno}"
            for code in codes
            if code.co_filename.startswith(PACKAGE)
        }
        self.tests[item.nodeid] = {
            "seconds": round(measure_processor_time() - started, 3),
            "functions": sorted(functions),
        }
        if len(self.tests) % 20 == 0:
            self.write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Forget a test that fails without a mutant."""
        if report.failed:
            self.tests.pop(report.nodeid, None)

    def pytest_sessionfinish(self) -> None:
        """Write the map."""
        self.write()

    def write(self) -> None:
        """Write the tests so far."""
        self.target.write_text(json.dumps(self.tests))


def record(arguments: list[str]) -> int:
    """Run tests, and record them; return the exit code of pytest."""
    return int(pytest.main([*arguments, "-q", "-n", "0"], plugins=[Recorder(MAP)]))


def choose_tests(tests: dict[str, Any], path: str, function: int, budget: float) -> list[str]:
    """Return tests that call a function, as many as run in ``budget`` seconds, at least three.

    Fast tests come first, and those of the module of the same name; cases of one test come after other tests.
    """
    place = f"{path}:{function}"
    calling = sorted((entry["seconds"], name) for name, entry in tests.items() if place in entry["functions"])
    module = f"test_{Path(path).stem}.py"
    cases: Counter[str] = Counter()
    order = []
    for seconds, name in calling:
        test = name.partition("[")[0]
        cost = seconds / 4 if test.partition("::")[0].endswith(module) else seconds
        order.append((cases[test], cost, seconds, name))
        cases[test] += 1
    chosen: list[str] = []
    total = 0.0
    for _, _, seconds, name in sorted(order):
        if len(chosen) < 3 or total + seconds <= budget:
            total += seconds
            chosen.append(name)
    return chosen
