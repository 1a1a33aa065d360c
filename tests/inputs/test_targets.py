"""Targets fit the batch, or the error names every row that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskcli.inputs.columns import RowLayout
from maskcli.inputs.targets import load_rows, load_timestep_targets, make_targets
from maskcli.records.layout import Layout
from maskcli.records.loss import Targets
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.ragged import as_ragged
from tests.conftest import Output
from tests.sequences.test_files import npy, npz

pytestmark = pytest.mark.slow(share=1 / 2)

ROWS = [[5, 3, 8], [7]]


def load_targets(source: object, loss: str = "mse", units: int | None = None, **layout: object) -> Targets:
    ragged = as_ragged(ROWS)
    batch = pad_ragged(ragged, Layout(**layout))  # type: ignore[arg-type]
    return load_timestep_targets(source, None, loss, ragged, batch, units)


def generate(kind: str, loss: str, units: int | None, input_dim: int, rows: object = ROWS, **layout: object) -> Targets:
    ragged = as_ragged(rows)
    batch = pad_ragged(ragged, Layout(**layout))  # type: ignore[arg-type]
    return make_targets(kind, loss, (*batch.tokens.shape, units), ragged, batch, input_dim)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("y.txt", b"0.5 1 1.5\n2\n"),
        ("y.csv", b"0.5,1,1.5\n2,,\n"),
        ("y.json", b"[[0.5, 1, 1.5], [2]]"),
        ("y.jsonl", b"[0.5, 1, 1.5]\n[2]\n"),
        ("y.npy", npy(np.array([[0.5, 1, 1.5], [2, 0, 0]]))),
        ("ragged.npz", npz(values=np.array([0.5, 1, 1.5, 2]), row_splits=np.array([0, 3, 4]))),
        ("vectors.json", b"[[[0.5], [1], [1.5]], [[2]]]"),
    ],
)
def test_targets_of_every_format(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    result = load_targets(tmp_path / name)
    assert result.values.tolist() == [[[0.5], [1], [1.5]], [[2], [0], [0]]]
    assert (result.units, result.values.dtype) == (1, np.float32)


def test_targets_are_padded_like_sequences() -> None:
    rows = [[1, 2, 3], [4]]
    assert load_targets(rows, padding="pre").values[..., 0].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert load_targets(rows, maxlen=2).values[..., 0].tolist() == [[1, 2], [4, 0]]
    assert load_targets(rows, maxlen=2, truncating="pre").values[..., 0].tolist() == [[2, 3], [4, 0]]
    assert load_targets([[1, 2, 3], [4, 5, 6]]).values[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_targets_vectors_set_width() -> None:
    result = load_targets([[[1, 2], [3, 4], [5, 6]], [[7, 8]]])
    assert result.values.shape == (2, 3, 2)
    assert (result.units, result.values[1].tolist()) == (2, [[7, 8], [0, 0], [0, 0]])


def test_targets_of_numbers_and_vectors_of_one() -> None:
    assert load_targets([[1, 2, 3], [[4]]]).values.tolist() == [[[1], [2], [3]], [[4], [0], [0]]]
    assert load_targets([[1, 2, 3], [[4], [5], [6]]]).values.tolist() == [[[1], [2], [3]], [[4], [5], [6]]]


def test_targets_class_ids() -> None:
    result = load_targets([[0, 2, 1], [1]], loss="sparse_categorical_crossentropy")
    assert (result.units, result.values.dtype) == (3, np.int32)
    assert result.values.tolist() == [[0, 2, 1], [1, 0, 0]]
    assert load_targets([[0, 0, 0], [0]], loss="sparse_categorical_crossentropy").units == 2


@pytest.mark.parametrize(
    ("rows", "loss", "units", "message"),
    [
        ([[1, 2, 3]], "mse", None, "2 rows of targets, one for each sequence; received 1"),
        ([[1, 2], [3, 4]], "mse", None, "row 1 has 2 for 3; targets, row 2 has 2 for 1"),
        ([[1, 2, "x"], [3]], "mse", None, "row 1, value 3: expected a finite number"),
        ([[1, 2, float("nan")], [3]], "mse", None, "received nan"),
        ([[1, 2, True], [3]], "mse", None, "received true"),
        ([[1, [2], 3], [3]], "mse", None, "row 1: expected vectors of one width at all timesteps"),
        ([[[1], [2], [3, 4]], [[3]]], "mse", None, "row 1: expected vectors of one width at all timesteps"),
        (
            [[1, 2, 3], [[3, 4]]],
            "mse",
            None,
            "row 2: expected one number a timestep, as in the rows before; received a vector of 2",
        ),
        ([[1, 2, 3], 4], "mse", None, "row 2: expected a list of targets"),
        ([[[[1]], [[2]], [[3]]], [[[3]]]], "mse", None, "row 1, value 1: expected a finite number"),
        ([[1, 2, 3], [4]], "mse", 2, "--units: expected 1, the width of the targets in targets; received 2"),
        (
            [[1, 2, 3], [4]],
            "categorical_crossentropy",
            None,
            "a vector for each timestep, with one number for each class",
        ),
        ([[0, 1, 2], [1]], "binary_crossentropy", None, "targets from 0 to 1 for binary_crossentropy"),
        ([[0, 1.5, 2], [1]], "sparse_categorical_crossentropy", None, r"integers from 0 below 10000000; received 1\.5"),
        ([[0, -1, 2], [1]], "sparse_categorical_crossentropy", None, "integers from 0 below 10000000; received -1"),
        ([[0, 1, 2], [1]], "sparse_categorical_crossentropy", 2, "integers from 0 below --units 2; received 2"),
        (
            [[[0, 1]] * 3, [[1, 0]]],
            "sparse_categorical_crossentropy",
            None,
            "one class id per timestep; received vectors of 2",
        ),
        (
            [[0, 1e300, 2], [1]],
            "sparse_categorical_crossentropy",
            None,
            r"integers from 0 below 10000000; received 1e\+300",
        ),
        ([[1, 2, 10**400], [3]], "mse", None, "row 1, value 3: expected a finite number"),
        ([[[], [], []], [[]]], "mse", None, "row 1, value 1: expected at least one number per timestep"),
        (np.zeros((2, 3, 0)), "mse", None, "row 1, value 1: expected at least one number per timestep"),
        (5, "mse", None, "expected a file, one of arange, zeros, ones, shift, or rows of targets; received 5"),
        (np.zeros((2, 2, 2, 2)), "mse", None, r"received shape \(2, 2, 2, 2\)"),
    ],
)
def test_targets_that_do_not_fit(rows: object, loss: str, units: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_targets(rows, loss, units)


def test_error_lists_at_most_five_rows() -> None:
    ragged = as_ragged([[1, 2]] * 9)
    with pytest.raises(ValueError, match="and 4 more rows"):
        load_timestep_targets([[1]] * 9, None, "mse", ragged, pad_ragged(ragged, Layout()), None)


@pytest.mark.parametrize(
    ("kind", "loss", "units", "expected"),
    [
        ("arange", "mse", None, np.arange(18).reshape(2, 3, 3)),
        ("zeros", "mae", 2, np.zeros((2, 3, 2))),
        ("ones", "binary_crossentropy", 1, np.ones((2, 3, 1))),
        ("shift", "mse", None, [[[3], [8], [0]], [[0], [0], [0]]]),
        ("shift", "sparse_categorical_crossentropy", None, [[3, 8, 0], [0, 0, 0]]),
        ("arange", "sparse_categorical_crossentropy", 4, [[0, 1, 2], [3, 0, 1]]),
        ("ones", "categorical_crossentropy", 2, np.tile([0, 1], (2, 3, 1))),
    ],
)
def test_generated_targets(kind: str, loss: str, units: int | None, expected: object) -> None:
    result = generate(kind, loss, units, input_dim=9)
    np.testing.assert_array_equal(result.values, expected)
    assert (result.following is not None) is (kind == "shift")


def test_shift_reports_last_timesteps(call: Callable[..., Output]) -> None:
    options = ("--targets", "shift", "--loss", "sparse_categorical_crossentropy", "--format", "json")
    document = call("loss", "-", *options, stdin="5 3 8\n7\n").json
    assert (document["model"]["units"], document["model"]["logits"]) == (3, 9)
    text = "2 timesteps have no next token but still count, with padding id 0 as target."
    assert document["remarks"][0] == {"kind": "fact", "text": text}


def test_one_hot_targets_beyond_memory() -> None:
    with pytest.raises(ValueError, match="2 timesteps of 1,000,000,000 classes"):
        generate("shift", "categorical_crossentropy", None, input_dim=10**9, rows=[[1, 2]])


def test_standard_input_for_data_and_targets(call: Callable[..., Output]) -> None:
    output = call("loss", "-", "--targets", "-", stdin="1\n")
    assert (output.exit_status, output) == (2, "")
    assert "expected `-` once" in output.stderr
    assert (
        call(
            "loss", "--sample", "--targets", "-", "--format", "json", stdin="1 2 3 4 5 6\n1 2 3 4 5\n1 2 3\n"
        ).exit_status
        == 0
    )


def test_targets_error_names_file_and_line(call: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("1 2 3 4 5 6\n1 2 3\n1 2\n")
    output = call("loss", "--targets", "y.txt")
    assert output.exit_status == 3
    assert "received y.txt:2 has 3 for 5; y.txt:3 has 2 for 3" in output.stderr
    assert (
        "Targets are a file with a row for each row of the data, or one of arange, zeros, ones, shift"
        in call("loss", "--targets", "nosuch").stderr
    )


def test_shift_uses_truncated_tokens() -> None:
    rows, loss = [[1, 2, 3], [], [4]], "sparse_categorical_crossentropy"
    post = generate("shift", loss, None, 10, rows, maxlen=2)
    assert post.values.tolist() == [[2, 3], [0, 0], [0, 0]]
    pre = generate("shift", loss, None, 10, rows, maxlen=2, truncating="pre", padding="pre", value=9)
    assert pre.values.tolist() == [[3, 9], [9, 9], [9, 9]]


RECORDS = '{"ids": [1, 2, 3], "y": [0.5, 0.1, 0.2]}\n{"ids": [4, 5], "y": [0.3, 0.9]}\n'


@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
def test_targets_field(call: Callable[..., Output], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(RECORDS if name == "r.jsonl" else "[" + RECORDS.strip().replace("\n", ",") + "]")
    options = ("loss", name, "--field", "ids", "--format", "json")
    ambiguous = call(*options, "--targets", name)
    assert ambiguous.exit_status == 3
    assert "Name the field with --targets-field" in ambiguous.stderr
    document = call(*options, "--targets", name, "--targets-field", "y").json
    (tmp_path / "y.json").write_text("[[0.5, 0.1, 0.2], [0.3, 0.9]]")
    assert document["masked"] == call(*options, "--targets", "y.json").json["masked"]


def test_targets_only_field_of_floats(tmp_path: Path) -> None:
    (tmp_path / "y.jsonl").write_text('{"y": [0.5, 1, 2.5]}\n{"y": [1]}\n')
    assert load_targets(tmp_path / "y.jsonl").values[..., 0].tolist() == [[0.5, 1, 2.5], [1, 0, 0]]


def test_targets_of_several_arrays(tmp_path: Path) -> None:
    (tmp_path / "both.npz").write_bytes(npz(tokens=np.zeros((2, 3), int), y=np.ones((2, 3))))
    with pytest.raises(ValueError, match="Name the array with --targets-field"):
        load_targets(tmp_path / "both.npz")


def test_outputs_beyond_memory(call: Callable[..., Output]) -> None:
    rows = "\n".join(["1 2 3 4 90000"] * 40)
    options = ("--maxlen", "100", "--targets", "shift", "--loss", "sparse_categorical_crossentropy")
    output = call("loss", "-", *options, stdin=rows)
    assert output.exit_status == 2
    assert "received 3,200 timesteps of 90,001" in output.stderr
    larger = call("loss", "-", *options, "--batch-size", "40", stdin=rows)
    assert "received 4,000 timesteps of 90,001" in larger.stderr


def test_rows_keep_dtype_of_memory() -> None:
    """Targets for a user's model: lists are padded like their sequences, and arrays stay as they are."""
    ragged = as_ragged(ROWS)
    batch = pad_ragged(ragged, Layout(maxlen=2, padding="pre"))
    lists = load_rows([[5, 6, 7], [8]], None, 2, [RowLayout(batch.lengths, batch.layout)])
    assert (lists.tolist(), lists.dtype.kind) == ([[5, 6], [0, 8]], "i")
    array = np.ones((2, 7, 3), "float16")
    assert load_rows(array, None, 2, [RowLayout(batch.lengths, batch.layout)]) is array
    assert load_rows([1.5, 2], None, 2, [RowLayout(batch.lengths, batch.layout)]).tolist() == [1.5, 2.0]


