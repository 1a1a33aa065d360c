"""Files of every format to the same sequences, and batches to files and back."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskcli.errors import InputError
from maskcli.records import Layout
from maskcli.sequences.files import Loaded, read_sequences
from maskcli.sequences.padding import pad
from tests.conftest import Output

Write = Callable[[str, bytes | str], Path]
ROWS = [[1, 2, 3], [], [40, -5]]


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


RAGGED = npz(values=np.array([1, 2, 3, 40, -5]), row_splits=np.array([0, 3, 3, 5]))
SAME = {
    "a.json": "[[1, 2, 3],\n [], [40, -5]]",
    "records.json": '[{"id": 1, "x": [1, 2, 3]}, {"id": 2, "x": []}, {"id": 3, "x": [40, -5]}]',
    "a.jsonl": "[1, 2, 3]\n[]\n[40, -5]\n",
    "a.ndjson": "[1, 2, 3]\r\n[]\r\n[40, -5]\r\n\r\n",
    "records.jsonl": '{"text": "a", "ids": [1, 2, 3]}\n{"text": "b", "ids": []}\n{"ids": [40, -5]}\n',
    "blanks.txt": "1 2  3\n\n 40 -5\n",
    "windows.txt": "1 2 3\r\n\r\n40 -5\r\n",
    "commas.txt": "1, 2,3\n\n+40 ,-5\n",
    "tabs.tsv": "1\t2\t3\n\n40\t-5\n",
    "a.csv": "1,2,3\n\n40,-5\n",
    "spreadsheet.csv": '1,2,3\n,,\n"40","-5",""\n',
    "bom.txt": b"\xef\xbb\xbf1 2 3\n\n40 -5",
    "ragged.npz": RAGGED,
    "NOSUFFIX": "1 2 3\n\n40 -5\n",
    "UPPER.JSON": "[[1, 2, 3], [], [40, -5]]",
}


def rows_of(loaded: Loaded) -> list[list[int]]:
    return [loaded.ragged[row].tolist() for row in range(len(loaded.ragged))]


@pytest.mark.parametrize("name", SAME)
def test_every_format_reads_the_same_sequences(write: Write, name: str) -> None:
    assert rows_of(read_sequences([str(write(name, SAME[name]))])) == ROWS


@pytest.mark.parametrize("name", SAME)
def test_gzip_reads_the_same(write: Write, name: str) -> None:
    content = SAME[name]
    data = gzip.compress(content if isinstance(content, bytes) else content.encode())
    assert rows_of(read_sequences([str(write(f"{name}.gz", data))])) == ROWS


@pytest.mark.parametrize("name", SAME)
def test_standard_input_is_told_by_content(call: Callable[..., Output], name: str) -> None:
    assert call("pad", "-", "--format", "json", stdin=SAME[name]).json["lengths"] == [3, 0, 2]


@pytest.mark.parametrize("name", SAME)
def test_gzip_on_standard_input(call: Callable[..., Output], name: str) -> None:
    content = SAME[name]
    data = gzip.compress(content if isinstance(content, bytes) else content.encode())
    assert call("pad", "-", "--format", "json", stdin=data).json["lengths"] == [3, 0, 2]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("[[1, 2]]", [[1, 2]]),
        ("[1, 2]\n", [[1, 2]]),
        ("[]\n[3]", [[], [3]]),
        ("[\n [1],\n [2]]", [[1], [2]]),
        ('[{"a": [1]}]', [[1]]),
        ('{"a": [1]}\n{"a": [2]}', [[1], [2]]),
        (json.dumps({"schema": "maskcli/pad/1", "padding": "pre", "truncating": "post", "maxlen": 2, "value": 0,
                     "dtype": "int32", "lengths": [1, 9], "tokens": [[0, 1], [2, 3]]}), [[1], [2, 3]]),
        ("7", [[7]]),
    ],
)  # fmt: skip
def test_content_tells_json_from_json_lines(call: Callable[..., Output], content: str, rows: list[list[int]]) -> None:
    document = call("pad", "-", "--format", "json", stdin=content).json
    kept = [
        [t for t, keep in zip(*row, strict=True) if keep]
        for row in zip(document["tokens"], document["mask"], strict=True)
    ]
    assert kept == rows


def test_two_dimensional_arrays_are_rows_of_full_length(write: Write) -> None:
    for name, data in (
        ("a.npy", npy(np.array([[1, 2], [3, 0]], np.int16))),
        ("a.npz", npz(x=np.array([[1, 2], [3, 0]]))),
    ):
        assert rows_of(read_sequences([str(write(name, data))])) == [[1, 2], [3, 0]]


def test_field_names_an_array_or_a_field(write: Write) -> None:
    two = write("two.npz", npz(a=np.array([[1]]), b=np.array([[2]])))
    assert rows_of(read_sequences([str(two)], field="b")) == [[2]]
    lines = write("two.jsonl", '{"a": [1], "b": [2]}\n{"a": [1], "b": []}\n')
    assert rows_of(read_sequences([str(lines)], field="b")) == [[2], []]


def test_several_files_keep_their_order(write: Write) -> None:
    paths = [
        str(write("b.txt", "1 2\n")),
        str(write("a.json", "[[3], [4]]")),
        str(write("c.npy", npy(np.array([[5, 6]])))),
    ]
    loaded = read_sequences(paths)
    assert rows_of(loaded) == [[1, 2], [3], [4], [5, 6]]
    assert loaded.where(2) == f"{paths[1]}:1 (sequence 2)"
    assert loaded.where(3) == f"{paths[2]}, row 1"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_what_is_written_is_read_back(call: Callable[..., Output], tmp_path: Path, suffix: str, padding: str) -> None:
    shown = call("pad", "-", "--padding", padding, "--output", f"out{suffix}", stdin="1 2 3\n4\n")
    assert (shown.exit_status, shown.stderr) == (0, "")
    expected = pad([[1, 2, 3], [4]], padding=padding).tokens.tolist()  # type: ignore[arg-type]
    assert call("pad", f"out{suffix}", "--format", "json").json["tokens"] == expected
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


def test_npz_holds_tokens_mask_and_lengths(call: Callable[..., Output], tmp_path: Path) -> None:
    call("pad", "-", "--output", "out.npz", "--maxlen", "2", stdin="1 2 3\n4\n")
    with np.load(tmp_path / "out.npz") as archive:
        assert sorted(archive.files) == ["lengths", "mask", "tokens"]
        assert archive["tokens"].tolist() == [[1, 2], [4, 0]]
        assert archive["tokens"].dtype == np.int32
        assert archive["mask"].tolist() == [[True, True], [True, False]]
        assert archive["lengths"].tolist() == [3, 1]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_layout_in_the_file_is_the_default(call: Callable[..., Output], suffix: str) -> None:
    options = ("--padding", "pre", "--maxlen", "4", "--value", "9", "--dtype", "int64")
    call("pad", "-", *options, "--output", f"out{suffix}", stdin="1 2 3\n4\n")
    again = call("pad", f"out{suffix}", "--format", "json").json
    assert again["tokens"] == [[9, 1, 2, 3], [9, 9, 9, 4]]
    assert (again["padding"], again["maxlen"], again["value"], again["dtype"]) == ("pre", 4, 9, "int64")
    asked = call("pad", f"out{suffix}", "--padding", "post", "--value", "0", "--format", "json").json
    assert asked["tokens"] == [[1, 2, 3, 0], [4, 0, 0, 0]]


def test_files_that_disagree_have_no_layout(write: Write, call: Callable[..., Output]) -> None:
    call("pad", "-", "--padding", "pre", "--output", "a.npz", stdin="1 2\n3\n")
    plain = write("b.txt", "4\n")
    assert read_sequences(["a.npz"]).layout == Layout("pre", "post", 2, 0, "int32", trim=False)
    assert read_sequences(["a.npz", str(plain)]).layout is None


def test_json_that_pad_printed_is_what_it_writes(call: Callable[..., Output], tmp_path: Path) -> None:
    printed = call("pad", "--output", "out.json", "--format", "json")
    assert (tmp_path / "out.json").read_text() == printed


def test_output_replaces_a_file_and_keeps_its_mode(call: Callable[..., Output], write: Write) -> None:
    target = write("out.csv", "old")
    target.chmod(0o640)
    call("pad", "-", "--output", "out.csv", stdin="1\n")
    assert target.read_text() == "1\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_ragged_rows_know_their_place(write: Write) -> None:
    path = write("a.json", "[[1],\n\n [2,\n 3], [9]]")
    loaded = read_sequences([str(path)])
    assert [loaded.where(row) for row in range(3)] == [
        f"{path}:{line} (sequence {n})" for line, n in ((1, 1), (3, 2), (4, 3))
    ]


def test_where_names_the_line_of_an_error_found_later(write: Write) -> None:
    loaded = read_sequences([str(write("a.txt", "1\n2\n"))])
    with pytest.raises(InputError, match=r"a\.txt:2, value 1: expected x; received y"), loaded.naming():
        raise InputError(expected="x", received="y", fix="z", row=1, value=0)


def test_a_mask_in_the_file_says_what_is_valid(call: Callable[..., Output], write: Write) -> None:
    mask = np.array([[True, True, False], [True, True, True]])
    write("a.npz", npz(tokens=np.array([[1, 0, 0], [1, 2, 3]]), mask=mask))
    output = call("inspect", "a.npz", "--mask-source", "explicit", "--format", "json").json
    assert output["batch"]["valid"] == output["mask"] == mask.tolist()
    assert call("inspect", "a.npz", "--mask-source", "all", "--quiet").exit_status == 1
