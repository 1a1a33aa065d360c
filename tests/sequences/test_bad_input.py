"""Bad input: exit code 3, one message with the place, empty standard output, no output file."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Output
from tests.sequences.test_files import npy, npz

pytestmark = pytest.mark.quick

NOISE = bytes((index * 167 + 13) % 256 for index in range(400))


def claim_shape(shape: str) -> bytes:
    """Return an ``.npy`` whose header has a shape, but without data."""
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


BAD = [
    ("word.txt", "1 2\n3 four\n", "word.txt:2, value 2: expected an integer; received 'four'"),
    ("float.txt", "1 2.5\n", "float.txt:1, value 2: expected an integer; received 2.5"),
    ("grouped.txt", "1_000\n", "received '1_000'"),
    ("digits.txt", "١٢\n", "received '١٢'"),
    ("header.csv", "id,count\n1,2\n", "header.csv:1: expected --field COLUMN, because the file has a header; received the columns 'id', 'count'"),
    ("gap.csv", "1,2\n3,,4\n", "gap.csv:2, value 2: expected an integer; received an empty cell before another value"),
    ("gap.tsv", "1\t\t2\n", "gap.tsv:1, value 2: expected an integer; received an empty cell"),
    ("first.csv", ",1\n", "first.csv:1: expected --field COLUMN, because the file has a header; received the columns '', '1'"),
    ("json.txt", "[[1, 2]]\n", "json.txt:1: expected integers separated by blanks, commas or tabs; received '[[1, 2]]', which looks like JSON"),
    ("field.jsonl", '{"ids": [1]}\n{"ids": [2, 5.5]}\n', "field.jsonl:2, value 2: expected an integer; received 5.5"),
    ("sides.npz", npz(tokens=np.array([[0, 1], [2, 0]]), mask=np.array([[False, True], [True, False]])), "padding at the same side of all rows"),
    ("big.txt", "1\n99999999999\n", "big.txt:2, value 1: expected an integer that int32 holds"),
    ("huge.txt", "1\n99999999999999999999\n", "huge.txt:2, value 1: expected an integer from -9223372036854775808"),
    ("endless.txt", "9" * 5000 + "\n", "endless.txt:1, value 1: expected an integer"),
    ("float.json", "[[1],\n [2, 3.0]]", "float.json:2 (sequence 2), value 2: expected an integer; received 3.0"),
    ("true.json", "[[true]]", "true.json:1 (sequence 1), value 1: expected an integer; received true"),
    ("null.json", "[[1],\n null]", "null.json:2 (sequence 2): expected a sequence (a list of integers); received null"),
    ("nan.json", "[[NaN]]", "received nan"),
    ("string.json", '[["12"]]', "received '12'"),
    ("deep.json", "[[[1]]]", "received [1]"),
    ("flat.json", "[1, 2]", "Write a single sequence as [[1, 2, 3]]"),
    ("number.json", "7", "expected a JSON array of sequences; received 7"),
    ("object.json", '{"a": 1}', "received an object with the fields 'a'"),
    ("open.json", "[[1, 2],\n [3", "open.json:2:4: expected JSON; received the end, with a bracket or quote still open"),
    ("word.json", "[[1, 2],\n [oops]]", "word.json:2:3: expected JSON; received 'oops]]'"),
    ("lines.json", "[1] [2]\n", "lines.json:1:5: expected JSON; received '[2]' (extra data)"),
    ("nested.json", "[" * 100000, "nested.json: expected lists of integers"),
    ("digits.json", "[[" + "9" * 5000 + "]]", "digits.json: expected lists of integers"),
    ("none.json", "[]", "none.json: expected at least one sequence; received no sequences"),
    ("empties.json", "[[], []]", "empties.json: expected at least one token; received 2 empty sequences"),
    ("empties.txt", "\n\n", "empties.txt: expected at least one token; received 2 empty sequences"),
    ("empty.txt", "", "empty.txt: expected sequences; received an empty file"),
    ("empty.npy", "", "empty.npy: expected sequences; received an empty file"),
    ("blanks.json", " \n ", "expected a JSON array of sequences; received only white space"),
    ("blanks.jsonl", "\n\n", "blanks.jsonl: expected at least one sequence"),
    ("open.jsonl", "[1]\n[2\n", "open.jsonl:2:3: expected JSON; received the end"),
    ("gap.jsonl", "[1]\n\n[2]\n", "gap.jsonl:2: expected a JSON value on every line; received an empty line"),
    ("float.jsonl", "[1]\n[2, 3.5]\n", "float.jsonl:2, value 2: expected an integer; received 3.5"),
    ("mixed.jsonl", '{"a": [1]}\n[2]\n', "mixed.jsonl:2: expected an object with the field 'a'; received [2]"),
    ("two.jsonl", '{"a": [1], "b": [2]}\n', "two.jsonl: expected one field that holds a list of integers"),
    ("text.jsonl", '{"a": "x"}\n', "received none among the fields 'a'"),
    ("latin.txt", b"1 2\n3 \xe9\n", "latin.txt:2: expected UTF-8 text; received byte 0xe9 at offset 6"),
    ("noise.txt", NOISE, "noise.txt:1: expected UTF-8 text"),
    ("noise.npy", NOISE, "noise.npy: expected a NumPy npy file; received a file without NumPy's signature"),
    ("noise.npz", NOISE, "noise.npz: expected a NumPy npz file; received a file without NumPy's signature"),
    ("noise", NOISE, "noise:1: expected UTF-8 text"),
    ("noise.bin", NOISE, "noise.bin: expected a file that ends in .json"),
    ("swapped.npz", npy(np.array([[1]])), "received an npy file"),
    ("cut.npy", npy(np.arange(100).reshape(10, 10))[:-50], "cut.npy: expected the 928 bytes that its header claims; received 878 bytes"),
    ("cut.npz", npz(a=np.arange(100).reshape(10, 10))[:300], "cut.npz: expected NumPy arrays of integers"),
    ("cut.txt.gz", gzip.compress(b"1 2 3\n" * 100)[:-9], "cut.txt.gz: expected a whole gzip file"),
    ("float.npy", npy(np.array([[1.5]])), "float.npy: expected an array of integers; received dtype float64"),
    ("one.npy", npy(np.array([1, 2])), "one.npy: expected an array of shape (n_sequences, timesteps); received shape (2,)"),
    ("rows.npy", npy(np.zeros((0, 3), int)), "rows.npy: expected at least one sequence"),
    ("gigabytes.npy", claim_shape("(1000000000000, 0)"), "gigabytes.npy: expected at least one token; received 1,000,000,000,000 empty"),
    ("columns.npy", npy(np.zeros((2, 0), int)), "columns.npy: expected at least one token; received 2 empty sequences"),
    ("digits.npy", claim_shape(f"({'9' * 5000}, 2)"), "digits.npy: expected NumPy arrays of integers"),
    ("long.npz", npz(**{"a" * 9000: np.array([[1]]), "b": np.array([[2]])}), "received arrays named 'aaaa"),
    ("large.jsonl", "[1e300]", "large.jsonl:1, value 1: expected an integer; received 1e+300"),
    ("two.npz", npz(a=np.array([[1]]), b=np.array([[2]])), "received arrays named 'a', 'b'"),
    ("splits.npz", npz(values=np.array([1]), row_splits=np.array([0, 3])), "splits.npz: expected row_splits"),
    ("hole.npz", npz(tokens=np.array([[1, 0, 2]]), mask=np.array([[True, False, True]])), "hole.npz, row 1: expected valid"),
    ("mask.npz", npz(tokens=np.array([[1, 0]]), mask=np.array([[1, 0]])), "expected a boolean mask; received dtype int64"),
    ("pads.npz", npz(tokens=np.array([[1, 0, 9]]), mask=np.array([[True, False, False]])), "expected one padding value"),
    ("shape.npz", npz(tokens=np.array([[1, 0]]), mask=np.array([[True]])), "tokens (1, 2) and mask (1, 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_file_is_reported_with_place_and_fix(
    call: Callable[..., Output], tmp_path: Path, name: str, content: bytes | str, message: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    output = call("pad", name, "--output", "out.npz")
    assert output.exit_status == 3
    assert output == ""
    assert message in output.stderr
    assert output.stderr.startswith("Error: ")
    assert len(output.stderr.splitlines()) == 2, "one line for the error, one for the fix"
    assert "Traceback" not in output.stderr
    assert len(output.stderr) < 500
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pickles_are_never_loaded(call: Callable[..., Output], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    np.save(tmp_path / "objects.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Bomb()))
    for name, message in (("objects.npy", "pickled objects, which are never loaded"), ("bare.npy", "signature")):
        output = call("pad", name)
        assert output.exit_status == 3
        assert message in output.stderr
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nofile.txt"], "nofile.txt: expected a file of sequences; received a path that does not exist"),
        (["."], ".: expected a directory with files that end in .json, .jsonl"),
        (["bad\0name"], "embedded null "),
        (
            ["-", "--output", "nodir/x.npy"],
            "nodir/x.npy: expected a path that can be written to; received a directory that does not exist",
        ),
    ],
)
def test_missing_files_and_folders(
    call: Callable[..., Output], tmp_path: Path, arguments: list[str], message: str
) -> None:
    output = call("pad", *arguments, stdin="1 2\n")
    assert (output.exit_status, output) == (3, "")
    assert message in output.stderr
    assert output.stderr.count("expected") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--output", "x.pdf"],
            "a path that ends in .txt, .json, .md, .svg, .png, .jsonl, .npy, .npz, .parquet, .arrow, .tfrecord, .csv; received '.pdf'",
        ),
        (["--output", "x"], "received no suffix"),
        (["--maxlen", "0"], "0 is not in the range x>=1"),
        (["--value", "99999999999"], "expected a padding value that int32 holds"),
        (["--padding", "left"], "'left' is not one of 'pre', 'post'"),
        (["-", "-"], "expected `-` once; received it several times"),
        (["--sample", "a.txt"], "--sample: expected no FILE"),
        (["--sample", "--field", "x"], "--sample: expected no FILE"),
        ([""], "FILE: expected the name of a file; received an empty text"),
        (["--output", "x.json", "--format", "csv"], "received the suffix '.json', which is that of json"),
        (["--output", "x.npy.gz"], "expected .gz only after the suffix of a text format; received npy"),
        (["--output", "x.npy", "--heat", "full"], "expected --format table or markdown; received --format npy"),
        (["--compress", "--format", "csv"], "--compress: expected --format npz"),
        (["--pad-to-multiple-of", "4", "--maxlen", "6"], "expected a maxlen that is a multiple of 4"),
        (["--dtype", "uint8", "--value", "-1"], "expected a padding value that uint8 holds (0 to 255)"),
    ],
)
def test_usage_errors_exit_2(call: Callable[..., Output], tmp_path: Path, arguments: list[str], message: str) -> None:
    output = call("pad", *arguments, stdin="1\n")
    assert (output.exit_status, output) == (2, "")
    assert message in output.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("a.txt", "x", "expected a format with fields"),
        ("a.json", "x", "expected records with the field 'x'; received an array of bare sequences"),
        ("a.npy", "x", "expected an .npz for --field"),
        ("a.npz", "x", "expected an array named 'x'; received arrays named 'a'"),
        ("a.jsonl", "x", "a.jsonl:1: expected the field 'x'; received the fields 'ids'"),
    ],
)
def test_field_does_not_exist(call: Callable[..., Output], tmp_path: Path, name: str, field: str, message: str) -> None:
    contents = {"a.txt": b"1\n", "a.json": b"[[1]]", "a.npy": npy(np.array([[1]])), "a.npz": npz(a=np.array([[1]])),
                "a.jsonl": b'{"ids": [1]}\n'}  # fmt: skip
    (tmp_path / name).write_bytes(contents[name])
    output = call("pad", name, "--field", field)
    assert output.exit_status == 3
    assert message in output.stderr


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "a document without 'padding'"),
        ({"padding": "up"}, "padding 'pre' or 'post'; received 'up'"),
        ({"lengths": [1, 1]}, "rows of [2] tokens, and 2 lengths"),
        ({"lengths": [-1]}, "rows of 2 tokens, and a length for each"),
        ({"lengths": [1.9]}, "an integer; received 1.9"),
        ({"lengths": [10**30]}, "(int64)"),
        ({"lengths": 7}, "(a list of integers); received 7"),
        ({"tokens": [[1, 2.5]]}, "an integer; received 2.5"),
        ({"tokens": [[1, True]]}, "an integer; received true"),
        ({"tokens": [[1], [2, 3]]}, "rows of [1, 2] tokens"),
        ({"tokens": 5}, "not iterable"),
        ({"maxlen": "x"}, "maxlen of at least 1; received x"),
        ({"maxlen": True}, "maxlen of at least 1; received True"),
        ({"maxlen": 10**13}, "rows of 10000000000000 tokens"),
        ({"dtype": "nosuch"}, "integer dtype"),
    ],
)
def test_incomplete_pad_documents(
    call: Callable[..., Output], document: dict[str, object] | None, message: str
) -> None:
    import json

    whole = {
        "padding": "post",
        "truncating": "post",
        "maxlen": 2,
        "value": 0,
        "dtype": "int32",
        "lengths": [2],
        "tokens": [[1, 2]],
    }
    fields = {} if document is None else {**whole, **document}
    output = call("pad", "-", stdin=json.dumps({"schema": "maskcli/pad/1", **fields}))
    assert (output.exit_status, output) == (3, "")
    assert message in output.stderr


@pytest.mark.parametrize("command", ["inspect", "loss"])
@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("1 2\n3 -4\n", [], "a.txt:2, value 2: expected an id from 0 to 3; received -4"),
        ("1 2\n3 9\n", ["--input-dim", "9"], "a.txt:2, value 2: expected an id from 0 to 8; received 9"),
        ("1\n99999999\n", [], "a.txt:2, value 1: expected a token id, below 10000000; received 99999999"),
        ("\n\n", [], "a.txt: expected at least one token; received 2 empty sequences"),
        ("1 x\n", [], "a.txt:1, value 2: expected an integer; received 'x'"),
    ],
)
def test_ids_without_a_row_in_the_embedding(
    call: Callable[..., Output], tmp_path: Path, command: str, content: str, options: list[str], message: str
) -> None:
    (tmp_path / "a.txt").write_text(content)
    output = call(command, "a.txt", *options, "--output", "out.json")
    assert (output.exit_status, output) == (3, "")
    assert message in output.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
