"""Files padded into files part by part equal batches that are padded in memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from maskcli.api.pad import pad
from maskcli.errors import InputError
from maskcli.records.layout import Layout
from maskcli.sequences import blocks, padding
from maskcli.sequences.files import read_chunks
from maskcli.sequences.formats import FORMATS, arrow, blockwise, numpy_arrays
from maskcli.sequences.formats.base import Field
from maskcli.sequences.sources import Source
from maskcli.sequences.streaming import BatchFile, SequenceFiles, pad_files
from tests.conftest import Output, clean_environment

ROWS = [[index % 7 + 1 + step for step in range(index % 11)] for index in range(200)]
LINES = "".join(f"{row}\n" for row in ROWS).encode()


def parquet(rows: list[list[int]], per_group: int = 30) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"ids": rows}), out, row_group_size=per_group)
    return out.getvalue()


def write_ipc(rows: list[list[int]]) -> bytes:
    out, table = io.BytesIO(), pa.table({"ids": rows})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)
    return out.getvalue()


FORMS: dict[str, bytes] = {
    "a.jsonl": LINES,
    "records.jsonl": b"".join(b'{"ids": %a}\n' % row for row in ROWS),
    "a.json": json.dumps(ROWS).encode(),
    "a.txt": "".join(" ".join(map(str, row)) + "\n" for row in ROWS).encode(),
    "a.csv": "".join(",".join(map(str, row)) + "\n" for row in ROWS).encode(),
    "a.jsonl.gz": gzip.compress(LINES),
    "a.jsonl.zst": pa.Codec("zstd").compress(LINES).to_pybytes(),
    "a.parquet": parquet(ROWS),
    "a.arrow": write_ipc(ROWS),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split even these small files into many blocks and parts."""
    monkeypatch.setattr(blocks, "BLOCK", 300)
    monkeypatch.setattr(blockwise, "SMALL", 0)
    monkeypatch.setattr(padding, "PART", 400)
    monkeypatch.setattr(arrow, "ROWS", 20)
    monkeypatch.setattr(numpy_arrays, "PART", 400)


def stream_to_file(tmp_path: Path, layout: Layout, output: str = "out.npy", *names: str, **options: Any) -> Any:
    files = SequenceFiles(tuple(Source(str(tmp_path / name)) for name in names))
    assert files.in_chunks
    path = tmp_path / output
    return pad_files(files, layout, BatchFile(str(path), FORMATS[path.suffix[1:]]), **options)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"maxlen": 4},
        {"maxlen": 4, "truncating": "pre", "padding": "pre"},
        {"padding": "pre", "value": -1},
        {"maxlen": 50, "dtype": "int64", "value": 7},
    ],
    ids=str,
)
def test_pad_files_equals_pad_in_memory(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(FORMS[name])
    mask = str(tmp_path / "mask.npy")
    excerpt = stream_to_file(tmp_path, Layout(**options), "out.npy", name, mask_output=mask, excerpt_rows=5)
    expected = pad(ROWS, **options)
    tokens = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(tokens, expected.tokens)
    assert tokens.dtype == expected.tokens.dtype
    np.testing.assert_array_equal(np.load(mask), expected.mask)
    assert excerpt.shape == expected.tokens.shape
    assert (excerpt.tokens, excerpt.truncated_tokens) == (expected.mask.sum(), expected.truncated_tokens)
    for row in (0, 4, len(ROWS) - 5, len(ROWS) - 1):
        row_tokens, valid, length = excerpt.row(row)
        np.testing.assert_array_equal(row_tokens, expected.tokens[row])
        np.testing.assert_array_equal(valid, expected.mask[row])
        assert length == expected.lengths[row]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".csv", ".parquet", ".arrow"])
