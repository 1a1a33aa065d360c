"""Where the data comes from: files, standard input of each kind, or the sample; every result names it."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import maskcli
from tests.conftest import QUESTION, SAMPLE, Output, clean_environment

pytestmark = pytest.mark.slow(share=1 / 2)

Call = Callable[..., Output]
PIPED = {"files": ["-"], "sample": False, "rows": 2, "skipped": [], "words": None}
SAMPLED = {"files": [], "sample": True, "rows": 3, "skipped": [], "words": None}
NO_DATA = "Name a file, pipe data into maskcli, or use --sample for the built-in sample."


def run_with(program: Sequence[str], folder: Path, stdin: Any, *arguments: str, line: str = '"$@"') -> Output:
    """Run maskcli in a shell with this standard input."""
    command = ["bash", "-c", line, "bash", *program, *arguments]
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, cwd=folder, env=clean_environment())
    return Output.of(done.stdout, done.stderr, done.returncode)


class Terminal:
    """A terminal as standard input."""

    def __enter__(self) -> int:
        self._ends = pty.openpty()
        return self._ends[1]

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            os.close(end)


def test_terminal_is_no_input(program: list[str], tmp_path: Path) -> None:
    with Terminal() as terminal:
        assert run_with(program, tmp_path, terminal, "pad").startswith(" built-in sample, 3 rows\n")
        failed = run_with(program, tmp_path, terminal, "pad", "--output", "x.npy")
    assert (failed, failed.exit_status) == ("", 2)
    assert failed.stderr == f"Error: FILE: expected data for --output; received none.\n{NO_DATA}\n"


@pytest.mark.parametrize("line", ['"$@" < /dev/null', '"$@" <&-'], ids=["null", "closed"])
def test_null_device_and_closed_stream_are_no_input(program: list[str], tmp_path: Path, line: str) -> None:
    assert run_with(program, tmp_path, None, "pad", "--format", "json", line=line).json["data"] == SAMPLED
    failed = run_with(program, tmp_path, None, "check", "--model", "m.keras", line=line)
    assert (failed, failed.exit_status) == ("", 2)
    assert failed.stderr == f"Error: FILE: expected data for --model m.keras; received none.\n{NO_DATA}\n"


@pytest.mark.parametrize(
    "line", ['cat data.txt | "$@"', '"$@" < data.txt', "\"$@\" <<< $'1 2 3\\n4'", '"$@" < <(cat data.txt)']
)
def test_pipe_and_redirected_file_are_read(program: list[str], tmp_path: Path, line: str) -> None:
    (tmp_path / "data.txt").write_text("1 2 3\n4\n")
    document = run_with(program, tmp_path, None, "pad", "--format", "json", line=line).json
    assert (document["tokens"], document["data"]) == ([[1, 2, 3], [4, 0, 0]], PIPED)


@pytest.mark.parametrize("line", ['true | "$@"', '"$@" < empty.txt'])
def test_empty_input_is_an_error(program: list[str], tmp_path: Path, line: str) -> None:
    (tmp_path / "empty.txt").touch()
    failed = run_with(program, tmp_path, None, "check", "--data-only", line=line)
    assert (failed, failed.exit_status) == ("", 3)
    assert failed.stderr == (
        "Error: <stdin>: expected sequences; received no bytes.\n"
        "Pipe sequences into it, name a FILE, or use --sample for the built-in sample.\n"
    )


def test_pipe_fills_output_and_model(program: list[str], tmp_path: Path) -> None:
    """Piped input is never replaced by the sample."""
    assert run_with(program, tmp_path, None, "pad", "--output", "x.csv", line='echo 7 8 | "$@"') == ""
    assert (tmp_path / "x.csv").read_text() == "7,8\n"


NEED_DATA = {
    "a model": ("inspect --model package.module:build", "--model package.module:build"),
    "a page": ("report --output report.html", "--output"),
    "a mask": ("pad --mask-output mask.npy", "--mask-output"),
    "a check of data": ("check --data-only", "--data-only"),
    "a field": ("pad --field ids", "--field"),
    "a format": ("pad --input-format csv", "--input-format"),
}


@pytest.mark.parametrize("name", NEED_DATA)
def test_sample_never_replaces_data_of_the_user(call: Call, tmp_path: Path, name: str) -> None:
    arguments, reason = NEED_DATA[name]
    failed = call(*arguments.split())
    assert (failed, failed.exit_status) == ("", 2)
    assert failed.stderr == f"Error: FILE: expected data for {reason}; received none.\n{NO_DATA}\n"
    assert list(tmp_path.iterdir()) == []


def test_sample_on_purpose(call: Call, tmp_path: Path) -> None:
    assert call("pad", "--sample", "--output", "x.json", stdin="1 2\n") == ""
    assert (tmp_path / "x.json").read_text() == call("pad", "--sample", "--format", "json")
    assert call("pad", "--sample", "--format", "json").json["tokens"][0] == QUESTION[0]
    assert call("check", "--data-only", "--sample", "--format", "json").json["data"] == SAMPLED


def test_empty_name_is_an_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2\n")
    for command in ("pad", "check"):
        failed = call(command, "")
        assert (failed, failed.exit_status) == ("", 2)
        assert "FILE: expected the name of a file; received an empty text" in failed.stderr


@pytest.mark.parametrize("command", ["pad", "inspect", "loss", "check", "report"])
def test_every_result_names_its_data(call: Call, tmp_path: Path, command: str) -> None:
    (tmp_path / "a.txt").write_text(SAMPLE.read_text())
    document = call(command, "a.txt", "--format", "json").json
    assert document["data"] == {**SAMPLED, "files": ["a.txt"], "sample": False}
    assert [entry["name"] for entry in document["inputs"]] == ["tokens"]
    assert call(command, "a.txt").startswith(" a.txt, 3 rows\n")


def test_foreign_files_of_a_directory_are_named(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "README.rst", "_SUCCESS", "train.log", "x.bin", ".hidden"):
        (folder / name).write_text("1 2\n")
    skipped = [f"data/{name}" for name in ("README.rst", "_SUCCESS", "train.log", "x.bin")]
    document = call("pad", "data", "--format", "json").json
    assert document["data"] == {
        "files": ["data/a.txt", "data/b.txt"],
        "sample": False,
        "rows": 2,
        "skipped": skipped,
        "words": None,
    }
    printed = call("pad", "data")
    assert printed.stderr == ""
    assert printed.startswith(
        " data/a.txt, data/b.txt, 2 rows\n"
        " skipped, not of a format that maskcli reads: data/README.rst, data/_SUCCESS,\n data/train.log and 1 more\n"
    )


def test_data_from_python_has_no_files() -> None:
    batch = maskcli.pad([[1, 2], [3]])
    assert (batch.data.files, batch.data.sample, batch.data.rows) == ((), False, 2)
    report = maskcli.check([[1, 2], [3]], data_only=True)
    assert (report.data.files, report.data.sample, report.data.rows) == ((), False, 2)


def test_output_is_named_on_a_terminal(program: list[str], tmp_path: Path) -> None:
    """Standard output stays empty; standard error has one line, which ``--quiet`` leaves out."""
    for options in ((), ("--quiet",)):
        parent, child = pty.openpty()
        command = [*program, "pad", str(SAMPLE), "--output", "x.npy", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, cwd=tmp_path, env=clean_environment())
        os.close(child)
        shown = b""
        try:
            while piece := os.read(parent, 1024):
                shown += piece
        except OSError:  # Linux reports the end of a terminal as an error.
            pass
        os.close(parent)
        assert (done.stdout, done.returncode) == (b"", 0)
        assert (b"Wrote x.npy\r\n" in shown) is not bool(options)


def test_long_names_that_begin_alike_are_both_written(call: Call, tmp_path: Path) -> None:
    names = [f"{'n' * 60}{end}.npy" for end in "ab"]
    assert call("pad", "--sample", "--output", names[0], "--mask-output", names[1]) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "missing.jsonl", "--model", "m.py:build"), "missing.jsonl: expected a file of sequences"),
        (("inspect", "missing.jsonl", "--model", "m.py:build"), "missing.jsonl: expected a file of sequences"),
        (("check", "m.py:build", "--model", "m.py:build"), "If it is the model: --model m.py:build"),
        (("check", "m:build", "--model", "m.py:build"), "If it is the model: --model m:build"),
        (("check", "m.build", "--model", "m.py:build"), "If it is the model: --model m.build"),
        (
            ("check", "a.txt", "--model", "m.py:build", "--targets", "missing.txt"),
            "missing.txt: expected a file of targets",
        ),
        (("loss", "a.txt", "--model", "m.py:build", "--targets", "onse"), "Did you mean ones? Targets are a file"),
        (
            ("loss", "a.txt", "--model", "m.py:build", "--sample-weight", "w.txt"),
            "w.txt: expected a file of sample weights",
        ),
        (
            ("report", "a.txt", "--model", "m.py:build", "--targets", "missing.txt"),
            "missing.txt: expected a file of targets",
        ),
    ],
)
def test_missing_file_takes_no_seconds(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], message: str
) -> None:
    (tmp_path / "a.txt").write_text("1 2\n")
    (tmp_path / "m.py").write_text("raise SystemExit\n")
    monkeypatch.setattr("maskcli.models.load.load_keras", lambda: pytest.fail("Keras takes seconds"))
    failed = call(*arguments)
    assert (failed, failed.exit_status) == ("", 3)
    assert message in failed.stderr


@pytest.mark.parametrize(
    ("name", "content", "fix"),
    [
        ("a.jsonl", '{"text": "good night"}\n', "'text' is text. Text becomes ids with --tokenizer FILE: a tokenizer.json, "
         "or a vocabulary with one token per line; add --field text."),
        ("a.jsonl", '{"ids": [1]}\n{"ids": null}\n', "'ids' is null in some records: write an empty sequence as [], or "
         "leave these records out."),
        ("a.jsonl", '{"id": 1}\n', "No field holds lists. A sequence is a list, as in {\"tokens\": [1, 2]}, or lies in "
         "several fields of numbers: --field 'w*'. Of lines that are timesteps, first join those of a sequence into one."),
        ("a.jsonl", "[1]\nnull\n", "Write an empty sequence as [], or leave the row out."),
        ("a.jsonl", "[1, null]\n", "Leave missing values out, or give them an id of their own."),
        ("a.jsonl", "[1.0]\n", "Write ids as integers, 1: a program that makes floats of them has missing values, or divides."),
        ("a.txt", "good night\n", "Text becomes ids with --tokenizer FILE: a tokenizer.json, or a vocabulary with one token "
         "per line."),
        ("a.csv", "ids,label\n1 2,0\n", "Name the column that holds lists, or columns of numbers by a pattern: --field 'w*'. "
         "Only a model of your own, with a single FILE, takes columns by the names of its inputs."),
    ],
)  # fmt: skip
def test_data_that_is_not_ids_has_a_remedy(call: Call, tmp_path: Path, name: str, content: str, fix: str) -> None:
    (tmp_path / name).write_text(content)
    for command in ("pad", "check"):
        failed = call(command, name)
        assert (failed.exit_status, failed.stderr.splitlines()[-1]) == (3, fix)
