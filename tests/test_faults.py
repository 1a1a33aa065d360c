"""Faults from outside: signals, dead processes, loops in the file system, full disks, files that shrink, no memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskcli.errors import InputError
from maskcli.sequences.files import read_chunks, read_sequences
from maskcli.sequences.formats.base import Field
from maskcli.sequences.sources import Source
from maskcli.sequences.writing import replace_file
from tests.conftest import Output, clean_environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, links and locks are those of POSIX")
PROGRAM = [sys.executable, "-m", "maskcli"]


def start_writing(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that pads standard input into ``out.npy``, and wait for its temporary file."""
    (folder / "big.txt").write_text("1 2 3 4 5 6 7 8 9\n" * 400_000)
    process = subprocess.Popen(
        [*PROGRAM, "pad", "big.txt", "--maxlen", "200", "--output", "out.npy", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=clean_environment(),
        # A shell lets its background processes ignore SIGINT, and the tests may be one of them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list_temporaries(folder) and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, "it ended before a signal could be sent"
    return process


def list_temporaries(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_silently_and_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "out.npy").write_text("old")
    process = start_writing(tmp_path)
    process.send_signal(number)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == code
    assert list_temporaries(tmp_path) == []
    assert (tmp_path / "out.npy").read_text() == "old"


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("delay", [0.06, 0.1, 0.15, 0.25])
def test_interrupt_while_modules_are_imported(delay: float) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "pad", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    # Until the module with the handler is imported, the interpreter itself reports the interrupt.
    assert process.returncode == 130 or b"maskcli/cli" not in errors


WAITING_MODEL = """
import pathlib
import keras
import tensorflow as tf
from maskcli.sequences.writing import replace_file

class Wait(keras.layers.Layer):
    def call(self, inputs):
        if not tf.executing_eagerly():
            return inputs
        with replace_file("out.npy"):
            pathlib.Path("waiting").touch()
            tf.queue.FIFOQueue(1, ["float32"]).dequeue()
            return inputs

def build():
    inputs = keras.Input((None,), dtype="int32")
    return keras.Model(inputs, Wait()(keras.layers.Embedding(4000, 2)(inputs)))
"""
WAIT = """
import ctypes, pathlib
from maskcli import cli, entry
from maskcli.sequences.writing import replace_file

def wait():
    with replace_file("out.npy"):
        lock = ctypes.create_string_buffer(64)
        libc = ctypes.CDLL(None)
        libc.pthread_mutex_lock(lock)
        pathlib.Path("waiting").touch()
        libc.pthread_mutex_lock(lock)  # It waits for itself, and no signal interrupts it.

cli.run_and_exit = wait
"""
"""Code that lets the command line wait in a call of C, which holds no lock of Python."""


def start_waiting(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a Python process, and wait until it waits in a call of C."""
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=clean_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (folder / "waiting").exists() and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    assert len(list_temporaries(folder)) == 1
    return process


@pytest.mark.slow(share=1 / 2)
def test_signal_during_a_call_of_tensorflow(tmp_path: Path) -> None:
    """The queue is empty, so the call would never return, and no handler in Python would run."""
    (tmp_path / "script.py").write_text(WAITING_MODEL)
    process = start_waiting(tmp_path, "-m", "maskcli", "inspect", "--sample", "--model", "script.py:build")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 143
    assert list_temporaries(tmp_path) == []


def test_second_interrupt_ends_a_long_call_at_once(tmp_path: Path) -> None:
    process = start_waiting(tmp_path, "-c", f"{WAIT}entry.GRACE = 1000\nentry.main()")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130
    assert list_temporaries(tmp_path) == []


def test_handler_of_a_script_keeps_its_signal(tmp_path: Path) -> None:
    own = "import signal\nkeep = wait\ncli.run_and_exit = lambda: signal.signal(signal.SIGTERM, print) and keep()\n"
    process = start_waiting(tmp_path, "-c", f"{WAIT}{own}entry.GRACE = 0\nentry.main()")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.kill()
    process.communicate()


def test_signal_to_a_fork_ends_only_the_fork(tmp_path: Path) -> None:
    """Libraries fork, and end their workers with SIGTERM: these own no file of the command."""
    code = (
        "import os, signal, sys, time\n"
        "from maskcli import cli, entry\n"
        "from maskcli.sequences.writing import replace_file\n"
        "def work():\n"
        "    with replace_file('out.txt') as out:\n"
        "        out.write(b'whole')\n"
        "        pid = os.fork()\n"
        "        if not pid:\n"
        "            time.sleep(10)\n"
        "            os._exit(0)\n"
        "        os.kill(pid, signal.SIGTERM)\n"
        "        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM\n"
        "        time.sleep(0.2)\n"
        "cli.run_and_exit = work\n"
        "entry.GRACE = 0\n"
        "entry.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out.txt").read_text() == "whole"


def test_job_that_ignores_interrupts_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "pad", "-", "--output", "out.npy", "--quiet"],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(b"1 2\n3\n", timeout=30)
    assert process.returncode == 0
    assert np.load(tmp_path / "out.npy").tolist() == [[1, 2], [3, 0]]


def test_next_run_removes_files_of_dead_processes_only(tmp_path: Path) -> None:
    process = start_writing(tmp_path)
    process.kill()
    process.communicate()
    (dead,) = list_temporaries(tmp_path)
    other = tmp_path / ".mine.part"
    other.touch()
    with replace_file(str(tmp_path / "out.npy")) as first:
        assert not dead.exists()
        (running,) = set(list_temporaries(tmp_path)) - {other}
        with replace_file(str(tmp_path / "out.npy")) as second:
            second.write(b"second")
            assert running.exists()
        assert running.exists()
        first.write(b"first")
    assert (tmp_path / "out.npy").read_bytes() == b"first"
    assert list_temporaries(tmp_path) == [other]


def test_names_with_the_same_start_are_both_written(call: Callable[..., Output], tmp_path: Path) -> None:
    start = "ä" * 100
    tokens, mask = tmp_path / f"{start}1.npy", tmp_path / f"{start}2.npy"
    assert call("pad", "--sample", "--output", tokens, "--mask-output", mask, "--quiet").exit_status == 0
    assert np.load(tokens).shape == np.load(mask).shape


def test_links_in_a_circle(call: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("deep").mkdir()
    Path("deep/ids.txt").write_text("1 2 3\n")
    Path("deep/.hidden.txt").write_text("4\n")
    for name in "ab":
        Path("deep", name).symlink_to(".")
    output = call("pad", "--sample", "--output", "loop/x.npy")
    assert output.exit_status == 3
    assert "loop/x.npy: expected a path that can be written to; received Too many levels" in output.stderr
    # Two links to their own folder lead to 2^40 paths with the same file, and links are not followed.
    for pattern in ("deep/**/*.txt", "**/*.txt", "deep/**", str(tmp_path / "**/ids.txt"), "de*/ids.txt"):
        document = call("pad", pattern, "--format", "json").json
        assert document["tokens"] == [[1, 2, 3]], pattern


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device without an end")
@pytest.mark.parametrize("options", [(), ("--input-format", "npy")])
def test_device_without_an_end_is_refused(
    call: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Otherwise its bytes would fill the disk, because pipes are read into a temporary file."""
    monkeypatch.chdir(tmp_path)
    Path("ids.jsonl").symlink_to("/dev/zero")
    output = call("pad", "ids.jsonl", *options)
    assert output.exit_status == 3
    assert "ids.jsonl: expected a file, a pipe or a terminal; received a device" in output.stderr
    assert "received an empty file" in call("pad", "/dev/null").stderr


def test_unreadable_paths(call: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = call("pad", "n" * 300)
    assert output.exit_status == 3
    assert "received File name too long" in output.stderr
    Path("closed").mkdir(mode=0)
    if not os.access("closed", os.R_OK):
        assert "received Permission denied" in call("pad", "closed").stderr


@pytest.mark.parametrize("arguments", ["--help", "pad --help", "--version", "pad --json-schema", "pad"])
def test_full_standard_output_exits_3(arguments: str) -> None:
    line = f"'{sys.executable}' -m maskcli {arguments} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 3
    assert done.stderr.startswith("Error: standard output: expected ")
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_pipe_named_like_the_settings_is_no_settings(
    call: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pyproject.toml")
    Path("ids.txt").write_text("1 2\n3\n")
    assert call("check", "ids.txt", "--data-only").exit_status == 0


def test_member_that_is_no_array(call: Callable[..., Output], tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "mixed.npz", "w") as archive:
        archive.writestr("tokens.npy", "not an array")
    output = call("pad", tmp_path / "mixed.npz")
    assert output.exit_status == 3
    assert "expected an .npz in which every member is an array; received the member 'tokens'" in output.stderr


@pytest.mark.parametrize("suffix", [".npy", ".arrow"])
def test_file_that_is_cut_while_it_is_read(suffix: str, tmp_path: Path) -> None:
    rows = np.arange(1, 3_000_001, dtype=np.int32).reshape(-1, 10)
    path = tmp_path / f"ids{suffix}"
    if suffix == ".npy":
        np.save(path, rows)
    else:
        pa = pytest.importorskip("pyarrow", reason="pyarrow reads Arrow files")
        table = pa.table({"ids": pa.array(rows.tolist(), pa.list_(pa.int32()))})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, 10_000)
    chunks = read_chunks(Source(str(path)), "auto", Field(), lambda ragged: ragged)
    next(chunks)
    os.truncate(path, path.stat().st_size // 2)
    # A mapped file would end this whole process with SIGBUS.
    with pytest.raises(InputError, match="ids"):
        list(chunks)


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
@pytest.mark.parametrize(
    ("first", "last"),
    [
        ('{"a": [], "b": []}', '{"a": [], "b": [7]}'),
        ('{"a": [], "b": "x"}', '{"a": [], "b": [7]}'),
        ('{"a": [], "b": [[1]]}', '{"a": [2], "b": [[7]]}'),
        ('{"a": [1], "b": []}', '{"a": [1], "b": [7]}'),
        ("[1]", '{"a": [1]}'),
    ],
)
def test_last_byte_does_not_choose_the_field(ending: str, first: str, last: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"{first}\n{last}{ending}")

    def read() -> object:
        try:
            return read_sequences([str(path)]).ragged.values.tolist()
        except InputError as error:
            return str(error)

    result = read()
    path.write_text(path.read_text().rstrip("\n") + "\n")
    assert read() == result


def test_no_memory_is_no_bug() -> None:
    line = f"ulimit -v 700000; '{sys.executable}' -m maskcli inspect"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=clean_environment())
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Error: memory: expected enough of it")
