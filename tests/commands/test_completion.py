"""Completion in real shells: bash, and zsh and fish where they are installed."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from maskcli.commands.completion import SCRIPTS
from maskcli.sequences.field_names import list_field_names
from tests.conftest import clean_environment

LINES = {
    "maskcli ins": ["inspect"],
    "maskcli explain MSK10": [f"MSK10{digit}" for digit in range(1, 10)],
    "maskcli check --select MSK101,padding-w": ["MSK101,padding-waste"],
    "maskcli check a.jsonl --field t": ["tokens", "types"],
    "maskcli inspect -m embedding-": ["embedding-dense", "embedding-lstm"],
    "maskcli loss --mask-source m": ["masking"],
    "maskcli inspect --max-c": ["--max-cols"],
}
"""A command line, and the words that complete its last one."""


@pytest.fixture(scope="module")
def folder(program: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with maskcli, its scripts, and a file with fields."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "maskcli").write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
    (folder / "maskcli").chmod(0o755)
    (folder / "a.jsonl").write_text('{"tokens": [1, 2], "types": [0, 0], "labels": [1]}\n')
    for shell in SCRIPTS:
        script = subprocess.run(
            [folder / "maskcli", "completion", shell],
            capture_output=True,
            text=True,
            check=True,
            env=_environment(folder),
        )
        assert script.stderr == ""
        (folder / f"{shell}_script").write_text(script.stdout)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    return clean_environment(PATH=f"{folder}:{os.environ['PATH']}", PS1="> ", TERM="xterm", HOME=str(folder))


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=_environment(folder), timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_bash_completes(folder: Path) -> None:
    script = """
        source ./bash_script
        complete_line() {
            COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            _maskcli_completion maskcli
            echo "${COMPREPLY[*]}"
        }
    """
    calls = "\n".join(f"complete_line {shlex.quote(line)}" for line in LINES)
    answers = _run(folder, "bash", "--norc", "-c", f"{script}\n{calls}").splitlines()
    assert [sorted(answer.split()) for answer in answers] == list(LINES.values())


def test_fish_completes(folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    for line, words in LINES.items():
        answers = _run(folder, "fish", "-N", "-c", f"source fish_script; complete -C {shlex.quote(line)}")
        assert sorted(answer.split("\t")[0] for answer in answers.splitlines()) == words


def test_zsh_completes(folder: Path) -> None:
    """Type unambiguous lines into a real terminal: zsh completes only where somebody types."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (folder / "_maskcli").write_text((folder / "zsh_script").read_text())
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], _environment(folder))  # noqa: S606 - it is the shell
    try:
        setup = f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; print rea''dy\r"
        _type(terminal, setup, "ready")
        for line, words in LINES.items():
            if len(words) == 1:
                rest = words[0].removeprefix(line.split()[-1])
                _type(terminal, f"\x15{line}\t", f"{line}{rest}")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)


def _type(terminal: int, text: str, expected: str) -> None:
    """Type into a terminal, and wait until it shows the expected text."""
    os.write(terminal, text.encode())
    shown, deadline = "", time.monotonic() + 20
    while expected not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x08", "", shown):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")


def test_field_names_of_every_format(tmp_path: Path) -> None:
    import gzip

    import numpy as np
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    names = ["tokens", "labels"]
    record = '{"tokens": [1], "labels": [2]}'
    table = pa.table({"tokens": [[1]], "labels": [[2]]})
    (tmp_path / "a.jsonl").write_text(f"{record}\n" * 3)
    (tmp_path / "b.json").write_text(f"[{record}, {record}]")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(f"{record}\n".encode()))
    (tmp_path / "d.csv").write_text("tokens,labels\n1,2\n")
    np.savez(tmp_path / "e.npz", tokens=[[1]], labels=[[2]])
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    pyarrow.feather.write_feather(table, str(tmp_path / "g.arrow"), compression="uncompressed")
    for path in sorted(tmp_path.iterdir()):
        assert list_field_names(str(path)) == names, path.name


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", "[1, 2]\n"), ("b.csv", "1,2\n"), ("c.npz", "?"), ("d.txt", "x")]
)
def test_file_without_fields_has_no_names(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert list_field_names(str(tmp_path / name)) == []
    assert list_field_names(str(tmp_path / f"missing-{name}")) == []
