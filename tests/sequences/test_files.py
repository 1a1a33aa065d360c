"""Read the same sequences from files of every format, and write batches to files."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
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
from maskcli.sequences.files import LoadedSequences, read_rows, read_sequences
from maskcli.sequences.formats.base import Field
from maskcli.sequences.input_files import InputFiles, expand_files
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


WRITTEN = [".npy", ".npz", ".json", ".jsonl", ".csv", ".parquet", ".arrow", ".jsonl.gz", ".csv.zst", ".json.zst"]


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_written_file_reads_back(call: Callable[..., Output], tmp_path: Path, suffix: str, padding: str) -> None:
    output = call("pad", "-", "--padding", padding, "--output", f"out{suffix}", stdin="1 2 3\n4\n")
    assert (output.exit_status, output.stderr) == (0, "")
    expected = pad([[1, 2, 3], [4]], padding=padding).tokens.tolist()  # type: ignore[arg-type]
    assert call("pad", f"out{suffix}", "--format", "json").json["tokens"] == expected
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


WITH_MASK = [".npz", ".json", ".parquet", ".arrow"]
LAYOUTS: list[dict[str, object]] = [
    {},
    {"padding": "pre", "value": 9, "maxlen": 4},
    {"truncating": "pre", "maxlen": 2, "dtype": "uint8"},
    {"padding": "pre", "dtype": "int64", "pad-to-multiple-of": 4, "value": -1},
]


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("options", LAYOUTS, ids=str)
@pytest.mark.parametrize("second", WITH_MASK)
@pytest.mark.parametrize("first", WITH_MASK)
def test_files_with_a_mask_are_equal(
    call: Callable[..., Output], first: str, second: str, options: dict[str, object]
) -> None:
    """Written, read, written in another format and read again, a batch keeps its tokens, its mask and its padding."""
    spelled = [f"--{name}={value}" for name, value in options.items()]
    expected = call("pad", "-", *spelled, "--format", "json", stdin="1 2 0 3\n4\n0 0\n").json
    assert call("pad", "-", *spelled, "--output", f"a{first}", stdin="1 2 0 3\n4\n0 0\n").stderr == ""
    assert call("pad", f"a{first}", "--output", f"b{second}").stderr == ""
    again = call("pad", f"b{second}", "--format", "json").json
    for name in ("tokens", "mask", "padding", "value", "maxlen", "dtype"):
        assert again[name] == expected[name], name


@pytest.mark.parametrize("form", ["npy", "npz", "jsonl", "csv", "parquet", "arrow", "json"])
def test_pad_in_the_middle_of_a_pipe(program: list[str], tmp_path: Path, form: str) -> None:
    (tmp_path / "a.jsonl").write_text("[1, 2, 3]\n[4]\n")
    line = f'"$@" pad a.jsonl --format {form} --padding pre | "$@" pad --format jsonl'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line, "bash", *program], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2, 3]\n[0, 0, 4]\n", "", 0)


def test_error_leaves_the_pipe_empty(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[1, 2, 3]\n" * 200_000 + "[1.5]\n")
    arguments = [*program, "pad", "a.jsonl", "--maxlen", "3", "--format", "npy"]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == (b"", 3)
    assert b"a.jsonl:200001, value 1: expected an integer; received 1.5" in done.stderr


def test_npz_is_compressed_on_demand(call: Callable[..., Output], tmp_path: Path) -> None:
    for name, options in {"stored.npz": (), "packed.npz": ("--compress",)}.items():
        call("pad", "-", "--output", name, *options, stdin="1 2 3\n" * 1000)
    stored, packed = tmp_path / "stored.npz", tmp_path / "packed.npz"
    assert packed.stat().st_size < stored.stat().st_size / 10
    for name in ("tokens", "mask", "lengths"):
        np.testing.assert_array_equal(np.load(stored)[name], np.load(packed)[name])


@pytest.mark.parametrize("marks", ["attention_mask", "padding_mask", "ids.mask"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl", "json", "csv", "npz"])
def test_marked_padding_is_recognised(call: Callable[..., Output], tmp_path: Path, marks: str, kind: str) -> None:
    """``pad`` and ``check`` see the same padding, in each format."""
    columns: dict[str, list[list[int]]] = {"ids": [[7, 0, 8, 0], [0, 5, 0, 0]], marks: [[1, 1, 1, 0], [1, 1, 0, 0]]}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    elif kind == "arrow":
        feather.write_feather(pa.table(columns), str(path), compression="uncompressed")
    elif kind == "npz":
        np.savez(path, ids=np.array(columns["ids"]), **{marks: np.array(columns[marks], bool)})
    elif kind == "csv":
        rows = [";".join(map(str, record.values())) for record in records]
        path.write_text("\n".join([";".join(columns), *rows]))
    else:
        lines = [json.dumps(record) for record in records]
        path.write_text("\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]")
    padded = call("pad", path.name, "--field", "ids", "--format", "json").json
    assert padded["tokens"] == [[7, 0, 8], [0, 5, 0]] if kind != "npz" else [[7, 0, 8, 0], [0, 5, 0, 0]]
    assert padded["mask"] == np.array(columns[marks], bool)[:, : len(padded["mask"][0])].tolist()
    checked = call("check", path.name, "--data-only", "--field", "ids", "--format", "json").json
    assert checked["inputs"][0]["padded_timesteps"] == 3
    validity = {"source": "given", "of": marks, "value": None, "filled_with": None}
    assert checked["inputs"][0]["validity"] == padded["inputs"][0]["validity"] == validity
    # While it is written part by part, the table comes from an excerpt.
    for options in ([], ["--maxlen", "4"]):
        table = call("pad", path.name, "--field", "ids", "--mask-output", "mask.npy", *options)
        assert f"tokens: padding as marked in {marks}" in table


@pytest.mark.parametrize(
    ("marks", "row"),
    [([[1], [1, 1, 1]], 1), ([[1, 2], [1, 1, 1]], 1), ([[1, 1], [1, 0, 1]], 2), ([[1, 0], [0, 1, 1]], None)],
)
def test_marks_of_parquet_that_do_not_fit(tmp_path: Path, marks: list[list[int]], row: int | None) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"ids": [[5, 6], [7, 8, 9]], "attention_mask": marks}), path)
    if row is None:
        assert list_rows(read_sequences([str(path)])) == [[5], [8, 9]]
        return
    with pytest.raises(InputError, match=rf"a\.parquet, row {row}: expected a 0 or 1 in 'attention_mask' for each"):
        read_sequences([str(path)])


def test_npz_with_targets_needs_no_field(call: Callable[..., Output], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[1, 2], [3, 0]]), y=np.array([0, 1]))
    assert call("pad", "a.npz", "--format", "jsonl") == "[1, 2]\n[3, 0]\n"


def test_npz_holds_tokens_mask_and_lengths(call: Callable[..., Output], tmp_path: Path) -> None:
    call("pad", "-", "--output", "out.npz", "--maxlen", "2", stdin="1 2 3\n4\n")
    with np.load(tmp_path / "out.npz") as archive:
        assert sorted(archive.files) == ["lengths", "mask", "tokens"]
        assert archive["tokens"].tolist() == [[1, 2], [4, 0]]
        assert archive["tokens"].dtype == np.int32
        assert archive["mask"].tolist() == [[True, True], [True, False]]
        assert archive["lengths"].tolist() == [3, 1]


@pytest.mark.parametrize("suffix", [".npz", ".json", ".parquet", ".arrow"])
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
    printed = call("pad", "--sample", "--format", "json")
    assert call("pad", "--sample", "--output", "out.json") == ""
    assert (tmp_path / "out.json").read_text() == printed
    assert call("pad", "--sample", "--output", "-", "--format", "json") == printed


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
        call("inspect", f"a.{kind}", "--model", "columns_model:make", "--format", "json").json
        for kind in ("parquet", "jsonl")
    )
    assert [document.pop("data")["files"] for document in (of_parquet, of_lines)] == [["a.parquet"], ["a.jsonl"]]
    assert of_parquet == of_lines


# Patterns and directories.


def list_files(paths: list[str]) -> tuple[str, ...]:
    return expand_files(paths).paths


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
    assert list(list_files([str(folder)])) == names
    assert call("pad", str(folder), "--format", "json").json["tokens"] == [[1], [3], [4], [5]]
    assert list(list_files([str(folder / "*.txt")])) == names[:2]
    assert list(list_files([str(folder / "**" / "[a-e].txt")])) == [*names[:2], str(folder / "below" / "e.txt")]
    assert list(list_files(["-", names[1], str(folder / "?.jsonl")])) == ["-", names[1], names[2]]
    output = call("pad", str(folder / "*.csv"))
    assert (output.exit_status, "*.csv: expected files that match this pattern; received none" in output.stderr) == (
        3,
        True,
    )
    assert call("inspect", str(folder / "b*"), "--model", "embedding-dense", "--format", "json").exit_status == 0


def test_file_name_that_looks_like_a_pattern(write: Write) -> None:
    path = str(write("a[1].txt", "7\n"))
    assert expand_files([path]) == InputFiles((path,))
    assert list_rows(read_sequences([path])) == [[7]]
