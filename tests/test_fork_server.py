"""The fork server: a command that runs through it behaves like ``python -m maskcli``, byte by byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

PROCESS = [sys.executable, "-m", "maskcli"]
TOKENS = b"[[1, 0, 2], [3]]"
COMMANDS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "a table": ("pad --maxlen 4", b"", {}),
    "data from a pipe": ("pad - --format json", TOKENS, {}),
    "help": ("inspect --help", b"", {"COLUMNS": "60"}),
    "wrong usage": ("inspect --nosuch", b"", {}),
    "an input with an error": ("pad -", b"1 2\n3 four\n", {}),
    "a traceback": ("pad nofile.txt --traceback", b"", {}),
    "another encoding": ("pad", b"", {"PYTHONIOENCODING": "ascii"}),
    "colours": ("pad --heat full", b"", {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}),
    "a model": ("inspect - --mask-source all", TOKENS, {"PYTHONUNBUFFERED": "1"}),
    "findings": (f"check {ROOT}/sample_data/rhyme.jsonl --model sample_data.models:scaled", b"", {"PYTHONPATH": str(ROOT)}),
    "a loss": ("loss --batch-sizes 1,2 --format json", b"", {}),
    "a model with an error": ("inspect --units 3000000000000000000", b"", {}),
}  # fmt: skip


def outcome(program: list[str], line: str, data: bytes, folder: Path, **environment: str) -> tuple[int, bytes, bytes]:
    command = [*program, *line.split()]
    environment = clean_environment(**environment)
    done = subprocess.run(command, input=data, capture_output=True, cwd=folder, env=environment, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_fork_equals_a_process(program: list[str], tmp_path: Path, name: str) -> None:
    line, data, environment = COMMANDS[name]
    forked, true = (outcome(command, line, data, tmp_path, **environment) for command in (program, PROCESS))
    assert forked == true


def test_closed_streams_stay_closed(program: list[str], tmp_path: Path) -> None:
    lines = ['"$@" pad --sample >&-', '"$@" pad - <&-', '"$@" pad --sample --quiet 2>&-']
    forked, true = (
        [outcome(["bash", "-c", line, "bash", *command], "", b"", tmp_path) for line in lines]
        for command in (program, PROCESS)
    )
    assert forked == true
    assert [status for status, _, _ in forked] == [3, 3, 0]


def test_a_command_ends_with_its_client(program: list[str], tmp_path: Path) -> None:
    client = subprocess.Popen(
        [*program, "pad", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=clean_environment()
    )
    with client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"1 2 3\n")
        client.stdin.flush()
        waiting = threading.Timer(30, os._exit, [1])  # The command would wait for the end of its stdin.
        waiting.start()
        client.kill()
        assert client.stdout.read() == b""  # Ends when all writers have closed it.
        waiting.cancel()
    assert client.returncode == -signal.SIGKILL


def test_variables_read_at_import_get_a_process(program: list[str], tmp_path: Path) -> None:
    status, _, message = outcome(program, "inspect --sample", b"", tmp_path, KERAS_BACKEND="nosuch")
    assert status == 4
    assert b"expected tensorflow, jax or torch; received nosuch" in message
