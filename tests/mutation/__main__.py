"""Record the map with ``python -m tests.mutation --record``, then run ``python -m tests.mutation --mutants 300 --seed 0``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.mutation.coverage import MAP, ROOT, choose_tests, record
from tests.mutation.mutants import UNCHANGED, Mutant, draw_mutants, list_mutants, mutate
from tests.mutation.workers import PATIENCE, Worker, limit_processor_time, name_module

ROOMS = ("trace", "probes", "losses", "rules")
OUTCOMES = {0: "survived", 1: "killed"}
"""By the exit code of pytest; all others are errors, which kill a mutant too."""
ALIVE = ("survived", "no test")


def read_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--record", nargs="*", metavar="TEST", help="record which lines these tests run, and end")
    parser.add_argument("--mutants", type=int, default=300, help="size of the sample (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    parser.add_argument("--rooms", nargs="*", default=ROOMS, help=f"rooms of the package (default {' '.join(ROOMS)})")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of tests for a mutant (default 10)")
    parser.add_argument(
        "--part", type=int, nargs=2, default=(1, 1), metavar=("K", "N"), help="try every Nth mutant, from the Kth on"
    )
    parser.add_argument("--output", type=Path, help="file for one line of JSON per mutant; a second run continues it")
    parser.add_argument(
        "--again", action="store_true", help="try survivors in this file by tests that they have not met"
    )
    return parser.parse_args()


def main() -> int:
    """Try the mutants and return the exit code: 1 if more than a tenth of those that a test calls survive."""
    arguments = read_arguments()
    if arguments.record is not None:
        return record(arguments.record or [f"tests/{room}" for room in ROOMS])
    if not MAP.exists():
        sys.exit("There is no map yet: python -m tests.mutation --record")
    mutants = draw_mutants(list_mutants(ROOT, arguments.rooms), arguments.mutants, arguments.seed)
    outcomes = read_outcomes(arguments.output, mutants)
    import_libraries()
    for mutant, outcome, chosen in try_mutants(mutants, outcomes, arguments):
        outcomes[mutant] = outcome
        if outcome in ALIVE:
            print(f"{outcome}: {mutant}", flush=True)
        if arguments.output:
            with arguments.output.open("a") as output:
                result = {"mutant": str(mutant), "number": mutant.number, "outcome": outcome, "tests": chosen}
                output.write(json.dumps(result) + "\n")
    counts = Counter(outcomes.values())
    print(json.dumps(dict(counts.most_common())))
    tried = counts.total() - counts["no test"]
    return int(10 * counts["survived"] > tried)


def read_outcomes(path: Path | None, mutants: Sequence[Mutant]) -> dict[Mutant, str]:
    """Return the last outcomes of mutants that an earlier run wrote into a file; nothing without the file."""
    if path is None or not path.exists():
        return {}
    results = [json.loads(line) for line in path.read_text().splitlines()]
    last = {(result["mutant"], result["number"]): result["outcome"] for result in results}
    keys = {mutant: (str(mutant), mutant.number) for mutant in mutants}
    return {mutant: last[key] for mutant, key in keys.items() if key in last}


def read_tried(path: Path | None) -> dict[tuple[str, int], set[str]]:
    """Return the tests by which each mutant was tried so far, by its text and its number."""
    tried: dict[tuple[str, int], set[str]] = {}
    for line in path.read_text().splitlines() if path is not None and path.exists() else ():
        result = json.loads(line)
        tried.setdefault((result["mutant"], result["number"]), set()).update(result["tests"])
    return tried


def try_mutants(
    mutants: Sequence[Mutant], outcomes: dict[Mutant, str], arguments: argparse.Namespace
) -> Iterator[tuple[Mutant, str, list[str]]]:
    """Yield mutants with their outcome and the chosen tests: those without one, and with ``--again`` those alive."""
    tests, tried = json.loads(MAP.read_text()), read_tried(arguments.output)
    worker = Worker(ROOT)
    limit = 40 + 4 * arguments.budget
    part, parts = arguments.part
    for mutant in mutants[part - 1 :: parts]:
        if mutant in outcomes and not (arguments.again and outcomes[mutant] in ALIVE):
            continue
        known = tried.get((str(mutant), mutant.number), set())
        new = {name: entry for name, entry in tests.items() if name not in known}
        # An expression of several lines may begin at one that never runs by itself; its function is called then.
        places = (mutant.line, mutant.function)
        chosen = next(filter(None, (choose_tests(new, mutant.path, line, arguments.budget) for line in places)), [])
        if known and not chosen:  # A value in a cache of the worker may have hidden the change.
            outcome = run_tests(mutant, sorted(known), limit)
        else:
            outcome = try_mutant(worker, mutant, chosen, limit)
        yield mutant, outcome, chosen


def try_mutant(worker: Worker, mutant: Mutant, tests: list[str], seconds: float) -> str:
    """Return whether tests notice a mutant: in the worker, or in a fork of its own if the worker cannot know."""
    if not tests:
        return "no test"
    outcome = worker.try_mutant(mutant, tests, seconds)
    if outcome is None:
        outcome = run_tests(mutant, tests, seconds)
        unchanged = dataclasses.replace(mutant, number=UNCHANGED)
        if outcome == "killed" and run_tests(unchanged, tests, seconds) != "survived":
            sys.exit(f"They fail without a change, too: {' '.join(tests)}")
    return outcome


def import_libraries() -> None:
    """Import everything that takes long, except for the package itself: each mutant is tested in a fork."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # Otherwise NumPy starts threads when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.modules["pandas"] = None  # type: ignore[assignment] # Keras imports it if it is there, and it starts a thread.
    import keras  # noqa: F401
    import numpy  # noqa: F401, ICN001
    import pytest  # noqa: F401

    del sys.modules["pandas"]
    assert not [name for name in sys.modules if name.startswith("maskcli")]


class _Loader(importlib.abc.SourceLoader):
    """Loads one module from another source."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        """Return the path of the module."""
        del fullname
        return self.path

    def get_data(self, path: str) -> bytes:  # type: ignore[override]
        """Return the source."""
        del path
        return self.source.encode()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutated module before all others do."""

    def __init__(self, name: str, loader: _Loader) -> None:
        self.name, self.loader = name, loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of the mutated module."""
        del path, target
        if fullname != self.name:
            return None
        is_package = self.loader.path.endswith("__init__.py")
        places = [str(Path(self.loader.path).parent)] if is_package else None
        return importlib.util.spec_from_file_location(
            fullname, self.loader.path, loader=self.loader, submodule_search_locations=places
        )


def run_tests(mutant: Mutant, tests: list[str], seconds: float) -> str:
    """Return whether tests notice a mutant; they run in a fork, which ends after some time of the processor."""
    pid = os.fork()
    if pid == 0:
        limit_processor_time(seconds)
        _become_tests(mutant, tests)
    deadline = time.monotonic() + PATIENCE * seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return OUTCOMES.get(os.waitstatus_to_exitcode(status), "killed by an error")
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "killed by a hang"


def _become_tests(mutant: Mutant, tests: list[str]) -> Any:
    """Run tests of the mutated package in this process, and end it with their exit code."""
    os.setpgid(0, 0)
    code = 3
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        path = ROOT / mutant.path
        sys.meta_path.insert(
            0, _Finder(name_module(mutant.path), _Loader(str(path), mutate(path.read_text(), mutant.number)))
        )
        import pytest

        code = int(pytest.main([*tests, "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
