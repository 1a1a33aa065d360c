"""The hook for pre-commit and the action for GitHub, each run in a project made here; a fault comes with a commit."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, clean_environment

yaml = pytest.importorskip("yaml")

PROJECT = """
[tool.maskcli]
model = "nets.py:build"
data = "a.txt"
quick = true
"""
RIGHT = """
import keras
from keras import layers


def build():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    return keras.Model(tokens, layers.LSTM(3)(x))
"""
WRONG = RIGHT.replace("(tokens)\n    return", "(tokens)\n    x = x * 2.0\n    return")


@pytest.fixture
def shell(tmp_path: Path, program: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in the folder of a project, where ``maskcli`` is this one."""
    shim = tmp_path / "bin" / "maskcli"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
    shim.chmod(0o755)
    project = tmp_path / "project"
    project.mkdir()
    for name, text in (("pyproject.toml", PROJECT), ("a.txt", "1 2 3 4\n5 6\n"), ("nets.py", RIGHT)):
        (project / name).write_text(text)

    def run(command: str, folder: Path = project, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=clean_environment(PATH=path, GIT_CONFIG_GLOBAL=os.devnull, **environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


COMMIT = "git add -A && git -c user.name=a -c user.email=a@example.org commit -qm 'change'"


def test_hook_of_pre_commit(tmp_path: Path, shell: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pytest.importorskip("pre_commit")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    assert shell(f"git init -q && {COMMIT}", hooks).returncode == 0
    revision = shell("git rev-parse HEAD", hooks).stdout.strip()
    # The hook installs maskcli, with TensorFlow; ``system`` takes the one that is installed.
    hook = {"id": "maskcli", "language": "system"}
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": [hook]}]}
    project = tmp_path / "project"
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    pre_commit = f"{shlex.quote(sys.executable)} -m pre_commit"
    home = str(tmp_path / "cache")
    assert shell(f"git init -q && {COMMIT}").returncode == 0
    right = shell(f"{pre_commit} run --all-files", PRE_COMMIT_HOME=home)
    assert right.returncode == 0, right.stdout + right.stderr
    assert "Passed" in right.stdout
    (project / "nets.py").write_text(WRONG)
    wrong = shell(f"git add -A && {pre_commit} run", PRE_COMMIT_HOME=home)
    assert wrong.returncode == 1
    assert "nets.py:9: error MSK101: multiply (Multiply) drops " in wrong.stdout


def run_action(
    shell: Callable[..., subprocess.CompletedProcess[str]], folder: Path, arguments: str = ""
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the steps of the action that have a shell, apart from the installation; return the last, and the summary."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    *_, step = action["runs"]["steps"]
    assert step["env"] == {"ARGUMENTS": "${{ inputs.arguments }}"}
    for name in ("output", "summary"):
        (folder / name).write_text("")
    result = shell(
        step["run"],
        ARGUMENTS=arguments,
        RUNNER_TEMP=str(folder),
        GITHUB_OUTPUT=str(folder / "output"),
        GITHUB_STEP_SUMMARY=str(folder / "summary"),
        GITHUB_WORKSPACE=str(folder),
    )
    return result, (folder / "summary").read_text()


def test_action_annotates_and_summarizes(
    tmp_path: Path, shell: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    right, summary = run_action(shell, tmp_path)
    assert (right.returncode, right.stdout) == (0, ""), right.stderr
    assert "padding does not leak" in summary
    project = tmp_path / "project"
    (project / "nets.py").write_text(WRONG)
    wrong, summary = run_action(shell, tmp_path)
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("::error file=project/nets.py,line=9,title=MSK101 mask-dropped::multiply")
    assert "MSK101" in summary and "nets.py:9" in summary
    sarif = Path((tmp_path / "output").read_text().strip().removeprefix("sarif="))
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "project/nets.py"
    failed, summary = run_action(shell, tmp_path, "--model gone.keras")
    assert (failed.returncode, summary) == (4, "")


def test_action_passes_inputs_as_variables() -> None:
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # Text of a pull request would be run as code.
    assert action["outputs"]["sarif"]["value"] == "${{ steps.check.outputs.sarif }}"
    assert {"arguments", "working-directory", "install"} == set(action["inputs"])