def test_file_does_not_depend_on_chunks(call: Callable[..., Output], tmp_path: Path, suffix: str) -> None:
    """A document that maskcli printed is read and padded as a whole, other files a few rows at a time."""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "a.json").write_text(call("pad", "a.jsonl", "--format", "json"))
    written = [tmp_path / f"{name}{suffix}" for name in ("chunks", "whole")]
    for data, path in zip(("a.jsonl", "a.json"), written, strict=True):
        assert call("pad", data, "--output", path.name, "--mask-output", f"{path.stem}-mask.npy") == ""
    assert (tmp_path / "chunks-mask.npy").read_bytes() == (tmp_path / "whole-mask.npy").read_bytes()
    if suffix in (".npy", ".jsonl", ".csv"):
        assert written[0].read_bytes() == written[1].read_bytes()
    elif suffix == ".npz":  # An .npz contains the time.
        chunks, whole = map(np.load, written)
        assert chunks.files == whole.files == ["tokens", "mask", "lengths"]
        for part in ("tokens", "mask"):  # The document knows no lengths but those of its mask.
            np.testing.assert_array_equal(chunks[part], whole[part])
    else:
        chunks, whole = (pq.read_table(path) if suffix == ".parquet" else feather.read_table(path) for path in written)
        assert chunks.equals(whole)


def test_npy_output_equals_numpy_save(call: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    call("pad", "a.jsonl", "--maxlen", "9", "--output", "out.npy", "--mask-output", "mask.npy", "--quiet")
    batch, saved = pad(ROWS, maxlen=9), io.BytesIO()
    np.save(saved, batch.tokens)
    assert (tmp_path / "out.npy").read_bytes() == saved.getvalue()
    saved = io.BytesIO()
    np.save(saved, batch.mask)
    assert (tmp_path / "mask.npy").read_bytes() == saved.getvalue()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_long_rows_are_read_few_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    for module in (arrow, numpy_arrays):
        monkeypatch.setattr(module, "PART", 2000)
    array = np.arange(10_000, dtype=np.int32).reshape(40, 250)
    np.save(tmp_path / "a.npy", array)
    pq.write_table(pa.table({"ids": list(array)}), tmp_path / "a.parquet", use_dictionary=False)
    chunks = list(read_chunks(Source(str(tmp_path / f"a.{kind}")), "auto", Field(), lambda ragged: ragged.values))
    np.testing.assert_array_equal(np.concatenate([chunk.result for chunk in chunks]), array.ravel())
    assert max(chunk.rows for chunk in chunks) <= 2


def test_several_files_are_one_batch(tmp_path: Path) -> None:
    for name, content in FORMS.items():
        (tmp_path / name).write_bytes(content)
    excerpt = stream_to_file(tmp_path, Layout(), "out.npy", *FORMS)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pad(ROWS * len(FORMS)).tokens)
    assert excerpt.shape[0] == len(ROWS) * len(FORMS)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("maxlen", [None, 10])
def test_padded_file_can_be_padded_again(tmp_path: Path, maxlen: int | None) -> None:
    np.save(tmp_path / "a.npy", pad(ROWS).tokens)
    stream_to_file(tmp_path, Layout(maxlen=maxlen), "out.npy", "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.load(tmp_path / "a.npy"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("maxlen", [None, 3])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", LINES + b"[1, 2.5]\n" + LINES, "a.jsonl:201, value 2: expected an integer; received 2.5"),
        ("a.jsonl", LINES + b"[1, 99999999999]\n", "a.jsonl:201, value 2: expected an integer that int32 holds"),
        ("a.jsonl", LINES + b"[1, 2\n" + LINES, "a.jsonl:201:6: expected JSON"),
        ("a.jsonl", b"[]\n" * 100, "expected at least one token; received 100 empty sequences"),
        ("a.txt", FORMS["a.txt"] + b"five\n", "a.txt:201, value 1: expected an integer; received 'five'"),
        ("a.txt", FORMS["a.txt"] + b"\xff\n", "a.txt:201: expected UTF-8 text; received byte 0xff at offset 2"),
        ("a.json", json.dumps([*ROWS, [True]], indent=1).encode(), "(sequence 201), value 1: expected an integer"),
        ("a.json", FORMS["a.json"][:-1], "a.json:1:"),
        ("a.parquet", parquet([*ROWS, [1, None]]), "a.parquet, row 201"),  # type: ignore[list-item]
        ("a.jsonl.gz", FORMS["a.jsonl.gz"][:-9], "a.jsonl.gz: expected a whole gzip file"),
    ],
)
def test_unreadable_file_leaves_outputs_unchanged(
    call: Callable[..., Output], tmp_path: Path, name: str, content: bytes, message: str, maxlen: int | None
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "out.npy").write_text("old")
    options = [] if maxlen is None else ["--maxlen", str(maxlen)]
    output = call("pad", name, "--output", "out.npy", "--mask-output", "mask.npy", *options)
    assert (output.exit_status, output) == (3, "")
    assert message in output.stderr
    assert (tmp_path / "out.npy").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out.npy"])


