"""Where TensorFlow is not installed, all commands run on JAX and PyTorch, and a message names the packages to install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.test_others import OTHERS, require
from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow(share=1 / 4)
HIDE = """
import os
import sys
from importlib.machinery import PathFinder


class Finder:
    def __getattr__(self, name):
        return getattr(PathFinder, name)

    def find_spec(self, name, path=None, target=None):
        hidden = os.environ["HIDDEN"].split(",")
        return None if name.partition(".")[0] in hidden else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder()
"""
"""Hides packages from a process from its start on, as if they were not installed."""
TRAIN = """
import keras


def build():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(20, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(x * 2.0)))
    model.compile("sgd", "mse")
    return model
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs maskcli without some packages, and without a configuration of Keras."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "rows.jsonl").write_text("[1, 2, 3]\n[4, 5]\n[6]\n")
    (tmp_path / "targets.jsonl").write_text("[1]\n[0]\n[1]\n")

    def run(*arguments: str, hidden: str = "tensorflow", **environment: str) -> subprocess.CompletedProcess[str]:
        hiding = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "HIDDEN": hidden, "KERAS_HOME": str(tmp_path / "keras")}
        return subprocess.run(
            [sys.executable, "-m", "maskcli", *arguments],
            capture_output=True,
            text=True,
            env={**clean_environment(), **hiding, **environment},
            cwd=tmp_path,
        )

    return run


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("command", ["check --fail-on never", "inspect", "loss --targets targets.jsonl", "report"])
def test_command_runs_without_tensorflow(run: Run, backend: str, command: str, tmp_path: Path) -> None:
    require(backend)
    name, *options = command.split()
    form = ["-o", "report.json"] if name == "report" else ["--format", "json"]
    done = run(name, "rows.jsonl", "--model", "train.py:build", *options, *form, KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.json").read_text() if name == "report" else done.stdout
    document = json.loads(text)
    assert document["backend"] == backend
    assert document["versions"]["tensorflow"] is None
    if name == "check":
        assert "MSK101" in [finding["code"] for finding in document["findings"]]


def test_missing_tensorflow_names_packages(run: Run) -> None:
    done = run("check", "--sample")
    assert (done.returncode, done.stdout) == (4, "")
    assert "expected tensorflow, installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"pip install tensorflow\), or choose another one .*: jax \(.+\) or torch \(.+\)\.", done.stderr)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_no_backend_names_packages(run: Run, backend: str) -> None:
    done = run("check", "--sample", "--backend", backend, hidden="tensorflow,jax,torch")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"Install it (pip install {backend})" in done.stderr
    for other in {"tensorflow", "jax", "torch"} - {backend}:
        assert f"{other} (pip install {other})" in done.stderr


def test_data_needs_no_backend(run: Run) -> None:
    hidden = "tensorflow,jax,torch,keras"
    assert run("pad", "rows.jsonl", hidden=hidden).returncode == 0
    assert run("check", "rows.jsonl", "--data-only", "--fail-on", "never", hidden=hidden).returncode == 0


def test_documented_packages_are_all_but_tensorflow() -> None:
    page = (ROOT / "docs" / "backends.md").read_text()
    (command,) = re.findall(r"^pip install (click .*) torch$", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", entry)[0] for entry in project["dependencies"]}  # type: ignore[index]
    assert set(command.split()) == names - {"tensorflow"}
