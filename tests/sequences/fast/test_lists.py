"""Lists read from their marshalled form: lists of integers always, anything else never."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskcli.api.pad import pad
from maskcli.errors import InputError, NestedRowsError, UsageError
from maskcli.records.layout import Layout
from maskcli.sequences.fast import lists, padding
from maskcli.sequences.fast.lists import convert_lists, pad_lists
from maskcli.sequences.ragged import as_ragged, join_rows

pytestmark = pytest.mark.quick

INTEGERS = st.integers(-(2**31), 2**31 - 1)
ODD = (
    st.booleans()
    | st.none()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([2**31, -(2**31) - 1, 2**63, 10**30, 1j, ..., np.int64(3), np.float32(1), np.arange(3)])
)


class Code(enum.IntEnum):
    ONE = 1


@given(st.lists(st.lists(INTEGERS, max_size=9), min_size=1, max_size=9))
def test_convert_lists_of_integers(rows: list[list[int]]) -> None:
    ragged = convert_lists(rows)
    assert ragged is not None
    assert ragged.values.dtype == np.int32
    assert [ragged[row].tolist() for row in range(len(ragged))] == rows


def is_plain(rows: Any) -> bool:
    return all(
        type(row) is list and all(type(value) is int and -(2**31) <= value < 2**31 for value in row) for row in rows
    )


@given(
    st.lists(
        st.recursive(INTEGERS | ODD, lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner), max_leaves=9),
        min_size=1,
        max_size=6,
    )
)
def test_convert_lists_rejects_all_other_objects(rows: list[Any]) -> None:
    ragged, padded = convert_lists(rows), pad_lists(rows, Layout(maxlen=4))
    assert (ragged is not None) == (padded is not None) == is_plain(rows)
    if ragged is not None and padded is not None:
        assert [ragged[row].tolist() for row in range(len(ragged))] == rows
        assert [row[:4] + [0] * (4 - len(row)) for row in rows] == padded.tokens.tolist()


@example([[np.array([0, 1, 2])], [0.0]])
@given(st.lists(st.lists(INTEGERS | ODD, max_size=4), min_size=1, max_size=5))
def test_fast_lists_equal_strict_lists(rows: list[Any]) -> None:
    def read_strictly() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("maskcli.sequences.ragged.convert_lists", lambda _: None)
            patch.setattr("maskcli.api.pad.pad_lists", lambda *_: None)
            return join_rows(rows), pad(rows, maxlen=3, dtype="int64")

    try:
        expected, expected_batch = read_strictly()
    except InputError as error:
        for work in (join_rows, lambda rows: pad(rows, maxlen=3, dtype="int64")):
            with pytest.raises(InputError) as raised:
                work(rows)
            if isinstance(error, NestedRowsError) and work is not join_rows:
                continue  # Vectors are features for `pad`, which then misses other vectors.
            # A function of the library names its argument where a command names its option.
            assert str(raised.value).replace("tokenizer=", "--tokenizer ") == str(error).replace(
                "tokenizer=", "--tokenizer "
            )
        return
    ragged, batch = join_rows(rows), pad(rows, maxlen=3, dtype="int64")
    assert np.array_equal(ragged.values, expected.values)
    assert np.array_equal(ragged.row_splits, expected.row_splits)
    assert np.array_equal(batch.tokens, expected_batch.tokens)


@pytest.mark.parametrize(
    "rows",
    [
        [[True] * 5],
        [[1, True, 2]],
        [[[]], 5],
        [[[1]], 5],
        [[], 5, []],
        [5, []],
        [[1], 2],
        [(1, 2)],
        [[1], (2, 3)],
        [[1, []], [3]],
        [[1], {2}],
        [[1], range(2**60)],
        [[Code.ONE]],
        [["i" * 5]],
        [[b"i\x00\x00\x00\x00"]],
        [[0.0, 0.0, 0.0, 0.0, 0.0]],
        ([1], [2]),
        5,
    ],
)
def test_convert_lists_rejects(rows: Any) -> None:
    assert convert_lists(rows) is None
    assert pad_lists(rows, Layout()) is None


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        ([[]], Layout()),
        ([[1]], Layout(dtype="int8")),
        ([[1]], Layout(dtype="uint64")),
        ([[1] * 2**18, [2] * (2**18 + 1)], Layout(maxlen=2)),
        ([[1]], Layout(maxlen=2**40 + 1)),
        ([[1], [2]], Layout(maxlen=2**62)),
    ],
)
def test_pad_lists_leaves_errors_to_strict_code(rows: list[list[int]], layout: Layout) -> None:
    assert pad_lists(rows, layout) is None


def test_pad_reports_options_before_values() -> None:
    for rows in ([[1]], [["a"]]):
        with pytest.raises(UsageError, match="maxlen of at least 1"):
            pad(rows, maxlen=0)


def test_convert_lists_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 3)
    monkeypatch.setattr(padding, "CHUNK", 60)
    rows = [list(range(length % 5)) for length in range(20)]
    ragged = convert_lists(rows)
    assert ragged is not None
    assert [ragged[row].tolist() for row in range(20)] == rows
    assert convert_lists([*rows, [1.0]]) is pad_lists([*rows, [1.0]], Layout()) is None
    padded = pad_lists(rows, Layout(padding="pre", truncating="pre", maxlen=3, value=-1))
    assert padded is not None
    assert padded.tokens.tolist() == [([-1] * 3 + row)[-3:] for row in rows]
    assert padded.truncated_tokens == 4
    assert padded.lengths.tolist() == list(map(len, rows))
    assert as_ragged([*rows, [2**40]]).values.dtype == np.int64


def test_as_ragged_rejects_list_within_itself() -> None:
    rows: list[Any] = [[1]]
    rows.append(rows)
    with pytest.raises(InputError, match="expected an integer"):
        as_ragged(rows)
