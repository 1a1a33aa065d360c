"""Any file and any command line: a result or a message, no traceback, no hang, and the values of the naive reader."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from maskcli import cli
from maskcli.records.layout import Layout
from maskcli.sequences.bounds import set_memory_bound
from tests.fuzz.compare import Input, Outcome, draw_input, judge, limit_time
from tests.fuzz.naive import READERS

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
INPUTS = 400
AT_ONCE = 100
SEED = 2
EXIT_CODES = (0, 1, 2, 3, 4)
RUNS_CODE = ("custom_objects", "unsafe_load", "model_args", "weights")
NUMBERS = (-1, 0, 1, 2, 3, 10**12)
entries = st.sampled_from(sorted(READERS))


def test_corpus_is_not_empty() -> None:
    assert len(CORPUS) >= 2


@pytest.mark.quick
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_inputs_that_were_faults(path: Path, tmp_path: Path) -> None:
    entry = {"txt": "text"}.get(path.suffix[1:], path.suffix[1:])
    for block in (16, 256, 2**18):
        outcome = judge(Input(entry, path.read_bytes(), block, Layout(dtype="int64")), tmp_path)
        assert not outcome.is_fault, outcome.message


@pytest.mark.quick
@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("first", range(0, INPUTS, AT_ONCE))
def test_damaged_files(first: int, tmp_path: Path) -> None:
    kinds = set()
    for index in range(first, first + AT_ONCE):
        outcome = judge(draw_input(SEED, index), tmp_path)
        assert not outcome.is_fault, (index, outcome.kind, outcome.message)
        kinds.add(outcome.kind)
    assert {"equal", "refused"} <= kinds


def test_a_wrong_value_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Input("jsonl", b"[1, 2]\n[3]\n", 2**18, Layout(dtype="int64"))
    assert judge(case, tmp_path) == Outcome("equal")
    monkeypatch.setattr("tests.fuzz.naive.read_naively", lambda _data, _entry: [[1, 2], [4]])
    assert judge(case, tmp_path).kind == "wrong value"
    monkeypatch.setattr("tests.fuzz.compare.read_sequences", lambda *_: 1 / 0)
    assert judge(case, tmp_path).kind == "traceback"


@given(st.binary(max_size=300), entries, st.sampled_from([16, 2**18]))
@example(b"\x93NUMPY\x01\x00", "npy", 16)
def test_readers_on_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, entry: str, block: int) -> None:
    outcome = judge(Input(entry, data, block, Layout(dtype="int64")), tmp_path_factory.getbasetemp())
    assert not outcome.is_fault, outcome.message


@contextlib.contextmanager
def replace_streams(stdin: bytes) -> Iterator[list[io.TextIOWrapper]]:
    """Give the process other standard streams; yield the two of output."""
    before = sys.stdin
    outputs = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(outputs[0]), contextlib.redirect_stderr(outputs[1]):
            yield outputs
    finally:
        sys.stdin = before
        set_memory_bound(None)


def draw_value(option: click.Option, draw: Any) -> list[str]:
    """Return the words of an option with a value that may be wrong."""
    spelling = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
    if option.is_flag or option.count:
        return [spelling]
    words = st.text(st.characters(codec="utf-8", exclude_characters="\x00/"), max_size=6)
    values = [words, st.sampled_from(NUMBERS).map(str)]
    if isinstance(option.type, click.Choice):
        values += [st.sampled_from(sorted(map(str, option.type.choices)))] * 3
    return [spelling, draw(st.one_of(values))]


def is_harmless(option: click.Parameter) -> bool:
    """Return whether an option neither runs code, nor names a file or a model."""
    files = ("output", "mask_output", "baseline", "write_baseline", "saved", "model")
    return isinstance(option, click.Option) and option.name not in (*RUNS_CODE, *files)


@st.composite
def command_lines(draw: Any, name: str) -> tuple[list[str], bytes]:
    """Draw the words of a command, and its standard input."""
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    options = [option for option in command.params if is_harmless(option)]
    chosen = (
        draw(st.lists(st.sampled_from(options), max_size=4, unique_by=lambda option: option.name)) if options else []
    )
    words = [word for option in chosen for word in draw_value(option, draw)]
    rows = draw(st.lists(st.lists(st.integers(-1, 30), max_size=5), min_size=1, max_size=4))
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    return [name, "-", *words], draw(st.one_of(st.just(data), st.just(data), st.binary(max_size=40)))


def run_any(words: list[str], stdin: bytes, folder: Path) -> None:
    """Run a command line, and check its exit code and its messages."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with limit_time(60), replace_streams(stdin) as streams:
            code = cli.run(words)
    finally:
        os.chdir(before)
    out, err = (stream.buffer.getvalue() for stream in streams)
    message = err.decode()
    assert code in EXIT_CODES, (words, stdin, code, message)
    assert "Traceback" not in message or "--traceback" in words, (words, stdin, message)
    assert code < 2 or (out == b"" and message != ""), (words, stdin, code, message, out[:200])


def try_command(name: str, examples: int, folder: Path, *more: str) -> None:
    """Run a command with as many command lines."""

    @settings(max_examples=examples, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(command_lines(name))
    def run(drawn: tuple[list[str], bytes]) -> None:
        run_any([*drawn[0], *more], drawn[1], folder)

    run()


@pytest.mark.parametrize("name", ["pad", "rules", "explain", "models", "help", "completion"])
def test_commands_without_a_model(name: str, tmp_path: Path) -> None:
    try_command(name, 60 if name == "pad" else 15, tmp_path)


def test_check_of_data(tmp_path: Path) -> None:
    try_command("check", 30, tmp_path, "--data-only")


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize(("name", "examples"), [("inspect", 25), ("loss", 15), ("check", 4), ("report", 3)])
def test_commands_with_a_model(name: str, examples: int, tmp_path: Path) -> None:
    try_command(name, examples, tmp_path, "--model", "embedding-dense")
