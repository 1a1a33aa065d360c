"""What the tests share: maskcli as a real process, and as a call when TensorFlow is already loaded here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from maskcli import cli

hypothesis.settings.register_profile("maskcli", deadline=None)  # How fast things are is no test's business.
hypothesis.settings.load_profile("maskcli")

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data" / "sample.txt"
QUESTION = [[83, 91, 1, 645, 1253, 927], [73, 8, 3215, 55, 927], [711, 632, 71]]


class Output(str):
    """What a command printed, with how it ended."""

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


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Output]:
    """Run maskcli as a process of its own, in an empty folder."""

    def run(*args: object, stdin: bytes | str = b"", **environment: str) -> Output:
        done = subprocess.run(
            [sys.executable, "-m", "maskcli", *map(str, args)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=tmp_path,
            env=clean_environment(**environment),
            timeout=120,
        )
        return Output.of(done.stdout.decode(), done.stderr.decode(), done.returncode)

    return run


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Output]:
    """Run maskcli in this process, where Keras is loaded once for all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*args: object, stdin: bytes | str = b"") -> Output:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
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
