"""Data for models of one or several inputs: matching, validity, and errors for data that does not fit."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from maskcli.api.pad import pad
from maskcli.errors import InputError, MaskcliError, ModelError, UsageError
from maskcli.inputs.dataset import Dataset, make_dataset, make_ragged_dataset, read_dataset
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.layout import Layout
from maskcli.sequences.files import read_sequences
from maskcli.sequences.padding import find_valid_timesteps, pad_ragged
from maskcli.sequences.ragged import as_ragged
from tests.sequences.test_files import npy, npz

pytestmark = pytest.mark.quick

Write = Callable[[str, bytes | str], Path]
LAYOUT = Layout()
TOKENS = InputSpec("tokens", (None, None), "int32")
H = InputSpec("h", (None, 3), "float32")
FEATURES = InputSpec("x", (None, None, 2), "float32")
MASK = InputSpec("mask", (None, None), "bool")
IDS = np.array([[5, 6, 0], [7, 0, 0]])
VALID = [[True, True, False], [True, False, False]]
STATIC = np.array([[0.5, 1, 2], [3, 4, 5]])

rows_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6).filter(any)
sides = st.sampled_from(["pre", "post"])


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def named(dataset: Dataset) -> dict[str, ModelInput]:
    return {item.name: item for item in dataset.inputs}


def fails(kind: type[MaskcliError], *words: str) -> Any:
    class Check:
        def __enter__(self) -> None:
            self.raises = pytest.raises(kind)
            self.info = self.raises.__enter__()

        def __exit__(self, *args: Any) -> bool:
            caught = self.raises.__exit__(*args)
            assert type(self.info.value) is kind
            for word in words:
                assert word in str(self.info.value)
            return bool(caught)

    return Check()


# Laws.


@given(rows=rows_of_ids, padding=sides, truncating=sides, maxlen=st.none() | st.integers(1, 8))
def test_sequences_are_padded_like_pad(rows, padding, truncating, maxlen) -> None:  # type: ignore[no-untyped-def]
    layout = Layout(padding=padding, truncating=truncating, maxlen=maxlen)
    dataset = make_ragged_dataset(as_ragged(rows), [TOKENS], layout)
    batch = pad(rows, padding=padding, truncating=truncating, maxlen=maxlen)
    (tokens,) = dataset.inputs
    np.testing.assert_array_equal(tokens.values, batch.tokens)
    np.testing.assert_array_equal(tokens.valid, find_valid_timesteps(batch))
    assert dataset.batch is not None
    np.testing.assert_array_equal(dataset.batch.lengths, batch.lengths)


@given(rows=rows_of_ids, padding=sides, truncating=sides, maxlen=st.none() | st.integers(1, 8))
def test_vectors_of_one_are_padded_like_ids(rows, padding, truncating, maxlen) -> None:  # type: ignore[no-untyped-def]
    layout = Layout(padding=padding, truncating=truncating, maxlen=maxlen)
    table = {"x": [[[float(value)] for value in row] for row in rows]}
    (features,) = make_dataset(table, [InputSpec("x", (None, None, 1), "float32")], layout).inputs  # type: ignore[arg-type]
    (tokens,) = make_ragged_dataset(as_ragged(rows), [TOKENS], layout).inputs
    np.testing.assert_array_equal(features.values[..., 0], tokens.values)
    np.testing.assert_array_equal(features.valid, tokens.valid)


@given(values=arrays_of.arrays(np.float32, (3, 4, 2), elements=st.sampled_from([0, 1, -2])))
def test_features_are_unchanged(values) -> None:  # type: ignore[no-untyped-def]
    (only,) = make_dataset({"x": values}, [FEATURES], LAYOUT).inputs
    assert only.values is values
    for row, valid in zip(values, only.valid, strict=True):
        filled = np.flatnonzero(row.any(axis=-1))
        expected = range(filled[0], filled[-1] + 1) if len(filled) else range(0)
        assert np.flatnonzero(valid).tolist() == list(expected)


@given(rows=rows_of_ids, padding=sides)
def test_default_mask_is_the_validity(rows, padding) -> None:  # type: ignore[no-untyped-def]
    for dtype in ("bool", "int32", "float32"):
        spec = InputSpec("mask", (None, None), dtype)
        tokens, mask = make_ragged_dataset(as_ragged(rows), [TOKENS, spec], Layout(padding=padding)).inputs
        assert mask.values.dtype == dtype
        np.testing.assert_array_equal(mask.values.astype(bool), tokens.valid)
        np.testing.assert_array_equal(mask.valid, tokens.valid)


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_records_agree_with_archive(write: Write, padding: Any) -> None:
    batch = pad([[5, 6], [7]], padding=padding)
    archive = write("a.npz", npz(tokens=batch.tokens, h=STATIC))
    records = write("a.jsonl", lines({"tokens": [5, 6], "h": [0.5, 1, 2]}, {"tokens": [7], "h": [3, 4, 5]}))
    first, second = (read_dataset(str(path), [TOKENS, H], Layout(padding=padding)) for path in (archive, records))
    for first_input, second_input in zip(first.inputs, second.inputs, strict=True):
        assert (first_input.name, first_input.kind, first_input.padding) == (
            second_input.name,
            second_input.kind,
            second_input.padding,
        )
        assert first_input.values.dtype == second_input.values.dtype
        np.testing.assert_array_equal(first_input.values, second_input.values)
        assert (first_input.valid is None) == (second_input.valid is None)
        if first_input.valid is not None:
            np.testing.assert_array_equal(first_input.valid, second_input.valid)


# Archives.


def test_arrays_are_matched_by_name(write: Write) -> None:
    path = write("a.npz", npz(h=STATIC, tokens=IDS, labels=np.array([0, 1])))
    tokens, h = read_dataset(str(path), [TOKENS, H], LAYOUT).inputs
    assert (tokens.name, tokens.kind, tokens.values.dtype) == ("tokens", "ids", np.int32)
    assert tokens.values.tolist() == IDS.tolist()
    assert tokens.valid is not None and tokens.valid.tolist() == VALID
    assert tokens.lengths is not None and tokens.lengths.tolist() == [2, 1]
    assert (h.name, h.kind, h.valid, h.lengths, h.values.dtype) == ("h", "static", None, None, np.float32)
    assert h.values.tolist() == STATIC.tolist()


def test_arrays_are_matched_by_order_without_names(write: Write) -> None:
    mask = np.array([[True] * 3, [True, True, False]])
    archive = {"a": IDS, "a.mask": mask, "y": np.array([0, 1]), "b": STATIC}
    dataset = read_dataset(str(write("a.npz", npz(**archive))), [TOKENS, H], LAYOUT, also={"y": "--targets-field"})
    tokens, h = dataset.inputs
    assert (tokens.name, h.name) == ("tokens", "h")
    assert tokens.valid is not None and tokens.valid.tolist() == mask.tolist()
    assert dataset.more["y"].tolist() == [0, 1]
    assert dataset.batch is None and dataset.ragged is None


def test_arrays_are_matched_by_name_then_order() -> None:
    inputs = make_dataset({"other": STATIC, "tokens": IDS}, [TOKENS, H], LAYOUT).inputs
    assert [item.values.shape for item in inputs] == [(2, 3), (2, 3)]
    assert [item.kind for item in inputs] == ["ids", "static"]


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_features_of_one_input(write: Write, name: str) -> None:
    values = np.zeros((2, 3, 2), np.float32)
    values[0, 1:] = 1
    values[1, 0, 1] = 1
    path = write(name, npy(values) if name.endswith("npy") else npz(x=values))
    (only,) = read_dataset(str(path), [FEATURES], LAYOUT).inputs
    assert (only.name, only.kind, only.padding) == ("x", "features", 0)
    assert only.valid is not None and only.valid.tolist() == [[False, True, True], [True, False, False]]


def test_mask_of_features_is_their_validity(write: Write) -> None:
    values, mask = np.ones((2, 3, 2)), np.array([[True, False, True], [False, True, True]])
    (only,) = read_dataset(str(write("a.npz", npz(**{"x": values, "x.mask": mask}))), [FEATURES], LAYOUT).inputs
    assert only.valid is not None and only.valid.tolist() == mask.tolist()


def test_words_in_sentences_are_padded_with_value() -> None:
    values = np.full((1, 3, 2), 9)
    values[0, 0] = [1, 9]
    (only,) = make_dataset({"x": values}, [InputSpec("x", (None, None, None), "int32")], Layout(value=9)).inputs
    assert only.kind == "features"
    assert only.valid is not None and only.valid.tolist() == [[True, False, False]]


def test_all_is_valid_without_trim() -> None:
    tokens, _ = make_dataset({"tokens": IDS, "h": STATIC}, [TOKENS, H], Layout(trim=False)).inputs
    assert tokens.valid is not None and tokens.valid.all()


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_output_of_pad_is_unchanged(write: Write, padding: Any) -> None:
    batch = pad([[1, 0], [3, 4, 5]], padding=padding, value=0)
    path = write("a.npz", npz(tokens=batch.tokens, mask=batch.mask, lengths=batch.lengths))
    for specs in ([TOKENS], [InputSpec("input_layer", (None, None), "float32")], [], [TOKENS, MASK]):
        dataset = read_dataset(str(path), specs, LAYOUT)
        only = dataset.inputs[0]
        assert only.kind == "ids"
        assert only.values.tolist() == batch.tokens.tolist()
        assert only.valid is not None and only.valid.tolist() == batch.mask.tolist()
        assert len(dataset.inputs) == max(1, len(specs))
        if len(specs) == 2:
            assert dataset.inputs[1].values.tolist() == batch.mask.tolist()
        else:
            assert dataset.batch is not None and dataset.batch.layout.padding == padding
            assert dataset.ragged is not None and dataset.ragged[0].tolist() == [1, 0]


def test_ragged_sequences_in_archive(write: Write) -> None:
    path = write("a.npz", npz(values=np.array([1, 2, 3]), row_splits=np.array([0, 1, 3])))
    (only,) = read_dataset(str(path), [TOKENS], Layout(padding="pre")).inputs
    assert only.values.tolist() == [[0, 1], [2, 3]]


def test_mask_with_holes_is_unchanged() -> None:
    mask = np.array([[True, False, True], [True, True, False]])
    dataset = make_dataset({"tokens": IDS, "tokens.mask": mask}, [TOKENS], LAYOUT)
    (only,) = dataset.inputs
    assert only.valid is not None and only.valid.tolist() == mask.tolist()
    assert only.values.tolist() == IDS.tolist() and dataset.batch is None


# Masks as inputs.


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_mask_in_data_feeds_mask_input(dtype: str) -> None:
    mask = np.array([[True, False, False], [True, True, True]])
    spec = InputSpec("attention_mask", (None, None), dtype)
    for mask_data in (mask, mask.astype(int), mask.astype("float64")):
        tokens, fed = make_dataset({"tokens": IDS, "attention_mask": mask_data}, [TOKENS, spec], LAYOUT).inputs
        assert (fed.kind, fed.values.dtype) == ("mask", np.dtype(dtype))
        assert fed.values.astype(bool).tolist() == mask.tolist()
        assert tokens.valid is not None and fed.valid is not None
        assert fed.valid.tolist() == tokens.valid.tolist() == mask.tolist()


def test_mask_of_other_timesteps() -> None:
    """Such a mask is valid where it is True."""
    mask = np.array([[True, False], [True, True]])
    fed = make_dataset({"tokens": IDS, "mask": mask}, [TOKENS, MASK], LAYOUT).inputs[1]
    assert fed.valid is not None and fed.valid.tolist() == mask.tolist()


def test_mask_input_may_contradict_marks() -> None:
    """A mask that the model receives may be wrong, which ``NAME.mask`` shows."""
    for name in ("mask", "other_mask"):
        inverted, spec = IDS == 0, InputSpec(name, (None, None), "bool")
        arrays = {"tokens": IDS, name: inverted, "tokens.mask": np.array(VALID)}
        tokens, mask = make_dataset(arrays, [TOKENS, spec], LAYOUT).inputs
        assert mask.values.tolist() == inverted.tolist()
        assert tokens.valid is not None and mask.valid is not None
        assert tokens.valid.tolist() == mask.valid.tolist() == VALID


def test_labels_are_no_mask() -> None:
    labels = np.array([[1, 0, 0], [0, 0, 1]])
    fed = make_dataset({"tokens": IDS, "labels": labels}, [TOKENS, MASK], LAYOUT).inputs[1]
    assert fed.values.tolist() == VALID


def test_default_mask_of_features_of_fixed_length(write: Write) -> None:
    path = write("a.jsonl", lines({"x": [[1, 2]]}, {"x": [[1, 2], [3, 4]]}))
    specs = [InputSpec("x", (None, 4, 2), "float32"), InputSpec("x_mask", (None, 4), "float32")]
    features, mask = read_dataset(str(path), specs, LAYOUT).inputs
    assert features.values.shape == (2, 4, 2)
    assert mask.values.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]


def test_only_input_may_be_named_a_mask() -> None:
    (only,) = make_ragged_dataset(
        as_ragged([[4, 5]]), [InputSpec("masked_tokens", (None, None), "int32")], LAYOUT
    ).inputs
    assert (only.kind, only.values.tolist()) == ("ids", [[4, 5]])


# Records.


def test_fields_of_records(write: Write) -> None:
    records = [
        {"tokens": [5, 6, 7], "x": [[1, 2], [3, 4]], "h": [1, 2, 3], "age": 3, "id": "a"},
        {"tokens": [8], "x": [], "h": [4, 5, 6], "age": 4, "id": "b"},
    ]
    specs = [H, FEATURES, InputSpec("age", (None, 1), "float32"), TOKENS]
    for path in (write("a.jsonl", lines(*records)), write("a.json", json.dumps(records))):
        dataset = read_dataset(str(path), specs, Layout(padding="pre"))
        h, x, age, tokens = dataset.inputs
        assert (h.kind, h.values.tolist()) == ("static", [[1, 2, 3], [4, 5, 6]])
        assert (x.kind, x.values.tolist()) == ("features", [[[1, 2], [3, 4]], [[0, 0], [0, 0]]])
        assert x.valid is not None and x.valid.tolist() == [[True, True], [False, False]]
        assert (age.kind, age.values.tolist()) == ("static", [[3], [4]])
        assert (tokens.kind, tokens.values.tolist()) == ("ids", [[5, 6, 7], [0, 0, 8]])
        assert dataset.batch is not None and dataset.batch.lengths.tolist() == [3, 1]
        assert dataset.ragged is not None and dataset.ragged[1].tolist() == [8]
        assert dataset.where(1).startswith(str(path))


def test_fields_differ_in_length(write: Write) -> None:
    path = write("a.jsonl", lines({"a": [1, 2, 3], "b": [4]}, {"a": [5], "b": [6, 7]}))
    specs = [InputSpec("a", (None, 2), "int32"), InputSpec("b", (None, None), "int64")]
    a, b = read_dataset(str(path), specs, Layout(truncating="pre")).inputs
    assert (a.values.tolist(), b.values.tolist()) == ([[2, 3], [5, 0]], [[4, 0], [6, 7]])
    assert (a.values.dtype, b.values.dtype) == (np.int32, np.int64)
    longer = read_dataset(str(path), [InputSpec(name, (None, None), "int32") for name in "ab"], Layout(maxlen=4))
    assert [item.values.shape for item in longer.inputs] == [(2, 4), (2, 4)]


def test_truncation_of_vectors(write: Write) -> None:
    path = write("a.jsonl", lines({"x": [[1, 1], [2, 2], [3, 3]]}, {"x": [[4, 4]]}))
    (only,) = read_dataset(str(path), [FEATURES], Layout(padding="pre", truncating="pre", maxlen=2)).inputs
    assert only.values[..., 0].tolist() == [[2, 3], [0, 4]]


def test_mask_in_a_field(write: Write) -> None:
    records = (
        {"tokens": [1, 0], "tokens.mask": [True, True]},
        {"tokens": [2, 3, 4], "tokens.mask": [True, True, False]},
    )
    (only,) = read_dataset(str(write("a.jsonl", lines(*records))), [TOKENS], LAYOUT).inputs
    assert only.valid is not None and only.valid.tolist() == [[True, True, False], [True, True, False]]
    records[0]["tokens.mask"].pop()
    with fails(InputError, "bad.jsonl:1", "2 booleans", "received 1"):
        read_dataset(str(write("bad.jsonl", lines(*records))), [TOKENS], LAYOUT)


def test_mask_field_is_padded_with_false(write: Write) -> None:
    path = write("a.jsonl", lines({"tokens": [1, 2], "mask": [1, 0]}, {"tokens": [3, 4, 5], "mask": [1, 1, 1]}))
    for dtype in ("bool", "int32"):
        specs = [TOKENS, InputSpec("mask", (None, None), dtype)]
        _, mask = read_dataset(str(path), specs, Layout(value=9)).inputs
        assert (mask.kind, mask.values.tolist()) == ("mask", [[1, 0, 0], [1, 1, 1]])


def test_one_number_per_timestep_is_a_vector(write: Write) -> None:
    spec = InputSpec("x", (None, None, 1), "float32")
    for path in (write("a.jsonl", lines({"x": [0.5, 1]}, {"x": [2]})), write("a.csv", "0.5,1\n2\n")):
        (only,) = read_dataset(str(path), [spec], LAYOUT).inputs
        assert (only.kind, only.values.tolist()) == ("features", [[[0.5], [1]], [[2], [0]]])


def test_integers_for_the_one_float_input_are_ids(write: Write) -> None:
    spec = InputSpec("input_layer", (None, 4), "float32")
    for path in (
        write("a.txt", "1 2 3\n4\n"),
        write("a.jsonl", lines({"id": 7, "ids": [1, 2, 3]}, {"id": 8, "ids": [4]})),
    ):
        (only,) = read_dataset(str(path), [spec], LAYOUT).inputs
        assert (only.kind, only.values.dtype) == ("ids", np.float32)
        assert only.values.tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
        assert only.lengths is not None and only.lengths.tolist() == [3, 1]


def test_whole_floats_are_ids_for_integer_input(write: Write) -> None:
    path = write("a.jsonl", lines({"tokens": [1.0, 2], "h": [1, 2, 3]}, {"tokens": [], "h": [1, 2, 3]}))
    tokens, _ = read_dataset(str(path), [TOKENS, H], LAYOUT).inputs
    assert (tokens.kind, tokens.values.tolist(), tokens.values.dtype) == ("ids", [[1, 2], [0, 0]], np.int32)
    tokens, _ = make_dataset({"tokens": IDS.astype(float), "h": STATIC}, [TOKENS, H], LAYOUT).inputs
    assert (tokens.kind, tokens.values.dtype) == ("ids", np.int32)


def test_field_selects_the_first_input(write: Write) -> None:
    path = write("a.jsonl", lines({"a": [1], "b": [2, 3]}))
    tokens, mask = read_dataset(str(path), [TOKENS, MASK], LAYOUT, field="b").inputs
    assert (tokens.values.tolist(), mask.values.tolist()) == ([[2, 3]], [[True, True]])
    archive = write("a.npz", npz(a=IDS, b=IDS + 1))
    (only,) = read_dataset(str(archive), [TOKENS], LAYOUT, field="b").inputs
    assert only.values.tolist() == (IDS + 1).tolist()


# Files of sequences.


SAME = {
    "a.txt": "5 6\n7\n",
    "a.csv": "5,6\n7\n",
    "a.json": "[[5, 6], [7]]",
    "a.jsonl": "[5, 6]\n[7]\n",
    "b.jsonl": '{"ids": [5, 6]}\n{"ids": [7]}\n',
    "a.txt.gz": gzip.compress(b"5 6\n7\n"),
    "a.npy": npy(np.array([[5, 6], [7, 0]])),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("specs", [[TOKENS], [TOKENS, MASK], [MASK, TOKENS], []], ids=str)
def test_file_of_sequences_feeds_one_input(write: Write, name: str, specs: list[InputSpec]) -> None:
    path = str(write(name, SAME[name]))
    dataset = read_dataset(path, specs, LAYOUT)
    inputs = named(dataset)
    assert list(inputs) == ([spec.name for spec in specs] or ["ids" if name == "b.jsonl" else "tokens"])
    ids = next(item for item in dataset.inputs if item.kind == "ids")
    assert ids.values.tolist() == pad_ragged(read_sequences([path]).ragged, LAYOUT).tokens.tolist()
    assert ids.valid is not None and ids.valid.tolist() == [[True, True], [True, False]]
    if MASK in specs:
        assert inputs["mask"].values.tolist() == [[True, True], [True, False]]
    assert dataset.batch is not None


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (SAME["b.jsonl"].encode(), gzip.compress(npz(tokens=IDS))):  # type: ignore[union-attr]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        dataset = read_dataset("-", [TOKENS], LAYOUT)
        assert dataset.inputs[0].values[0, 0] == 5
        assert dataset.where(0).startswith("<stdin>")


def test_fixed_length_pads_and_truncates(write: Write) -> None:
    path = str(write("a.txt", "1 2 3\n4\n"))
    for length, expected in ((2, [[1, 2], [4, 0]]), (4, [[1, 2, 3, 0], [4, 0, 0, 0]])):
        spec = InputSpec("tokens", (None, length), "int32")
        assert read_dataset(path, [spec], LAYOUT).inputs[0].values.tolist() == expected
        assert read_dataset(path, [spec], Layout(maxlen=length)).inputs[0].values.tolist() == expected
        with fails(ModelError, f"tokens (any, {length}) int32", "maxlen 9", f"--maxlen {length}"):
            read_dataset(path, [spec], Layout(maxlen=9))
    archive = str(write("a.npz", npz(tokens=IDS)))
    spec = InputSpec("tokens", (None, 5), "int32")
    assert read_dataset(archive, [spec], LAYOUT).inputs[0].values.shape == (2, 5)


def test_json_of_pad_is_read(write: Write) -> None:
    printed = {"schema": "maskcli/pad/1", "padding": "pre", "truncating": "post", "maxlen": 3, "value": 9,
               "dtype": "int64", "lengths": [2, 1], "tokens": [[9, 1, 2], [9, 9, 3]]}  # fmt: skip
    dataset = read_dataset(str(write("a.json", json.dumps(printed))), [InputSpec("x", (None, None), "int64")], LAYOUT)
    (only,) = dataset.inputs
    assert (only.values.tolist(), only.padding, only.values.dtype) == ([[9, 1, 2], [9, 9, 3]], 9, np.int64)


# Models that name no inputs.


def test_all_arrays_are_inputs_without_specs(write: Write) -> None:
    archive = {"b": IDS, "a": STATIC, "x": np.ones((2, 4, 2)), "x.mask": np.ones((2, 4), bool), "m": IDS > 0, "y": IDS}
    dataset = read_dataset(str(write("a.npz", npz(**archive))), [], LAYOUT, also={"y": "--targets-field"})
    assert [(item.name, item.kind) for item in dataset.inputs] == [
        ("b", "ids"), ("a", "static"), ("x", "features"), ("m", "mask"),
    ]  # fmt: skip
    assert [item.values.dtype for item in dataset.inputs] == [np.int64, np.float64, np.float64, np.bool_]
    assert dataset.inputs[3].valid is not None and dataset.inputs[3].valid.tolist() == VALID


def test_all_fields_are_inputs_without_specs(write: Write) -> None:
    path = write("a.jsonl", lines({"b": [1], "a": [0.5, 1.5], "c": 1}, {"b": [2, 3], "a": [1, 2], "c": 2}))
    dataset = read_dataset(str(path), [], LAYOUT)
    assert [(item.name, item.kind, item.values.shape) for item in dataset.inputs] == [
        ("b", "ids", (2, 2)), ("a", "static", (2, 2)), ("c", "static", (2,)),
    ]  # fmt: skip
    assert dataset.inputs[1].values.dtype == np.float32
    (only,) = read_dataset(str(path), [], LAYOUT, field="b").inputs
    assert only.values.tolist() == [[1, 0], [2, 3]]


def test_one_array_is_unchanged_without_specs() -> None:
    (only,) = make_dataset({"ids": IDS}, [], LAYOUT).inputs
    assert (only.name, only.kind, only.values.dtype, only.values.tolist()) == ("ids", "ids", np.int64, IDS.tolist())


# Targets.


@pytest.mark.parametrize(
    ("targets", "layout", "expected"),
    [
        ([[1, 2, 3], [4]], Layout(padding="pre"), [[1, 2, 3], [0, 0, 4]]),
        ([[1, 2, 3], [4]], Layout(maxlen=2, truncating="pre"), [[2, 3], [4, 0]]),
        ([[[1, 0], [0, 1], [1, 1]], [[2, 2]]], LAYOUT, [[[1, 0], [0, 1], [1, 1]], [[2, 2], [0, 0], [0, 0]]]),
        ([1, 0], LAYOUT, [1, 0]),
        ([[0.5, 1], [1, 0]], LAYOUT, [[0.5, 1], [1, 0]]),
    ],
)
def test_targets_of_records(write: Write, targets: list[Any], layout: Layout, expected: list[Any]) -> None:
    tokens = [[5, 6, 7], [8]]
    path = write("a.jsonl", lines(*({"t": t, "y": y} for t, y in zip(tokens, targets, strict=True))))
    for specs in ([InputSpec("t", (None, None), "int32")], [TOKENS], []):
        dataset = read_dataset(str(path), specs, layout, also={"y": "--targets-field"})
        assert len(dataset.inputs) == 1
        assert dataset.more["y"].tolist() == expected


def test_targets_that_fit_no_sequence(write: Write) -> None:
    path = write("a.jsonl", lines({"tokens": [5, 6], "y": [1, 2]}, {"tokens": [7], "y": [1, 2, 3]}))
    with fails(InputError, "a.jsonl:2, field 'y'", "1 targets", "received 3"):
        read_dataset(str(path), [TOKENS], LAYOUT, also={"y": "--targets-field"})
    with fails(InputError, "field 'z'", "'tokens', 'y'", "--targets-field"):
        read_dataset(str(path), [TOKENS], LAYOUT, also={"z": "--targets-field"})
    with fails(InputError, "--targets-field", "sequences without names"):
        read_dataset(str(write("a.txt", "1\n")), [TOKENS], LAYOUT, also={"z": "--targets-field"})


# Data that does not fit.


def misfits() -> list[Any]:
    six, wide = InputSpec("tokens", (None, 6), "int32"), np.ones((2, 4), np.float32)
    cases = {
        "both": ([six, H], {"tokens": np.ones((2, 5), np.int64), "h": wide},
                 ("tokens (any, 6) int32; h (any, 3) float32", "arrays tokens (2, 5) int64, h (2, 4) float32", "6 timesteps")),
        "axis": ([TOKENS, H], {"tokens": IDS, "h": wide}, ("h (2, 4) float32", "size 4 along axis 1, where the model needs 3")),
        "rank": ([TOKENS, FEATURES], {"tokens": IDS, "x": STATIC}, ("x (any, any, 2) float32", "x (2, 3) float64", "vector")),
        "number": ([TOKENS, H], {"tokens": IDS}, ("arrays tokens (2, 3) int64", "Add the array h")),
        "names": ([TOKENS, H], {"a": IDS, "b": STATIC, "c": STATIC}, ("a (2, 3) int64, b (2, 3) float64", "Name the arrays")),
        "rows": ([TOKENS, H], {"tokens": IDS, "h": STATIC[:1]}, ("h (1, 3) float64", "the same number of rows")),
        "no rows": ([TOKENS, H], {"tokens": IDS[:0], "h": STATIC[:0]}, ("tokens (0, 3)", "at least one row")),
        "batch": ([InputSpec("x", (4, None, 2), "float32")], {"x": np.ones((2, 3, 2))}, ("(4, any, 2)", "batches of 4")),
        "mask dtype": ([TOKENS], {"tokens": IDS, "tokens.mask": IDS}, ("tokens.mask (2, 3) int64", ".astype(bool)")),
        "mask shape": ([TOKENS], {"tokens": IDS, "tokens.mask": IDS[:, 1:] > 0}, ("tokens.mask (2, 2) bool", "(2, 3)")),
        "mask of static": ([TOKENS, InputSpec("n", (None,), "int32")],
                           {"tokens": IDS, "n": IDS[:, 0], "n.mask": IDS > 0}, ("n.mask", "(batch, timesteps)")),
        "made mask": ([FEATURES, InputSpec("mask", (None, 6), "bool")], {"x": np.ones((2, 3, 2))},
                      ("mask (any, 6) bool", "mask (2, 3) bool made of the valid timesteps of x")),
        "no timesteps": ([H, MASK], {"h": STATIC}, ("no input here has timesteps", "mask (any, any) bool")),
        "floats": ([TOKENS, H], {"tokens": STATIC, "h": STATIC}, ("row 1", "tokens (2, 3) float64", "as integers")),
        "booleans": ([TOKENS, MASK], {"tokens": IDS, "mask": IDS}, ("row 1", "mask (2, 3) int64", "as booleans")),
        "text": ([TOKENS, H], {"tokens": IDS, "h": np.array([["a"] * 3] * 2)}, ("h (2, 3) <U1", "as numbers")),
        "no timesteps in ids": ([TOKENS, H], {"tokens": IDS[:, :0], "h": STATIC}, ("tokens (2, 0)", "at least one number")),
        "too few axes": ([TOKENS], {"tokens": np.array(5)}, ("tokens () int64", "an array of 2 axes")),
        "scalar": ([], {"a": np.array(1), "b": IDS}, ("a () int64", "a row for each sample")),
        "empty": ([], {}, ("arrays",)),
    }  # fmt: skip
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize(("specs", "arrays", "words"), misfits())
def test_arrays_that_do_not_fit(write: Write, specs: list[InputSpec], arrays: Any, words: tuple[str, ...]) -> None:
    with fails(ModelError, *words):
        make_dataset(arrays, specs, LAYOUT)
    if arrays:
        in_file = [word.replace("row 1", "bad.npz, row 1") for word in words]
        with fails(ModelError, "bad.npz", *in_file):
            read_dataset(str(write("bad.npz", npz(**arrays))), specs, LAYOUT)


@pytest.mark.parametrize(
    ("name", "content", "specs", "words"),
    [
        ("a.txt", "1 2\n", [TOKENS, H], ("sequences for one input", "tokens (any, any) int32; h (any, 3) float32", ".npz")),
        ("a.txt", "1 2\n", [FEATURES], ("x (any, any, 2) float32", "tokens (1, 2, 1)", "needs 2")),
        ("a.jsonl", lines({"tokens": [1], "g": 1, "s": "b"}), [TOKENS, H],
         ("fields tokens (lists of integers), g (integers), s (text)", "Name the fields", "(h)")),
        ("a.jsonl", lines({"tokens": [1], "h": [1, 2]}), [TOKENS, H], ("fields tokens (1, 1) int32, h (1, 2) int64", "size 2 along axis 1, where the model needs 3")),
        ("a.jsonl", lines({"tokens": [1.5], "h": [1, 2, 3]}), [TOKENS, H], ("a.jsonl:1", "tokens (any, any) int32", "as integers")),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(
    write: Write, name: str, content: str, specs: list[InputSpec], words: tuple[str, ...]
) -> None:
    with fails(ModelError, name, *words):
        read_dataset(str(write(name, content)), specs, LAYOUT)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (({"tokens": [1], "h": [1, 2, 3]}, {"tokens": [1], "h": [1, 2]}), ("a.jsonl:2, field 'h'", "3 numbers", "received 2")),
        (({"tokens": [1], "h": [1, 2, 3]}, {"tokens": [1, "x"], "h": [1, 2, 3]}),
         ("a.jsonl:2, field 'tokens', value 2", "an integer", "'x'")),
        (({"tokens": [1], "h": [1, 2, 3]}, {"tokens": [1]}), ("a.jsonl:2", "the field 'h'", "'tokens'")),
        (({"tokens": [1], "h": [1, 2, 3]}, {"tokens": [1], "h": None}), ("a.jsonl:2, field 'h'", "numbers", "null")),
        (({"tokens": [1], "h": [1, 2, 3]}, {"tokens": 1, "h": [1, 2, 3]}), ("a.jsonl:2, field 'tokens'", "a sequence")),
        (({"tokens": [1], "h": [1, 2, 3]}, [1]), ("a.jsonl:2", "an object", "[1]")),
        (({"tokens": [], "h": [1, 2, 3]}, {"tokens": [], "h": [1, 2, 3]}), ("at least one token", "2 empty sequences")),
        (({"tokens": [2**40], "h": [1, 2, 3]},), ("a.jsonl:1, field 'tokens', value 1", "int32")),
        (({"tokens": [1e300, 2], "h": [1, 2, 3]},), ("a.jsonl:1, field 'tokens', value 1", "int64")),
        (({"tokens": [10**400, 1.5], "h": [1, 2, 3]},), ("a.jsonl:1, field 'tokens'", "numbers")),
        (({"tokens": [1], "h": [1, 2, float("nan")]},), ("a.jsonl:1, field 'h'", "finite", "nan")),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used(write: Write, records: tuple[Any, ...], words: tuple[str, ...]) -> None:
    with fails(InputError, *words):
        read_dataset(str(write("a.jsonl", lines(*records))), [TOKENS, H], LAYOUT)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (([[1, 2]], [[1, 2], [3]]), ("a.jsonl:2", "one width")),
        (([[1, 2]], [[1, 2, 3]]), ("a.jsonl:2", "a vector of 2 a timestep", "a vector of 3")),
        (([[1, 2]], [["a", "b"]]), ("a.jsonl:2", "numbers")),
        (([[1, 2]], 3), ("a.jsonl:2", "a list", "3")),
        (([[1, 2]], [[]]), ("a.jsonl:2", "numbers", "[[]]")),
    ],
)
def test_vectors_that_cannot_be_used(write: Write, rows: tuple[Any, ...], words: tuple[str, ...]) -> None:
    with fails(InputError, *words):
        read_dataset(str(write("a.jsonl", lines(*({"x": row} for row in rows)))), [FEATURES], LAYOUT)


def test_numbers_that_are_not_finite_or_do_not_fit(write: Write) -> None:
    values = np.ones((2, 3, 2))
    values[1, 2, 0] = np.nan
    with fails(InputError, "a.npz, row 2", "finite", "nan at [1, 2, 0]"):
        read_dataset(str(write("a.npz", npz(x=values))), [FEATURES], LAYOUT)
    with fails(InputError, "row 1", "float16", "1000000.0"):
        make_dataset({"x": np.full((1, 1, 2), 1e6)}, [InputSpec("x", (None, None, 2), "float16")], LAYOUT)
    for large in (np.array([[1], [2**40]]), np.array([[1.0], [2.0**40]])):
        with fails(InputError, "row 2, array 'tokens'", "int32 holds"):
            make_dataset({"tokens": large, "h": STATIC}, [TOKENS, H], LAYOUT)


def test_objects_are_never_loaded(write: Write) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return pytest.fail, ("unpickled",)

    trap = np.array([Trap()], dtype=object)
    out = io.BytesIO()
    np.savez(out, tokens=trap)
    for data, words in ((out.getvalue(), "pickled objects"), (pickle.dumps(Trap()), "NumPy's signature")):
        with fails(InputError, "a.npz", words):
            read_dataset(str(write("a.npz", data)), [TOKENS, H], LAYOUT)
    with fails(InputError, "tokens", "array of objects"):
        make_dataset({"tokens": trap}, [TOKENS], LAYOUT)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1\n2 x\n", "a.txt:2, value 2: expected an integer; received 'x'"),
        ("a.json", "[[1], [2.5]]", "a.json:1 (sequence 2), value 1: expected an integer; received 2.5"),
        ("a.jsonl", '{"a": [1], "b": [2]}\n', "a.jsonl: expected one field that holds a list of integers"),
        ("a.jsonl", '{"a": [1]}\n{"a": [2.5]}\n', "a.jsonl:2, value 1: expected an integer; received 2.5"),
        ("a.jsonl", "[]\n[]\n", "a.jsonl: expected at least one token; received 2 empty sequences"),
        ("a.json", "[]", "a.json: expected at least one sequence"),
        ("a.npy", npy(IDS[:0]), "a.npy: expected at least one sequence"),
        ("a.npy", npy(IDS[0]), "a.npy: expected an array of shape (n_sequences, timesteps); received shape (3,)"),
        ("a.txt", "", "a.txt: expected sequences; received an empty file"),
        ("a.npz", b"PK\x03\x04", "a.npz: expected NumPy arrays"),
    ],
)
def test_files_of_sequences_are_read_strictly(write: Write, name: str, content: bytes | str, words: str) -> None:
    with fails(InputError, words):
        read_dataset(str(write(name, content)), [TOKENS], LAYOUT)


@pytest.mark.parametrize("specs", [[], [FEATURES], [InputSpec("x", (None, 4), "float32")]])
def test_single_row_without_axis_is_no_data(write: Write, specs: list[InputSpec]) -> None:
    """One number per row only feeds an input that takes one."""
    for path in (write("a.npy", npy(STATIC[0])), write("a.npz", npz(x=STATIC[0]))):
        with fails(InputError, path.name, "received shape (3,)", "array[None, :]"):
            read_dataset(str(path), specs, LAYOUT)
        (only,) = read_dataset(str(path), [InputSpec("x", (None, 1), "float32")], LAYOUT).inputs
        assert (only.kind, only.values.shape) == ("static", (3, 1))


def test_missing_field(write: Write) -> None:
    with fails(InputError, "a.txt", "a format with fields"):
        read_dataset(str(write("a.txt", "1\n")), [TOKENS], LAYOUT, field="b")
    with fails(InputError, "a.npz", "the array 'b'", "'a'", "--field"):
        read_dataset(str(write("a.npz", npz(a=IDS))), [TOKENS], LAYOUT, field="b")
    with fails(InputError, "none.npz", "does not exist"):
        read_dataset("none.npz", [TOKENS], LAYOUT)


def test_impossible_layout() -> None:
    for layout in (Layout(maxlen=0), Layout(padding="middle")):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            make_dataset({"x": [[[1.0]]]}, [InputSpec("x", (None, None, 1), "float32")], layout)  # type: ignore[dict-item]


def test_positions_and_segments_follow_the_ids() -> None:
    """Their padding is that of the ids next to them."""
    tokens = np.array([[5, 6, 7, 8], [5, 6, 0, 0]])
    positions, segments = np.tile(np.arange(4), (2, 1)), np.array([[0, 0, 1, 1], [0, 1, 0, 0]])
    arrays = {"tokens": tokens, "positions": positions, "segments": segments, "types": np.zeros((2, 4), int)}
    for item in make_dataset(arrays, (), LAYOUT).inputs:
        np.testing.assert_array_equal(item.valid, tokens != 0)


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_two_inputs_of_ids_have_separate_padding(padding: Any) -> None:
    rows = [[[1, 2], [3, 4, 5, 6]], [[7, 8, 9, 1], [2]]]
    source, target = (pad(part, padding=padding).tokens for part in rows)
    inputs = make_dataset({"source": source, "target": target}, (), LAYOUT).inputs
    assert [item.valid.tolist() for item in inputs if item.valid is not None] == [
        (source != 0).tolist(),
        (target != 0).tolist(),
    ]
    """Zeros at the ends of a row are padding."""


def test_whole_floats_are_ids_in_every_format(write: Write) -> None:
    """pandas makes floats of ids in a column with a missing value."""
    in_lines = read_dataset(str(write("a.jsonl", "[1.0, 2.0]\n[3.0, 0.0]\n")), [TOKENS], LAYOUT)
    in_array = read_dataset(str(write("a.npz", npz(tokens=np.array([[1.0, 2], [3, 0]])))), [TOKENS], LAYOUT)
    for dataset in (in_lines, in_array):
        assert dataset.inputs[0].values.tolist() == [[1, 2], [3, 0]]
        assert dataset.inputs[0].values.dtype == np.int32
    with fails(InputError, "a.jsonl:1, value 1", "an integer", "1.5"):
        read_dataset(str(write("a.jsonl", "[1.5]\n")), [TOKENS], LAYOUT)
