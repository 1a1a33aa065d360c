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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of slow tests; names of tests, or ``-k``, choose all of theirs."""
    parser.addoption(
        "--slow",
        choices=("share", "rest", "eighth", "all"),
        default="share",
        help="of tests marked slow: run the same share each time (default), only what that leaves out, an eighth of that, "
        "or all tests",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only modules with quick tests for ``-m quick``: many others import TensorFlow."""
    quick = config.option.markexpr == "quick" and collection_path.name.startswith("test_")
    return True if quick and "pytest.mark.quick" not in collection_path.read_text() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests outside the share; with ``--slow=rest`` or ``eighth``, all that runs without it."""
    choice = config.getoption("slow")
    chosen_by_name = config.option.keyword or any("::" in argument for argument in config.args)
    if choice == "all" or (choice == "share" and chosen_by_name):
        return
    rest = _outside_the_share(items, quick=config.option.markexpr == "quick")
    kept = [item for item in items if (item in rest) == (choice != "share")]
    if choice == "eighth":
        places = {item: place for place, item in enumerate(items)}
        kept = sorted(random.Random(len(kept)).sample(kept, math.ceil(len(kept) / 8)), key=places.__getitem__)
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _outside_the_share(items: list[pytest.Item], quick: bool) -> set[pytest.Item]:
    """Return the slow tests to leave out, the same each time, as names are the seeds.

    They are a sample of the cases of each function, and of the functions without cases of each module.
    """
    slow: dict[tuple[str, float], list[pytest.Item]] = {}
    for item in items:
        marker = item.get_closest_marker("slow")
        if item.get_closest_marker("exhaustive"):
            slow.setdefault((item.nodeid, 0), []).append(item)
        elif marker:
            share = 0 if quick else marker.kwargs["share"]
            function, has_cases, _ = item.nodeid.partition("[")
            group = function if has_cases else function.partition("::")[0]
            slow.setdefault((group, share), []).append(item)
    rest: set[pytest.Item] = set()
    for (group, share), cases in slow.items():
        rest.update(random.Random(group).sample(cases, len(cases) - math.ceil(share * len(cases))))
    return rest


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
