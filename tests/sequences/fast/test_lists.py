"""Lists read through their marshalled form: exactly where they are lists of integers, and never else."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.api.pad import pad
from maskcli.errors import InputError, UsageError
from maskcli.records.sequences import Layout
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
def test_lists_of_integers(rows: list[list[int]]) -> None:
    found = convert_lists(rows)
    assert found is not None
    assert found.values.dtype == np.int32
    assert [found[row].tolist() for row in range(len(found))] == rows


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
def test_anything_else_has_no_answer(rows: list[Any]) -> None:
    found, padded = convert_lists(rows), pad_lists(rows, Layout(maxlen=4))
    assert (found is not None) == (padded is not None) == is_plain(rows)
    if found is not None and padded is not None:
        assert [found[row].tolist() for row in range(len(found))] == rows
        assert [row[:4] + [0] * (4 - len(row)) for row in rows] == padded.tokens.tolist()


@given(st.lists(st.lists(INTEGERS | ODD, max_size=4), min_size=1, max_size=5))
def test_the_answer_is_that_of_looking_at_each_value(rows: list[Any]) -> None:
    def plainly() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("maskcli.sequences.ragged.convert_lists", lambda _: None)
            patch.setattr("maskcli.api.pad.pad_lists", lambda *_: None)
            return join_rows(rows), pad(rows, maxlen=3, dtype="int64")

    try:
        expected, expected_batch = plainly()
    except InputError as error:
        for work in (join_rows, lambda rows: pad(rows, maxlen=3, dtype="int64")):
            with pytest.raises(InputError) as raised:
                work(rows)
            assert str(raised.value) == str(error)
        return
    found, batch = join_rows(rows), pad(rows, maxlen=3, dtype="int64")
    assert np.array_equal(found.values, expected.values)
    assert np.array_equal(found.row_splits, expected.row_splits)
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
def test_no_answer_to(rows: Any) -> None:
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
def test_nothing_is_padded_that_the_plain_way_has_a_word_on(rows: list[list[int]], layout: Layout) -> None:
    assert pad_lists(rows, layout) is None


def test_what_is_wrong_with_options_is_said_whatever_the_lists_are() -> None:
    for rows in ([[1]], [["a"]]):
        with pytest.raises(UsageError, match="maxlen of at least 1"):
            pad(rows, maxlen=0)


def test_rows_of_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 3)
    monkeypatch.setattr(padding, "CHUNK", 60)
    rows = [list(range(length % 5)) for length in range(20)]
    found = convert_lists(rows)
    assert found is not None
    assert [found[row].tolist() for row in range(20)] == rows
    assert convert_lists([*rows, [1.0]]) is pad_lists([*rows, [1.0]], Layout()) is None
    padded = pad_lists(rows, Layout("pre", "pre", 3, -1))
    assert padded is not None
    assert padded.tokens.tolist() == [([-1] * 3 + row)[-3:] for row in rows]
    assert padded.truncated_tokens == 4
    assert padded.lengths.tolist() == list(map(len, rows))
    assert as_ragged([*rows, [2**40]]).values.dtype == np.int64


def test_a_list_within_itself_is_refused() -> None:
    rows: list[Any] = [[1]]
    rows.append(rows)
    with pytest.raises(InputError, match="expected an integer"):
        as_ragged(rows)
