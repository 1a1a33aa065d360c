"""Shared fixtures: maskcli as a process, and as a call in this process, where TensorFlow is already loaded."""

from __future__ import annotations

import gc
import io
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from maskcli import cli
from tests import fork_server

hypothesis.settings.register_profile("maskcli", deadline=None)  # How fast things are is no test's business.
hypothesis.settings.load_profile("maskcli")

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data" / "sample.txt"
QUESTION = [[83, 91, 1, 645, 1253, 927], [73, 8, 3215, 55, 927], [711, 632, 71]]


FEW = 1 / 4
"""The part of the tests with models that `pytest` runs by itself, so that it ends in some minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of tests that take long; names of tests, or ``-k``, choose all of theirs."""
    parser.addoption(
        "--slow",
        choices=("few", "half", "more", "share", "rest", "eighth", "all"),
        help="share: all tests, but of those marked slow their share, the same each time (default if files are named); "
        "few: of the tests with models a quarter of that (default otherwise); more: what few leaves out of share; "
        "half: half of more; "
        "rest: what share leaves out; eighth: an eighth of rest; all: all tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let JAX keep all that it compiles: tests compile the same small models again in each run and each process."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only modules with tests of the mark for ``-m quick`` and ``-m any_backend``: others import TensorFlow."""
    mark = config.option.markexpr
    is_chosen = mark in ("quick", "any_backend") and collection_path.name.startswith("test_")
    return True if is_chosen and f"pytest.mark.{mark}" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests as ``--slow`` has it."""
    quick = config.option.markexpr == "quick"
    kept = choose_items(items, config.getoption("slow") or _choose_default(config), quick)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _choose_default(config: pytest.Config) -> str:
    """Return the choice of who names tests or files, or neither."""
    if config.option.keyword or any("::" in argument for argument in config.args):
        return "all"
    return "few" if config.args == config.getini("testpaths") else "share"


def choose_items(items: list[pytest.Item], choice: str, quick: bool) -> set[pytest.Item]:
    """Return the tests of a choice."""
    if choice == "all":
        return set(items)
    share = _take(items, 1, quick)
    if choice in ("few", "half", "more"):
        few = _take(items, FEW, quick)
        half = _take(items, (FEW + 1) / 2, quick)
        return {"few": few, "half": half - few, "more": share - few}[choice]
    rest = [item for item in items if item not in share]
    if choice == "eighth":
        rest = random.Random(len(rest)).sample(rest, math.ceil(len(rest) / 8))
    return share if choice == "share" else set(rest)


def _take(items: list[pytest.Item], part: float, quick: bool) -> set[pytest.Item]:
    """Return all tests whose share is 1, and a sample of the others, the same each time, as names are the seeds.

    They are a sample of the cases of each function, and of the functions without cases of each module. A larger part
    contains the smaller ones.

    Args:
        items: of which to take some.
        part: of the share of tests with models.
        quick: whether to leave out all slow tests.
    """
    groups: dict[tuple[str, float], list[pytest.Item]] = {}
    for item in items:
        function, has_cases, _ = item.nodeid.partition("[")
        share = _read_share(item, part, quick)
        groups.setdefault((function if has_cases else function.partition("::")[0], share), []).append(item)
    taken: set[pytest.Item] = set()
    for (group, share), cases in groups.items():
        order = random.Random(group).sample(cases, len(cases))
        taken.update(order[: math.ceil(share * len(cases))])
    return taken


def _read_share(item: pytest.Item, part: float, quick: bool) -> float:
    slow = item.get_closest_marker("slow")
    if item.get_closest_marker("exhaustive") or (slow and quick):
        return 0
    share = slow.kwargs["share"] if slow else 1
    return share if item.get_closest_marker("quick") else part * share


def pytest_collection_finish() -> None:
    """Let the garbage collector skip the objects of all imports, which takes a fifteenth off the time of the tests."""
    gc.collect()
    gc.freeze()


class Output(str):
    """The output of a command, with its exit status."""

    stderr: str
    exit_status: int

    @classmethod
    def of(cls, stdout: str, stderr: str, exit_status: int) -> Output:
        output = cls(stdout)
        output.stderr, output.exit_status = stderr, exit_status
        return output

    @property
    def json(self) -> Any:
        return json.loads(self, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def clean_environment(**more: str) -> dict[str, str]:
    left_out = (
        "COLUMNS",
        "FORCE_COLOR",
        "NO_COLOR",
        "TF_CPP_MIN_LOG_LEVEL",
        "KERAS_BACKEND",
        "PYTHONUNBUFFERED",
        "PYTHONWARNINGS",
    )
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PYTHONIOENCODING": "utf-8", **more}


@pytest.fixture(autouse=True, scope="session")
def guard_copies() -> None:
    """Refuse copies of tensors that work on a processor only, where tests run on PyTorch."""
    if os.environ.get("KERAS_BACKEND") == "torch":
        from tests.backends.copies import refuse_hidden_copies

        refuse_hidden_copies()


@pytest.fixture(scope="session")
def program() -> Iterator[list[str]]:
    """Start a fork server; return the command line of a program that behaves like ``python -m maskcli``."""
    with fork_server.start(clean_environment()) as command:
        yield command


@pytest.fixture
def run(program: list[str], tmp_path: Path) -> Callable[..., Output]:
    """Run maskcli as a process of its own, in an empty folder; without ``stdin``, that is the null device."""

    def run(*args: object, stdin: bytes | str | None = None, **environment: str) -> Output:
        source: dict[str, Any] = {"input": stdin.encode() if isinstance(stdin, str) else stdin}
        done = subprocess.run(
            [*program, *map(str, args)],
            **({"stdin": subprocess.DEVNULL} if stdin is None else source),
            capture_output=True,
            cwd=tmp_path,
            env=clean_environment(**environment),
            timeout=120,
        )
        return Output.of(done.stdout.decode(), done.stderr.decode(), done.returncode)

    return run


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Output]:
    """Run maskcli in this process, where Keras is loaded once; without ``stdin``, that is the null device."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*args: object, stdin: bytes | str | None = None) -> Output:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        capsys.readouterr()
        with Path(os.devnull).open() if data is None else io.TextIOWrapper(io.BytesIO(data)) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            status = cli.run([str(arg) for arg in args])
        said = capsys.readouterr()
        return Output.of(said.out, said.err, status)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    """Write a file for a test."""

    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