@pytest.mark.usefixtures("small")
def test_error_place_in_an_array_of_many_lines(call: Callable[..., Output], tmp_path: Path) -> None:
    lines = json.dumps([*ROWS, [2.5], *ROWS]).replace("], ", "],\n ")
    (tmp_path / "a.json").write_text(f"\n{lines}\n")
    assert "a.json:202 (sequence 201), value 1: expected an integer; received 2.5" in call("pad", "a.json").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mask-output", "mask.npz"], "--mask-output mask.npz: expected a path that ends in .npy; received '.npz'"),
        (["--mask-output", "mask"], "received no suffix"),
        (["--output", "a.npy", "--mask-output", "./a.npy"], "--mask-output ./a.npy: expected a file of its own"),
    ],
)
def test_mask_output_that_cannot_be_written(call: Callable[..., Output], arguments: list[str], message: str) -> None:
    output = call("pad", *arguments)
    assert (output.exit_status, output) == (2, "")
    assert message in output.stderr


def test_mask_output_without_output(call: Callable[..., Output], tmp_path: Path) -> None:
    assert call("pad", "--sample", "--mask-output", "mask.npy").exit_status == 0
    assert np.load(tmp_path / "mask.npy").sum(axis=1).tolist() == [6, 5, 3]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("maxlen", [None, 5])
def test_progress_goes_from_zero_to_one(tmp_path: Path, maxlen: int | None) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    shares: list[float] = []
    stream_to_file(tmp_path, Layout(maxlen=maxlen), "out.npy", "a.jsonl", progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1


def test_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(LINES * 2000))
    writer.start()
    excerpt = stream_to_file(tmp_path, Layout(), "out.npy", "pipe")
    writer.join()
    assert excerpt.shape == (400_000, 10)


def test_pipe_that_closes_early_is_an_error() -> None:
    with pytest.raises(InputError, match="an empty file"):
        SequenceFiles((Source(os.devnull),)).in_chunks  # noqa: B018 - it opens the file


def measure_peak(tmp_path: Path, *arguments: str) -> float:
    """Return the peak memory of maskcli in MiB.

    A small process starts it, because the memory of the parent counts, too.
    """
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, sys.executable, "-m", "maskcli", *arguments]
    process = subprocess.run(command, cwd=tmp_path, env=clean_environment(), check=True, stdout=subprocess.PIPE)
    return int(process.stdout) / 1024


@pytest.mark.slow(share=1 / 3)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems report memory in other units")
@pytest.mark.parametrize("options", [[], ["--maxlen", "9"]], ids=["spooled", "at once"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "npy"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str, options: list[str]) -> None:
    peaks = []
    for times in (10_000, 40_000):  # 40 and 160 MB.
        if kind == "npy":
            np.save(tmp_path / "big.npy", np.ones((times, 1000), np.int32))
        elif kind == "jsonl":
            (tmp_path / "big.jsonl").write_bytes(LINES * times)
        else:
            content = b", ".join([json.dumps(ROWS).encode()[1:-1]] * times)
            (tmp_path / "big.json").write_bytes(b"[" + content + b"]")
        peaks.append(measure_peak(tmp_path, "pad", f"big.{kind}", "--output", "out.npy", "--quiet", *options))
    assert peaks[1] < peaks[0] + 30
    assert peaks[1] < 150


def test_output_name_of_maximum_length(call: Callable[..., Output], tmp_path: Path) -> None:
    name = "n" * 251 + ".npy"
    assert call("pad", "--sample", "--output", name, "--quiet").exit_status == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
