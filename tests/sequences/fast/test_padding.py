"""The padded matrix, computed in each possible way: always equal to that of Keras."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maskcli
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences import threads
from maskcli.sequences.fast import padding
from maskcli.sequences.ragged import as_ragged

pytestmark = pytest.mark.quick

WAYS = {
    "table": {},
    "mask": {"TABLE": 0},
    "copies": {"WIDEST": 0},
    "threads": {"MANY": 0},
    "one row at once": {"CHUNK": 1},
    "threads, one row at once": {"MANY": 0, "CHUNK": 1},
    "mask, one row at once": {"TABLE": 0, "CHUNK": 1},
}
"""Limits of the module that let small batches be padded in each way."""
SIDES = st.sampled_from(["pre", "post"])


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(threads, "count_processors", lambda: 2)
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(padding, name, value)
    return str(request.param)


def ragged(rows: list[list[int]], dtype: str) -> RaggedSequences:
    flat = [value for row in rows for value in row]
    return RaggedSequences(np.array(flat, dtype), np.cumsum([0, *map(len, rows)]))


@pytest.mark.slow(share=1)
@pytest.mark.usefixtures("way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-128, 127), max_size=9), min_size=1, max_size=12),
    padding=SIDES,
    truncating=SIDES,
    maxlen=st.integers(1, 12),
    value=st.integers(-128, 127),
    source=st.sampled_from(["int32", "int64", "int8", "int16", "lists"]),
    dtype=st.sampled_from(["int8", "int16", "int32", "int64"]),
)
def test_pad_equals_keras(rows, padding, truncating, maxlen, value, source, dtype) -> None:  # type: ignore[no-untyped-def]
    from keras.utils import pad_sequences

    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen, "value": value, "dtype": dtype}
    input_rows = copy.deepcopy(rows) if source == "lists" else ragged(rows, source)
    before = copy.deepcopy(input_rows)
    batch = maskcli.pad(input_rows, **options)
    expected = pad_sequences(rows, **options)
    np.testing.assert_array_equal(batch.tokens, expected)
    assert batch.tokens.dtype == expected.dtype
    valid = [[1] * min(len(row), maxlen) for row in rows]
    np.testing.assert_array_equal(batch.mask, pad_sequences(valid, padding=padding, maxlen=maxlen))
    assert batch.truncated_tokens == sum(max(0, len(row) - maxlen) for row in rows)
    if source == "lists":
        assert input_rows == before
    else:
        np.testing.assert_array_equal(input_rows.values, before.values)
    assert batch.lengths.tolist() == list(map(len, rows))
    assert batch.layout == maskcli.pad(ragged(rows, "int8"), **options).layout


@pytest.mark.slow(share=1 / 4)
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [1, 7, 40, 700])
def test_pad_many_and_long_rows(padding: str, truncating: str, maxlen: int) -> None:
    rng = np.random.default_rng(maxlen)
    lengths = rng.integers(0, 60, 200)
    rows = [rng.integers(-(2**31), 2**31, length).tolist() for length in lengths]
    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen}
    from keras.utils import pad_sequences

    for value in (0, -1, 5):
        expected = pad_sequences(rows, value=value, **options)
        for input_rows in (ragged(rows, "int64"), rows):
            batch = maskcli.pad(input_rows, value=value, **options)  # type: ignore[arg-type]
            np.testing.assert_array_equal(batch.tokens, expected)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("source", "dtype"), [("uint8", "int32"), ("int16", "uint16"), ("int64", "uint64"), ("int32", "int16")]
)
def test_pad_converts_dtypes(source: str, dtype: str) -> None:
    batch = maskcli.pad(ragged([[1, 2, 3], [], [100]], source), dtype=dtype, value=9)
    assert batch.tokens.dtype == dtype
    assert batch.tokens.tolist() == [[1, 2, 3], [9, 9, 9], [100, 9, 9]]


@pytest.mark.usefixtures("way")
def test_pad_strided_values() -> None:
    strided = RaggedSequences(np.arange(10)[::-2], np.array([0, 2, 5]))
    assert maskcli.pad(strided).tokens.tolist() == [[9, 7, 0], [5, 3, 1]]


INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", INTEGERS)
def test_can_hold_values_within_limits(source: str, dtype: str) -> None:
    own_limits, limits = np.iinfo(source), np.iinfo(dtype)
    edges = {edge + step for edge in (0, own_limits.min, own_limits.max, limits.min, limits.max) for step in (-1, 0, 1)}
    for edge in sorted(edge for edge in edges if own_limits.min <= edge <= own_limits.max):
        assert padding.can_hold(dtype, np.array([1, edge, 2], source)) == (limits.min <= edge <= limits.max), edge


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("source", "dtype"), [("int32", "int8"), ("int64", "uint16"), ("int16", "uint16")])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2])
def test_pad_reports_misfit_at_any_place(source: str, dtype: str, padding: str, maxlen: int | None) -> None:
    rows = [[1, 2, 3], [], [4], [5, 6, 7, 8]]
    for row, sequence in enumerate(rows):
        for position in range(len(sequence)):
            wrong = copy.deepcopy(rows)
            wrong[row][position] = -200
            with pytest.raises(
                maskcli.MaskcliError, match=rf"row {row + 1}, value {position + 1}: .*{dtype} holds .*received -200"
            ):
                maskcli.pad(ragged(wrong, source), padding=padding, maxlen=maxlen, dtype=dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
def test_as_ragged_keeps_dtype_without_copy(dtype: str) -> None:
    sequences = ragged([[1, 2], [3]], dtype)
    assert np.shares_memory(as_ragged(sequences).values, sequences.values)


@pytest.mark.parametrize("rows", [[[1, 2], [3]], RaggedSequences(np.array([1, 2, 3]), np.array([0, 2, 3]))])
def test_pad_reports_batch_too_large_for_memory(rows: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "LARGEST", 3)
    with pytest.raises(maskcli.MaskcliError, match="a batch that fits in memory; received 2 sequences of 2 timesteps"):
        maskcli.pad(rows)


@pytest.mark.parametrize(("processors", "touches"), [(1, False), (2, True)])
def test_matrix_touches_memory_in_second_thread(
    monkeypatch: pytest.MonkeyPatch, processors: int, touches: bool
) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: processors)
    monkeypatch.setattr(padding, "MANY", 0)
    touched: list[slice] = []
    monkeypatch.setattr(padding.Matrix, "_touch", lambda _, rows: touched.append(rows))
    matrix = padding.Matrix(7, Layout(maxlen=4))
    assert [(at.start, at.stop) for at in matrix.parts(2)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert bool(touched) == touches
