"""A plugin of pytest that records which lines of the package each test runs, and how long the test takes."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = f"{ROOT / 'maskcli'}/"
MAP = ROOT / ".mutation-map.json"
"""The recorded map: for each test its seconds, and its lines by the path of the module. Git ignores it."""

Tracer = Callable[[FrameType, str, object], Any]


def measure_processor_time() -> float:
    """Return the processor's seconds of this process and of its children: those of the clock grow on a busy machine."""
    return sum(os.times()[:4])


class Recorder:
    """Records the lines that run in a test, fixtures included."""

    def __init__(self, target: Path) -> None:
        """Begin with the tests that were recorded before."""
        self.target = target
        self.tests: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record one test."""
        lines: dict[str, set[int]] = {}

        def enter(frame: FrameType, event: str, _: object) -> Tracer | None:
            del event
            path = frame.f_code.co_filename
            if not path.startswith(PACKAGE):
                return None
            add = lines.setdefault(path, set()).add

            def note(inner: FrameType, event: str, _: object) -> Tracer:
                del event
                add(inner.f_lineno)
                return note

            add(frame.f_lineno)
            return note

        started = measure_processor_time()
        sys.settrace(enter)
        try:
            yield
        finally:
            sys.settrace(None)
        seconds = round(measure_processor_time() - started, 3)
        places = {path.removeprefix(f"{ROOT}/"): sorted(numbers) for path, numbers in sorted(lines.items())}
        self.tests[item.nodeid] = {"seconds": seconds, "lines": places}
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


def choose_tests(tests: dict[str, Any], path: str, line: int, budget: float) -> list[str]:
    """Return tests that run a line, as many as run in ``budget`` seconds, at least three.

    Fast tests come first, and those of the module of the same name; cases of one test come after other tests.
    """
    running = sorted((entry["seconds"], name) for name, entry in tests.items() if line in entry["lines"].get(path, ()))
    module = f"test_{Path(path).stem}.py"
    cases: Counter[str] = Counter()
    order = []
    for seconds, name in running:
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
