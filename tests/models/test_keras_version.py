"""Releases of Keras that are too old, or newer than the tests ran with."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest

from maskcli.models.keras_version import LOWEST, NEWEST, note_newer_version
from tests.conftest import ROOT, clean_environment

PRINT_CHECK = """
import sys
import keras
keras.__version__ = sys.argv[1]
from maskcli.entry import main
sys.argv[1:] = ["check", "--sample"]
main()
"""


def test_lowest_version_is_that_of_project() -> None:
    project = tomllib.loads(Path(ROOT, "pyproject.toml").read_text())["project"]
    assert f"keras>={'.'.join(map(str, LOWEST))}" in project["dependencies"]


def test_newest_version_is_the_installed_one_or_later() -> None:
    assert tuple(map(int, keras.__version__.split(".")[:2])) <= NEWEST


@pytest.mark.parametrize(
    ("version", "is_newer"), [("3.15.9", False), ("3.16.0", True), ("4.0", True), ("3.9.2", False)]
)
def test_newer_version_has_note(version: str, is_newer: bool) -> None:
    assert bool(note_newer_version(version)) is is_newer


def run_with_keras(version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRINT_CHECK, version]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment())


@pytest.mark.slow(share=1 / 2)
def test_old_keras_is_refused() -> None:
    done = run_with_keras("3.12.3")
    assert (done.returncode, done.stdout) == (4, "")
    assert "expected Keras 3.12.4 or later; received Keras 3.12.3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow(share=1 / 2)
def test_new_keras_is_noted_in_result() -> None:
    done = run_with_keras("3.99.0")
    assert done.returncode == 0, done.stderr
    assert "Keras 3.99.0 is newer than 3.15," in re.sub(r"\s+", " ", done.stdout)
