"""Targets fit the batch, or every row that does not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskcli.inputs.targets import convert_targets, make_targets, read_targets
from maskcli.records.loss import Targets
from maskcli.records.sequences import Layout
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.ragged import as_ragged
from tests.conftest import Output
from tests.sequences.test_files import npy, npz

ROWS = [[5, 3, 8], [7]]


def targets(rows: object, loss: str = "mse", units: int | None = None, **layout: object) -> Targets:
    ragged = as_ragged(ROWS)
    batch = pad_ragged(ragged, Layout(**layout))  # type: ignore[arg-type]
    if isinstance(rows, Path):
        return read_targets(str(rows), loss, ragged, batch, units)
    return convert_targets(rows, loss, ragged, batch, units)


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
def test_every_format_gives_one_number_a_timestep(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    read = targets(tmp_path / name)
    assert read.values.tolist() == [[[0.5], [1], [1.5]], [[2], [0], [0]]]
    assert (read.units, read.values.dtype) == (1, np.float32)


def test_targets_are_truncated_and_padded_as_their_sequences_are() -> None:
    rows = [[1, 2, 3], [4]]
    assert targets(rows, padding="pre").values[..., 0].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert targets(rows, maxlen=2).values[..., 0].tolist() == [[1, 2], [4, 0]]
    assert targets(rows, maxlen=2, truncating="pre").values[..., 0].tolist() == [[2, 3], [4, 0]]
    assert targets([[1, 2, 3], [4, 5, 6]]).values[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_vectors_set_the_width() -> None:
    made = targets([[[1, 2], [3, 4], [5, 6]], [[7, 8]]])
    assert made.values.shape == (2, 3, 2)
    assert (made.units, made.values[1].tolist()) == (2, [[7, 8], [0, 0], [0, 0]])


def test_class_ids() -> None:
    made = targets([[0, 2, 1], [1]], loss="sparse_categorical_crossentropy")
    assert (made.units, made.values.dtype) == (3, np.int32)
    assert made.values.tolist() == [[0, 2, 1], [1, 0, 0]]
    assert targets([[0, 0, 0], [0]], loss="sparse_categorical_crossentropy").units == 2


@pytest.mark.parametrize(
    ("rows", "loss", "units", "message"),
    [
        ([[1, 2, 3]], "mse", None, "2 rows of targets, one for each sequence; received 1"),
        ([[1, 2], [3, 4]], "mse", None, "row 1 has 2 for 3; targets, row 2 has 2 for 1"),
        ([[1, 2, "x"], [3]], "mse", None, "row 1, value 3: expected a finite number"),
        ([[1, 2, float("nan")], [3]], "mse", None, "received nan"),
        ([[1, 2, True], [3]], "mse", None, "received true"),
        ([[1, [2], 3], [3]], "mse", None, "row 1: expected targets of one width in a row"),
        ([[[1], [2], [3, 4]], [[3]]], "mse", None, "row 1: expected targets of one width in a row"),
        (
            [[1, 2, 3], [[3, 4]]],
            "mse",
            None,
            r"row 2: expected 1 number\(s\) a timestep, as in the rows before; received 2",
        ),
        ([[1, 2, 3], 4], "mse", None, "row 2: expected a list of targets"),
        ([[[[1]], [[2]], [[3]]], [[[3]]]], "mse", None, "row 1, value 1: expected a finite number"),
        ([[1, 2, 3], [4]], "mse", 2, "--units: expected 1, the width of the targets in targets; received 2"),
        ([[1, 2, 3], [4]], "categorical_crossentropy", None, "a vector a timestep, one number for each class"),
        ([[0, 1, 2], [1]], "binary_crossentropy", None, "targets from 0 to 1 for binary_crossentropy"),
        ([[0, 1.5, 2], [1]], "sparse_categorical_crossentropy", None, r"integers from 0 below 10000000; received 1\.5"),
        ([[0, -1, 2], [1]], "sparse_categorical_crossentropy", None, "integers from 0 below 10000000; received -1"),
        ([[0, 1, 2], [1]], "sparse_categorical_crossentropy", 2, "integers from 0 below --units 2; received 2"),
        (
            [[[0, 1]] * 3, [[1, 0]]],
            "sparse_categorical_crossentropy",
            None,
            "one class id a timestep; received vectors of 2",
        ),
        (
            [[0, 1e300, 2], [1]],
            "sparse_categorical_crossentropy",
            None,
            r"integers from 0 below 10000000; received 1e\+300",
        ),
        ([[1, 2, 10**400], [3]], "mse", None, "row 1, value 3: expected a finite number"),
        ([[[], [], []], [[]]], "mse", None, "row 1, value 1: expected at least one number a timestep"),
        (np.zeros((2, 3, 0)), "mse", None, "row 1, value 1: expected at least one number a timestep"),
        (5, "mse", None, "expected a file, one of arange, zeros, ones, shift, or rows of targets; received 5"),
        (np.zeros((2, 2, 2, 2)), "mse", None, r"received shape \(2, 2, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(rows: object, loss: str, units: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets(rows, loss, units)


def test_at_most_five_rows_are_named() -> None:
    ragged = as_ragged([[1, 2]] * 9)
    with pytest.raises(ValueError, match="and 4 more rows"):
        convert_targets([[1]] * 9, "mse", ragged, pad_ragged(ragged, Layout()), None)


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
def test_made_targets(kind: str, loss: str, units: int | None, expected: object) -> None:
    ragged = as_ragged(ROWS)
    batch = pad_ragged(ragged, Layout())
    made = make_targets(kind, loss, ragged, batch, units, input_dim=9)
    np.testing.assert_array_equal(made.values, expected)
    assert (made.following is not None) is (kind == "shift")


def test_shift_says_what_its_last_timesteps_are_asked_for(call: Callable[..., Output]) -> None:
    options = ("--targets", "shift", "--loss", "sparse_categorical_crossentropy", "--format", "json")
    document = call("loss", "-", *options, stdin="5 3 8\n7\n").json
    assert (document["model"]["units"], document["model"]["logits"]) == (3, 9)
    said = "2 timesteps have no next token and count all the same, with padding id 0 as target."
    assert document["remarks"][0] == {"kind": "fact", "text": said}


def test_one_hot_targets_past_memory_are_refused() -> None:
    ragged = as_ragged([[1, 2]])
    batch = pad_ragged(ragged, Layout())
    with pytest.raises(ValueError, match="2 timesteps of 1,000,000,000 classes"):
        make_targets("shift", "categorical_crossentropy", ragged, batch, None, input_dim=10**9)


def test_both_from_standard_input_is_a_usage_error(call: Callable[..., Output]) -> None:
    output = call("loss", "-", "--targets", "-", stdin="1\n")
    assert (output.exit_status, output) == (2, "")
    assert "expected `-` once" in output.stderr
    assert call("loss", "--targets", "-", "--format", "json", stdin="1 2 3 4 5 6\n1 2 3 4 5\n1 2 3\n").exit_status == 0


def test_errors_name_file_and_line(call: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("1 2 3 4 5 6\n1 2 3\n1 2\n")
    output = call("loss", "--targets", "y.txt")
    assert output.exit_status == 3
    assert "received y.txt:2 has 3 for 5; y.txt:3 has 2 for 3" in output.stderr
    assert "Targets are a file, or one of arange, zeros, ones, shift" in call("loss", "--targets", "nosuch").stderr


def test_shift_knows_the_token_that_truncation_cut() -> None:
    ragged = as_ragged([[1, 2, 3], [], [4]])
    for layout, expected in (
        (Layout(maxlen=2), [[2, 3], [0, 0], [0, 0]]),
        (Layout(maxlen=2, truncating="pre", padding="pre", value=9), [[3, 9], [9, 9], [9, 9]]),
    ):
        batch = pad_ragged(ragged, layout)
        made = make_targets("shift", "sparse_categorical_crossentropy", ragged, batch, None, input_dim=10)
        assert made.values.tolist() == expected


RECORDS = '{"ids": [1, 2, 3], "y": [0.5, 0.1, 0.2]}\n{"ids": [4, 5], "y": [0.3, 0.9]}\n'


@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
def test_targets_have_a_field_of_their_own(call: Callable[..., Output], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(RECORDS if name == "r.jsonl" else "[" + RECORDS.strip().replace("\n", ",") + "]")
    options = ("loss", name, "--field", "ids", "--format", "json")
    unclear = call(*options, "--targets", name)
    assert unclear.exit_status == 3
    assert "Name the field with --targets-field" in unclear.stderr
    named = call(*options, "--targets", name, "--targets-field", "y").json
    (tmp_path / "y.json").write_text("[[0.5, 0.1, 0.2], [0.3, 0.9]]")
    assert named["masked"] == call(*options, "--targets", "y.json").json["masked"]


def test_a_field_of_floats_alone_is_found(tmp_path: Path) -> None:
    (tmp_path / "y.jsonl").write_text('{"y": [0.5, 1, 2.5]}\n{"y": [1]}\n')
    assert targets(tmp_path / "y.jsonl").values[..., 0].tolist() == [[0.5, 1, 2.5], [1, 0, 0]]


def test_arrays_for_targets_are_named(tmp_path: Path) -> None:
    (tmp_path / "both.npz").write_bytes(npz(tokens=np.zeros((2, 3), int), y=np.ones((2, 3))))
    with pytest.raises(ValueError, match="Name the array with --targets-field"):
        targets(tmp_path / "both.npz")


def test_outputs_past_memory_are_refused(call: Callable[..., Output]) -> None:
    rows = "\n".join(["1 2 3 4 90000"] * 40)
    options = ("--maxlen", "100", "--targets", "shift", "--loss", "sparse_categorical_crossentropy")
    output = call("loss", "-", *options, stdin=rows)
    assert output.exit_status == 2
    assert "received 3,200 timesteps of 90,001" in output.stderr
    larger = call("loss", "-", *options, "--batch-size", "40", stdin=rows)
    assert "received 4,000 timesteps of 90,001" in larger.stderr
