"""Padding equals that of Keras, and bad input gets a clear error."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import maskcli
from maskcli.errors import InputError, UsageError
from maskcli.sequences.padding import find_valid_timesteps
from maskcli.sequences.ragged import unpad

pytestmark = pytest.mark.quick

SIDES = ("pre", "post")
sequences = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8), min_size=1, max_size=8).filter(any)


@pytest.mark.slow(share=1)
@pytest.mark.parametrize(
    ("padding", "truncating", "maxlen", "value", "dtype"),
    list(itertools.product(SIDES, SIDES, (None, 1, 2, 3, 5, 9), (0, -1, 7), ("int32", "int64", "int16", "uint8"))),
)
def test_pad_equals_keras_over_a_grid(
    padding: str, truncating: str, maxlen: int | None, value: int, dtype: str
) -> None:
    from keras.utils import pad_sequences

    rows = [[5, 6, 7, 8, 9], [], [1], [0, 2, 0], [3, 4]]
    value = value % 250 if dtype == "uint8" else value
    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen, "value": value, "dtype": dtype}
    batch = maskcli.pad(rows, **options)  # type: ignore[arg-type]
    expected = pad_sequences(rows, **options)
    assert batch.tokens.dtype == expected.dtype
    np.testing.assert_array_equal(batch.tokens, expected)


@pytest.mark.slow(share=1)
@given(
    rows=sequences,
    padding=st.sampled_from(SIDES),
    truncating=st.sampled_from(SIDES),
    maxlen=st.none() | st.integers(1, 10),
    value=st.integers(-(2**31), 2**31 - 1),
    dtype=st.sampled_from(["int32", "int64"]),
)
def test_pad_equals_keras(rows, padding, truncating, maxlen, value, dtype) -> None:  # type: ignore[no-untyped-def]
    from keras.utils import pad_sequences

    options = {"padding": padding, "truncating": truncating, "maxlen": maxlen, "value": value, "dtype": dtype}
    batch = maskcli.pad(rows, **options)
    np.testing.assert_array_equal(batch.tokens, pad_sequences(rows, **options))


@given(rows=sequences, padding=st.sampled_from(SIDES), extra=st.integers(0, 5), value=st.integers(-3, 3))
def test_unpad_reverses_pad(rows, padding, extra, value) -> None:  # type: ignore[no-untyped-def]
    batch = maskcli.pad(rows, padding=padding, maxlen=max(map(len, rows)) + extra, value=value)
    ragged = unpad(batch.tokens, batch.mask)
    assert [ragged[row].tolist() for row in range(len(ragged))] == rows


@given(rows=sequences, padding=st.sampled_from(SIDES), truncating=st.sampled_from(SIDES), maxlen=st.integers(1, 10))
def test_every_token_is_kept_or_counted(rows, padding, truncating, maxlen) -> None:  # type: ignore[no-untyped-def]
    batch = maskcli.pad(rows, padding=padding, truncating=truncating, maxlen=maxlen)
    assert batch.lengths.tolist() == list(map(len, rows))
    assert batch.mask.sum(axis=1).tolist() == [min(len(row), maxlen) for row in rows]
    assert batch.mask.sum() + batch.truncated_tokens == sum(map(len, rows))


def test_truncation_keeps_the_named_side() -> None:
    assert maskcli.pad([[1, 2, 3]], maxlen=2).tokens.tolist() == [[1, 2]]
    assert maskcli.pad([[1, 2, 3]], maxlen=2, truncating="pre").tokens.tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([[1]], {"maxlen": 0}, UsageError, "maxlen of at least 1; received 0"),
        ([[1]], {"maxlen": -2}, UsageError, "maxlen of at least 1"),
        ([], {}, InputError, "at least one sequence"),
        ([[], []], {}, InputError, "at least one token; received 2 empty sequences"),
        ([[1, 2.5]], {}, InputError, r"row 1, value 2: expected an integer; received 2\.5"),
        ([[1], [2.0]], {}, InputError, r"row 2, value 1: expected an integer; received 2\.0"),
        ([[True]], {}, InputError, "received true"),
        ([["12"]], {}, InputError, "received '12'"),
        ([[[1]]], {}, InputError, r"received \[1\]"),
        ([1, 2], {}, InputError, "row 1: expected a sequence"),
        ("12", {}, InputError, "expected sequences"),
        (5, {}, InputError, "expected sequences"),
        ([[1, 2**31]], {}, InputError, "row 1, value 2: expected an integer that int32 holds"),
        ([[-1]], {"dtype": "uint8"}, InputError, "uint8 holds"),
        ([[0], [2**63]], {"dtype": "int64"}, InputError, "row 2, value 1: expected an integer from"),
        ([[1]], {"value": 2**31}, UsageError, "padding value that int32 holds"),
        ([[1]], {"value": 1.5}, UsageError, "integer as padding value"),
        ([[1]], {"dtype": "float32"}, UsageError, "integer dtype"),
        ([[1]], {"maxlen": 10**15}, InputError, "of memory for one input"),
        ([[1]], {"maxlen": 2**63 - 1}, InputError, "of memory for one input"),
        ([[1]], {"maxlen": 10**20}, InputError, "of memory for one input"),
        ([[1]], {"maxlen": True}, UsageError, "maxlen of at least 1"),
        ([[1]], {"dtype": "nosuch"}, UsageError, "integer dtype"),
        (np.array([[1.0]]), {}, InputError, "dtype float64"),
        (np.zeros((2, 2, 2), int), {}, InputError, "shape"),
        (np.array([[2**64 - 1]], np.uint64), {}, InputError, "integers up to"),
        ([np.array([1.5])], {}, InputError, "1-D array of integers"),
        (maskcli.RaggedSequences(np.array([1]), np.array([0, 2])), {}, InputError, "0 to 2 for 1 values"),
        (maskcli.RaggedSequences(np.array([1, 2]), np.array([0, 2, 1, 2])), {}, InputError, "2 followed by 1"),
        (maskcli.RaggedSequences(np.array([], int), np.array([0])), {}, InputError, "at least one sequence"),
    ],
)
def test_pad_reports_errors(rows: object, options: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        maskcli.pad(rows, **options)  # type: ignore[arg-type]
    assert isinstance(raised.value, ValueError)


def test_pad_only_empty_sequences_to_maxlen() -> None:
    assert maskcli.pad([[], []], maxlen=2, value=9).tokens.tolist() == [[9, 9], [9, 9]]


def test_padding_id_between_tokens_is_valid() -> None:
    batch = maskcli.pad([[0, 1, 0, 2, 0], [3, 0, 0, 0, 0]])
    assert find_valid_timesteps(batch).tolist() == [
        [False, True, True, True, False],
        [True, False, False, False, False],
    ]


def test_rows_of_unequal_length_hold_only_tokens() -> None:
    batch = maskcli.pad([[0, 1, 0, 2, 0], [3, 0]])
    assert find_valid_timesteps(batch).tolist() == batch.mask.tolist() == [[True] * 5, [True] * 2 + [False] * 3]


@pytest.mark.parametrize("multiple", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", ["int8", "int32", "uint64"])
def test_pad_to_multiple_of(multiple: int, dtype: str) -> None:
    for rows in ([[1, 2, 3], [4]], [np.array([1, 2, 3]), np.array([4])]):
        batch = maskcli.pad(rows, pad_to_multiple_of=multiple, dtype=dtype)
        width = -(-3 // multiple) * multiple
        assert batch.tokens.tolist() == maskcli.pad(rows, maxlen=width, dtype=dtype).tokens.tolist()
