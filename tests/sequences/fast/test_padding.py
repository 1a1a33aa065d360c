"""The padded matrix, by each of the ways that lead to it: all equal to Keras's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maskcli
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
"""Limits of the module that lead small batches each way."""
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
def test_equals_keras(rows, padding, truncating, maxlen, value, source, dtype) -> None:  # type: ignore[no-untyped-def]
    from keras.utils import pad_sequences

    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen, "value": value, "dtype": dtype}
    given_rows = copy.deepcopy(rows) if source == "lists" else ragged(rows, source)
    before = copy.deepcopy(given_rows)
    batch = maskcli.pad(given_rows, **options)
    expected = pad_sequences(rows, **options)
    np.testing.assert_array_equal(batch.tokens, expected)
    assert batch.tokens.dtype == expected.dtype
    valid = [[1] * min(len(row), maxlen) for row in rows]
    np.testing.assert_array_equal(batch.mask, pad_sequences(valid, padding=padding, maxlen=maxlen))
    assert batch.truncated_tokens == sum(max(0, len(row) - maxlen) for row in rows)
    if source == "lists":
        assert given_rows == before
    else:
        np.testing.assert_array_equal(given_rows.values, before.values)
    assert batch.lengths.tolist() == list(map(len, rows))
    assert batch.layout == maskcli.pad(ragged(rows, "int8"), **options).layout


@pytest.mark.slow(share=1 / 4)
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [1, 7, 40, 700])
def test_many_rows_and_long_ones(padding: str, truncating: str, maxlen: int) -> None:
    chance = np.random.default_rng(maxlen)
    lengths = chance.integers(0, 60, 200)
    rows = [chance.integers(-(2**31), 2**31, length).tolist() for length in lengths]
    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen}
    from keras.utils import pad_sequences

    for value in (0, -1, 5):
        expected = pad_sequences(rows, value=value, **options)
        for given_rows in (ragged(rows, "int64"), rows):
            batch = maskcli.pad(given_rows, value=value, **options)  # type: ignore[arg-type]
            np.testing.assert_array_equal(batch.tokens, expected)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("source", "dtype"), [("uint8", "int32"), ("int16", "uint16"), ("int64", "uint64"), ("int32", "int16")]
)
def test_other_dtypes(source: str, dtype: str) -> None:
    batch = maskcli.pad(ragged([[1, 2, 3], [], [100]], source), dtype=dtype, value=9)
    assert batch.tokens.dtype == dtype
    assert batch.tokens.tolist() == [[1, 2, 3], [9, 9, 9], [100, 9, 9]]


@pytest.mark.usefixtures("way")
def test_values_that_do_not_lie_together() -> None:
    apart = RaggedSequences(np.arange(10)[::-2], np.array([0, 2, 5]))
    assert maskcli.pad(apart).tokens.tolist() == [[9, 7, 0], [5, 3, 1]]


INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("source", INTEGERS)
def test_a_dtype_holds_what_is_within_its_limits(source: str, dtype: str) -> None:
    known, limits = np.iinfo(source), np.iinfo(dtype)
    edges = {edge + step for edge in (0, known.min, known.max, limits.min, limits.max) for step in (-1, 0, 1)}
    for edge in sorted(edge for edge in edges if known.min <= edge <= known.max):
        assert padding.can_hold(dtype, np.array([1, edge, 2], source)) == (limits.min <= edge <= limits.max), edge


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("source", "dtype"), [("int32", "int8"), ("int64", "uint16"), ("int16", "uint16")])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [None, 2])
def test_a_value_that_the_dtype_does_not_hold_is_named_wherever_it_stands(
    source: str, dtype: str, padding: str, maxlen: int | None
) -> None:
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
def test_values_of_the_dtype_asked_for_are_not_copied_into_another(dtype: str) -> None:
    given = ragged([[1, 2], [3]], dtype)
    assert np.shares_memory(as_ragged(given).values, given.values)


@pytest.mark.parametrize("rows", [[[1, 2], [3]], RaggedSequences(np.array([1, 2, 3]), np.array([0, 2, 3]))])
def test_a_batch_that_no_machine_holds_is_not_asked_for(rows: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "LARGEST", 3)
    with pytest.raises(maskcli.MaskcliError, match="a batch that fits in memory; received 2 sequences of 2 timesteps"):
        maskcli.pad(rows)


@pytest.mark.parametrize(("processors", "asks"), [(1, False), (2, True)])
def test_memory_is_asked_for_ahead_only_by_another_thread(
    monkeypatch: pytest.MonkeyPatch, processors: int, asks: bool
) -> None:
    monkeypatch.setattr(threads, "count_processors", lambda: processors)
    monkeypatch.setattr(padding, "MANY", 0)
    touched: list[slice] = []
    monkeypatch.setattr(padding.Matrix, "_touch", lambda _, rows: touched.append(rows))
    matrix = padding.Matrix(7, 4, "post", 0, "int32")
    assert [(at.start, at.stop) for at in matrix.parts(2)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert bool(touched) == asks