def test_rows_of_file_are_floats(tmp_path: Path) -> None:
    ragged = as_ragged(ROWS)
    batch = pad_ragged(ragged, Layout())
    (tmp_path / "y.json").write_text("[[1, 2, 3], [4]]")
    array = load_rows(tmp_path / "y.json", None, 2, [RowLayout(batch.lengths, batch.layout)])
    assert (array.tolist(), array.dtype) == ([[1, 2, 3], [4, 0, 0]], np.float64)
    (tmp_path / "y.json").write_text("[[1, 2, true], [4]]")
    with pytest.raises(ValueError, match=r"sequence 1\), value 3: expected a finite number"):
        load_rows(tmp_path / "y.json", None, 2, [RowLayout(batch.lengths, batch.layout)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1], [2], [3]], "2 rows of weights.*received 3 rows"),
        ([[1, 2], [1]], "weights, row 1: expected 3 weights, one for each timestep; received 2"),
        (["a", "b"], "weights, row 1: expected numbers"),
        (np.array([["a"], ["b"]]), "dtype <U1"),
        (5, "rows of weights; received 5"),
        (np.array(5), "rows of weights; received"),
    ],
)
def test_rows_that_do_not_fit(rows: object, message: str) -> None:
    ragged = as_ragged(ROWS)
    with pytest.raises(ValueError, match=message):
        load_rows(rows, None, 2, [RowLayout(ragged.lengths, pad_ragged(ragged, Layout()).layout)], "weights")


def test_rows_of_several_shapes_without_sequences() -> None:
    with pytest.raises(ValueError, match=r"row 2: expected shape \(2,\), as in the first row; received shape \(1,\)"):
        load_rows([[1, 2], [3]], None, 2, [])
