"""Read the same sequences from files of every format, and write batches to files."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskcli.api.pad import pad
from maskcli.errors import InputError
from maskcli.records.sequences import Layout
from maskcli.sequences.files import LoadedSequences, expand_files, read_rows, read_sequences
from maskcli.sequences.formats.base import Field
from tests.conftest import Output

pytestmark = pytest.mark.quick

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


def parquet(columns: dict[str, Any], kind: Any = None, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(column, kind) for name, column in columns.items()}), out, **options)
    return out.getvalue()


def arrow(columns: dict[str, Any], new: Any = pa.ipc.new_file) -> bytes:
    out = io.BytesIO()
    table = pa.table(columns)
    with new(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
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
    "a.parquet": parquet({"ids": ROWS}),
    "large.parquet": parquet({"ids": ROWS}, pa.large_list(pa.int64()), row_group_size=1, compression="zstd"),
    "small.pq": parquet({"ids": ROWS}, pa.list_(pa.int8())),
    "a.arrow": arrow({"ids": ROWS, "text": ["a", "b", "c"]}),
    "a.feather": arrow({"ids": ROWS, "scores": [[0.5], [], [1.5]]}),
    "stream.arrows": arrow({"ids": ROWS}, pa.ipc.new_stream),
    "NOSUFFIX": "1 2 3\n\n40 -5\n",
    "UPPER.JSON": "[[1, 2, 3], [], [40, -5]]",
}


def list_rows(loaded: LoadedSequences) -> list[list[int]]:
    return [loaded.ragged[row].tolist() for row in range(len(loaded.ragged))]


@pytest.mark.parametrize("name", SAME)
def test_every_format_reads_the_same_sequences(write: Write, name: str) -> None:
    assert list_rows(read_sequences([str(write(name, SAME[name]))])) == ROWS


@pytest.mark.parametrize("name", SAME)
def test_gzip_reads_the_same(write: Write, name: str) -> None:
    content = SAME[name]
    data = gzip.compress(content if isinstance(content, bytes) else content.encode())
    assert list_rows(read_sequences([str(write(f"{name}.gz", data))])) == ROWS


@pytest.mark.parametrize("name", SAME)
def test_zstandard_reads_the_same(write: Write, name: str) -> None:
    content = SAME[name]
    data = content if isinstance(content, bytes) else content.encode()
    packed = pa.Codec("zstd").compress(data, asbytes=True)
    assert list_rows(read_sequences([str(write(f"{name}.zst", packed))])) == ROWS


@pytest.mark.parametrize("name", SAME)
def test_stdin_format_is_inferred_from_content(call: Callable[..., Output], name: str) -> None:
    assert call("pad", "-", "--format", "json", stdin=SAME[name]).json["lengths"] == [3, 0, 2]


@pytest.mark.parametrize("compress", [gzip.compress, pa.Codec("zstd").compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("name", SAME)
def test_stdin_may_be_compressed(call: Callable[..., Output], name: str, compress: Any) -> None:
    content = SAME[name]
    data = bytes(compress(content if isinstance(content, bytes) else content.encode()))
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
def test_content_distinguishes_json_and_json_lines(
    call: Callable[..., Output], content: str, rows: list[list[int]]
) -> None:
    document = call("pad", "-", "--format", "json", stdin=content).json
    kept = [
        [t for t, keep in zip(*row, strict=True) if keep]
        for row in zip(document["tokens"], document["mask"], strict=True)
    ]
    assert kept == rows


def test_2d_array_has_rows_of_full_length(write: Write) -> None:
    for name, data in (
        ("a.npy", npy(np.array([[1, 2], [3, 0]], np.int16))),
        ("a.npz", npz(x=np.array([[1, 2], [3, 0]]))),
    ):
        assert list_rows(read_sequences([str(write(name, data))])) == [[1, 2], [3, 0]]


def test_field_selects_an_array_or_a_field(write: Write) -> None:
    two = write("two.npz", npz(a=np.array([[1]]), b=np.array([[2]])))
    assert list_rows(read_sequences([str(two)], field="b")) == [[2]]
    lines = write("two.jsonl", '{"a": [1], "b": [2]}\n{"a": [1], "b": []}\n')
    assert list_rows(read_sequences([str(lines)], field="b")) == [[2], []]


@pytest.mark.parametrize("entry", ["json", "jsonl"])
def test_a_field_may_have_an_empty_name(write: Write, entry: str) -> None:
    records = [{"": [1], "b": ["x"]}]
    path = write("a", json.dumps(records if entry == "json" else records[0]))
    assert read_rows(str(path), entry, Field("")).rows == [[1]]
    assert read_sequences([str(path)], entry, "").ragged.values.tolist() == [1]
    path.write_text("[[1]]" if entry == "json" else "[1]")
    with pytest.raises(InputError, match="''"):
        read_rows(str(path), entry, Field(""))


def test_several_files_keep_their_order(write: Write) -> None:
    paths = [
        str(write("b.txt", "1 2\n")),
        str(write("a.json", "[[3], [4]]")),
        str(write("c.npy", npy(np.array([[5, 6]])))),
    ]
    loaded = read_sequences(paths)
    assert list_rows(loaded) == [[1, 2], [3], [4], [5, 6]]
    assert loaded.where(2) == f"{paths[1]}:1 (sequence 2)"
    assert loaded.where(3) == f"{paths[2]}, row 1"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_written_file_reads_back(call: Callable[..., Output], tmp_path: Path, suffix: str, padding: str) -> None:
    output = call("pad", "-", "--padding", padding, "--output", f"out{suffix}", stdin="1 2 3\n4\n")
    assert (output.exit_status, output.stderr) == (0, "")
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
def test_layout_of_the_file_is_the_default(call: Callable[..., Output], suffix: str) -> None:
    options = ("--padding", "pre", "--maxlen", "4", "--value", "9", "--dtype", "int64")
    call("pad", "-", *options, "--output", f"out{suffix}", stdin="1 2 3\n4\n")
    again = call("pad", f"out{suffix}", "--format", "json").json
    assert again["tokens"] == [[9, 1, 2, 3], [9, 9, 9, 4]]
    assert (again["padding"], again["maxlen"], again["value"], again["dtype"]) == ("pre", 4, 9, "int64")
    changed = call("pad", f"out{suffix}", "--padding", "post", "--value", "0", "--format", "json").json
    assert changed["tokens"] == [[1, 2, 3, 0], [4, 0, 0, 0]]


def test_files_that_disagree_have_no_layout(write: Write, call: Callable[..., Output]) -> None:
    call("pad", "-", "--padding", "pre", "--output", "a.npz", stdin="1 2\n3\n")
    plain = write("b.txt", "4\n")
    assert read_sequences(["a.npz"]).layout == Layout(padding="pre", maxlen=2, trim=False)
    assert read_sequences(["a.npz", str(plain)]).layout is None


def test_json_output_equals_printed_json(call: Callable[..., Output], tmp_path: Path) -> None:
    printed = call("pad", "--output", "out.json", "--format", "json")
    assert (tmp_path / "out.json").read_text() == printed


def test_output_replaces_a_file_and_keeps_its_mode(call: Callable[..., Output], write: Write) -> None:
    target = write("out.csv", "old")
    target.chmod(0o640)
    call("pad", "-", "--output", "out.csv", stdin="1\n")
    assert target.read_text() == "1\n"
    assert target.stat().st_mode & 0o777 == 0o640


def test_where_returns_the_line_of_an_entry(write: Write) -> None:
    path = write("a.json", "[[1],\n\n [2,\n 3], [9]]")
    loaded = read_sequences([str(path)])
    assert [loaded.where(row) for row in range(3)] == [
        f"{path}:{line} (sequence {n})" for line, n in ((1, 1), (3, 2), (4, 3))
    ]


def test_naming_adds_the_line_to_a_later_error(write: Write) -> None:
    loaded = read_sequences([str(write("a.txt", "1\n2\n"))])
    with pytest.raises(InputError, match=r"a\.txt:2, value 1: expected x; received y"), loaded.naming():
        raise InputError(expected="x", received="y", fix="z", row=1, value=0)


@pytest.mark.slow(share=1)
def test_mask_in_a_file_sets_validity(call: Callable[..., Output], write: Write) -> None:
    mask = np.array([[True, True, False], [True, True, True]])
    write("a.npz", npz(tokens=np.array([[1, 0, 0], [1, 2, 3]]), mask=mask))
    output = call("inspect", "a.npz", "--mask-source", "explicit", "--format", "json").json
    assert output["batch"]["valid"] == output["mask"] == mask.tolist()
    assert call("inspect", "a.npz", "--mask-source", "all", "--quiet").exit_status == 1


# Arrow.


def test_field_selects_one_of_several_columns(write: Write, call: Callable[..., Output]) -> None:
    path = str(write("a.parquet", parquet({"ids": ROWS, "tags": [[1], [2], [3]]})))
    assert call("pad", path, "--field", "tags", "--format", "json").json["tokens"] == [[1], [2], [3]]
    output = call("pad", path)
    assert output.exit_status == 3
    assert "one column of lists of integers; received 'ids', 'tags' among the columns 'ids', 'tags'" in output.stderr
    assert "a column named 'x'; received columns named 'ids', 'tags'" in call("pad", path, "--field", "x").stderr


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "null.parquet",
            parquet({"ids": [[1], None]}),
            "null.parquet, row 2: expected a list of integers; received null",
        ),
        (
            "null.arrow",
            arrow({"ids": [[1], [2, None]]}),
            "null.arrow, row 2, value 2: expected an integer; received null",
        ),
        ("float.parquet", parquet({"ids": [[1.5]]}), "received none among the columns 'ids'"),
        ("flat.parquet", parquet({"ids": [1, 2]}), "received none among the columns 'ids'"),
        (
            "big.parquet",
            parquet({"ids": [[2**40]]}),
            "big.parquet, row 1, value 1: expected an integer that int32 holds",
        ),
        (
            "past.parquet",
            parquet({"ids": pa.array([[1], [2**63]], pa.list_(pa.uint64()))}),
            "past.parquet: expected integers up to 9223372036854775807; received 9223372036854775808",
        ),
        ("none.parquet", parquet({"ids": []}, pa.list_(pa.int32())), "none.parquet: expected at least one sequence"),
        ("cut.parquet", parquet({"ids": ROWS})[:-9], "cut.parquet: expected a Parquet file; received one that pyarrow"),
        ("cut.arrow", arrow({"ids": ROWS})[:-90], "cut.arrow: expected an Arrow IPC file"),
        ("text.parquet", b"1 2 3", "text.parquet: expected a Parquet file"),
        ("twice.arrow", arrow(pa.table([pa.array(ROWS), pa.array(ROWS)], ["a", "a"])), "columns of different names"),
        ("cut.txt.zst", pa.Codec("zstd").compress(b"1 2 3" * 99, asbytes=True)[:-3], "expected a whole Zstandard file"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:14] else "",
)
def test_arrow_files_without_sequences(
    write: Write, call: Callable[..., Output], name: str, data: bytes, message: str
) -> None:
    output = call("pad", str(write(name, data)))
    assert (output.exit_status, str(output)) == (3, "")
    assert message in output.stderr


@pytest.mark.parametrize("at", range(0, 700, 23))
def test_a_damaged_parquet_file_is_an_error_or_rows(write: Write, call: Callable[..., Output], at: int) -> None:
    data = bytearray(parquet({"ids": ROWS}))
    data[at % len(data)] ^= 0xFF
    output = call("pad", str(write("damaged.parquet", bytes(data))))
    assert output.exit_status in (0, 3)
    assert "Traceback" not in output.stderr


@pytest.mark.slow(share=1)
def test_columns_feed_the_inputs_of_a_model(
    write: Write, call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        "columns_model.py",
        "import keras\n"
        "def make():\n"
        "    keras.utils.set_random_seed(1)\n"
        "    inputs = [keras.Input((None,), dtype='int32', name=name) for name in ('tokens', 'other')]\n"
        "    new = lambda at: keras.layers.Embedding(50, 2, mask_zero=True, name=f'of_{at}')\n"
        "    embedded = [new(at)(each) for at, each in enumerate(inputs)]\n"
        "    return keras.Model(inputs, keras.layers.Add(name='sum')(embedded))\n",
    )
    monkeypatch.chdir(tmp_path)
    columns = {"other": [[1, 2], [3]], "tokens": [[4, 5], [6]]}
    lines = "".join(
        json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in zip(*columns.values(), strict=True)
    )
    write("a.parquet", parquet(columns))
    write("a.jsonl", lines)
    of_parquet, of_lines = (
        call("inspect", f"a.{kind}", "--model", "columns_model:make", "--format", "json")
        for kind in ("parquet", "jsonl")
    )
    assert of_parquet.exit_status == 0, of_parquet.stderr
    assert of_parquet == of_lines


# Patterns and directories.


@pytest.mark.slow(share=1)
def test_patterns_and_directories(call: Callable[..., Output], tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, text in {"b.txt": "3\n", "a.txt": "1\n", "c.jsonl": "[4]\n", "_SUCCESS": "", ".hid.txt": "9\n"}.items():
        (folder / name).write_text(text)
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"5\n"))
    (folder / "below").mkdir()
    (folder / "below" / "e.txt").write_text("6\n")
    names = [str(folder / name) for name in ("a.txt", "b.txt", "c.jsonl", "d.txt.gz")]
    assert list(expand_files([str(folder)])) == names
    assert call("pad", str(folder), "--format", "json").json["tokens"] == [[1], [3], [4], [5]]
    assert list(expand_files([str(folder / "*.txt")])) == names[:2]
    assert list(expand_files([str(folder / "**" / "[a-e].txt")])) == [*names[:2], str(folder / "below" / "e.txt")]
    assert list(expand_files(["-", names[1], str(folder / "?.jsonl")])) == ["-", names[1], names[2]]
    output = call("pad", str(folder / "*.csv"))
    assert (output.exit_status, "*.csv: expected files that match this pattern; received none" in output.stderr) == (
        3,
        True,
    )
    assert call("inspect", str(folder / "b*"), "--model", "embedding-dense", "--format", "json").exit_status == 0


def test_file_name_that_looks_like_a_pattern(write: Write) -> None:
    path = str(write("a[1].txt", "7\n"))
    assert expand_files([path]) == (path,)
    assert list_rows(read_sequences([path])) == [[7]]
