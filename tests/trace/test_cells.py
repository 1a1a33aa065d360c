"""The cells that elements of tensors come from, without a model: movements, sums and windows, compared with NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.records.inputs import ModelInput
from maskcli.trace.cells import FIXED, MIXED, InputCells
from maskcli.trace.movement import OperationRules

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, True, False], [True, True, False, False], [True, True, True, True]])
SHORT = VALID[:, :2]


def make_cells(*valid: Any) -> InputCells:
    return InputCells(
        [ModelInput(f"x{index}", one.astype(int), one, "ids") for index, one in enumerate(valid or (VALID,))]
    )


def make_words() -> tuple[InputCells, Any]:
    """Return the cells of words in sentences, and which of them are valid."""
    cells = np.arange(3) < np.array([[[2], [3], [1], [0]], [[1], [2], [0], [0]], [[3], [3], [2], [1]]])
    return InputCells([ModelInput("words", cells.astype(int), VALID, "ids", cells=cells)]), cells


def tensor(*shape: int) -> Any:
    return SimpleNamespace(shape=shape)


CELLS = make_cells()
(LAYER,) = CELLS.label_input(0)


def read_valid(cells: InputCells, layer: Any, shape: tuple[int, ...], is_float: bool = True) -> Any:
    origin = cells.read_origin((layer,), shape, is_float)
    return None if origin is None else origin.valid


def test_timesteps_in_their_places_are_those_of_the_input() -> None:
    wide = LAYER[..., None]
    assert read_valid(CELLS, wide, (3, 4, 5)) is VALID
    assert CELLS.find_time_axes(wide) == {1}
    assert CELLS.is_in_place(wide)
    turned = CELLS.read_origin((wide[:, ::-1],), (3, 4, 5), True)
    assert turned is not None
    assert (turned.valid.tolist(), turned.identical) == (VALID[:, ::-1].tolist(), False)
    assert not CELLS.is_in_place(wide[:, ::-1])
    assert not CELLS.is_in_place(wide[:, :3])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LAYER.T[..., None], (4, 3, 5)),
        (LAYER[::-1, :, None], (3, 4, 5)),
        (LAYER[:, :1, None], (3, 1, 5)),
        (LAYER[:, None], (3, 1, 4)),
        (np.repeat(LAYER, 2, axis=1), (3, 8)),
        (LAYER[:1, :, None], (1, 4, 5)),
        (np.repeat(LAYER[:1], 3, axis=0)[..., None], (3, 4, 5)),
        (np.full((3, 1, 1), MIXED), (3, 1, 5)),
        (np.full((3, 1, 1), FIXED), (3, 1, 5)),
        (LAYER[:, 0], (3,)),
    ],
    ids=[
        "time first",
        "other rows",
        "one taken",
        "time last",
        "flat features",
        "one row",
        "first row everywhere",
        "mixed",
        "fixed",
        "one axis",
    ],
)
def test_other_arrangements_have_no_timesteps(layer: Any, shape: tuple[int, ...]) -> None:
    if shape[0] == 1:  # The first row by itself is a batch of one row.
        assert read_valid(CELLS, layer, shape).tolist() == VALID[:1].tolist()
    else:
        assert read_valid(CELLS, layer, shape) is None


@pytest.mark.parametrize(
    ("shape", "is_float", "timed"), [((3, 1, 5), True, True), ((3, 1), False, True), ((3, 1), True, False)]
)
def test_single_timestep_of_an_input_that_has_no_other(shape: tuple[int, ...], is_float: bool, timed: bool) -> None:
    """A float for each row is a result of samples; an id for each row is a timestep."""
    cells = make_cells(VALID[:, :1])
    (layer,) = cells.label_input(0)
    valid = read_valid(cells, layer.reshape(3, 1, *[1] * (len(shape) - 2)), shape, is_float)
    assert (valid is not None) is timed


def test_words_in_sentences_are_inside() -> None:
    cells, valid = make_words()
    (layer,) = cells.label_input(0)
    np.testing.assert_array_equal(read_valid(cells, layer[..., None], (3, 4, 3, 5)), valid)
    reduced, differ = cells.collapse((layer[..., None],), [2])
    assert not differ
    np.testing.assert_array_equal(read_valid(cells, reduced[0], (3, 4, 5)), VALID)


SHIFTED = np.concatenate([np.full((3, 1), FIXED, np.int32), LAYER[:, :-1]], axis=1)
ROLLED = np.roll(LAYER, 1, axis=1)


@pytest.mark.parametrize(
    ("first", "second", "valid", "differ"),
    [
        (LAYER, LAYER, VALID, False),
        (LAYER, SHIFTED, VALID, False),
        (LAYER, ROLLED, VALID, False),
        (LAYER[:, 1:], LAYER[:, :-1], VALID[:, 1:] & VALID[:, :-1], True),
        (LAYER[:, ::2], LAYER[:, 1::2], VALID[:, ::2] & VALID[:, 1::2], True),
        (ROLLED, LAYER[:, ::-1], None, True),
        (LAYER, np.full((1, 1), FIXED, np.int32), VALID, False),
        (LAYER, np.full((1, 1), MIXED, np.int32), VALID, False),
        (LAYER, LAYER[:, :1], VALID, False),
        (SHIFTED, np.where(SHIFTED == FIXED, LAYER, FIXED), None, True),
    ],
    ids=["same", "shifted", "rolled", "neighbours", "pairs", "turned", "constant", "pooled", "first one", "parts"],
)
def test_result_of_two_sequences(first: Any, second: Any, valid: Any, differ: bool) -> None:
    """Timesteps in their places come first; equal parts of a sequence are valid where both are."""
    for operands in ([(first[..., None],), (second[..., None],)], [(second[..., None],), (first[..., None],)]):
        (layer, *more), disagree = CELLS.combine(operands, 3)
        assert (disagree, more) == (differ, [])
        if valid is not None:
            np.testing.assert_array_equal(np.broadcast_to(CELLS.valid[layer], (*valid.shape, 1))[..., 0], valid)


def test_result_of_nothing_with_timesteps() -> None:
    assert CELLS.combine([(), ()], 3) == ((), False)
    (pooled,), differ = CELLS.combine([(np.full((3, 1), MIXED),), (np.full((3, 1), FIXED),)], 2)
    assert ((pooled == MIXED).all(), differ) == (True, False)
    (same,), differ = CELLS.combine([(LAYER[:, :1],), (LAYER[:, :1],)], 2)
    assert (same.tolist(), differ) == (LAYER[:, :1].tolist(), False)


def test_sum_over_timesteps_belongs_to_none() -> None:
    wide = np.broadcast_to(LAYER[..., None], (3, 4, 5))
    (pooled,), _ = CELLS.collapse((wide,), [1])
    assert (pooled == MIXED).all()
    (kept,), _ = CELLS.collapse((wide,), [2])
    np.testing.assert_array_equal(kept, LAYER)
    (same,), _ = CELLS.collapse((wide,), [2], keepdims=True)
    np.testing.assert_array_equal(same, LAYER[..., None])
    (fixed,), _ = CELLS.collapse((np.stack([LAYER, np.full_like(LAYER, FIXED)], axis=2),), [2])
    np.testing.assert_array_equal(fixed, LAYER)


def test_sum_over_shifted_copies_is_valid_where_all_are() -> None:
    stacked = np.stack([LAYER[:, 2:], LAYER[:, 1:-1], LAYER[:, :-2]], axis=2)
    (layer,), differ = CELLS.collapse((stacked,), [2])
    np.testing.assert_array_equal(CELLS.valid[layer], VALID[:, 2:] & VALID[:, 1:-1] & VALID[:, :-2])
    assert differ


@pytest.mark.parametrize("valid", [VALID, VALID[:, ::-1]], ids=["post", "pre"])
@pytest.mark.parametrize(("size", "step", "gap"), [(2, 1, 1), (2, 2, 1), (3, 1, 1), (2, 1, 2), (1, 2, 1), (1, 1, 1)])
def test_window_is_valid_if_all_its_timesteps_are(valid: Any, size: int, step: int, gap: int) -> None:
    cells = make_cells(valid)
    rules = OperationRules(cells)
    windows = 1 + (4 - 1 - (size - 1) * gap) // step
    layer = rules.slide(cells.label_input(0)[0][..., None], 1, windows, size, step, gap, same=False)
    covered = [[index * step + offset * gap for offset in range(size)] for index in range(windows)]
    expected = np.stack([valid[:, timesteps].all(axis=1) for timesteps in covered], axis=1)
    np.testing.assert_array_equal(cells.valid[layer[..., 0]], expected)
    # A window of valid timesteps belongs to its first one.
    first = cells.label_input(0)[0][:, np.arange(windows) * step]
    np.testing.assert_array_equal(layer[..., 0][expected], first[expected])
    assert rules.guessed is (size > 1 or step > 1)


def test_window_around_each_timestep_keeps_its_place() -> None:
    rules = OperationRules(CELLS)
    assert rules.slide(LAYER, 1, 4, 3, 1, 1, same=True) is LAYER
    assert rules.guessed
    pooled = rules.slide(LAYER, 1, 2, 2, 2, 1, same=True)
    np.testing.assert_array_equal(pooled, LAYER[:, ::2])


def test_convolution_of_features() -> None:
    rules = OperationRules(CELLS)
    inputs = [tensor(3, 1, 4, 5), tensor(1, 2, 5, 6)]
    attributes = ("strides", [1, 1, 1, 1], "padding", b"VALID", "data_format", b"NHWC")
    (labels,) = rules.label_outputs(
        "Conv2D", inputs, attributes, [tensor(3, 1, 3, 6)], [(LAYER[:, None, :, None],), ()]
    )
    np.testing.assert_array_equal(CELLS.valid[labels[0]][:, 0, :, 0], VALID[:, 1:] & VALID[:, :-1])
    (unknown,) = rules.label_outputs(
        "Conv2D", inputs, ("data_format", b"NCHW"), [tensor(3, 1, 3, 6)], [(LAYER[:, None, :, None],), ()]
    )
    assert rules.unknown
    assert (unknown[0] == MIXED).all()


def test_stretched_timesteps_are_repeated() -> None:
    rules = OperationRules(CELLS)
    (layer,) = rules.stretch((LAYER[..., None],), (3, 4, 5), (3, 8, 5))
    np.testing.assert_array_equal(layer[..., 0], np.repeat(LAYER, 2, axis=1))
    (same,) = rules.stretch((LAYER[..., None],), (3, 4, 5), (3, 4, 7))
    np.testing.assert_array_equal(same[..., 0], LAYER)


@pytest.mark.parametrize(
    ("equation", "operands", "shape", "axes"),
    [
        ("btf,fd->btd", [LAYER[..., None], None], (3, 4, 6), [{1}]),
        ("...f,fd->...d", [LAYER[..., None], None], (3, 4, 6), [{1}]),
        ("btf -> bft", [LAYER[..., None]], (3, 5, 4), [{2}]),
        ("btf,bsf->bts", [LAYER[..., None], LAYER[..., None]], (3, 4, 4), [{1}, {2}]),
        ("bts,bsf->btf", [LAYER[..., None], LAYER[..., None]], (3, 4, 5), [{1}]),
        ("btf->bf", [LAYER[..., None]], (3, 5), []),
    ],
)
def test_products_by_an_equation(
    equation: str, operands: list[Any], shape: tuple[int, ...], axes: list[set[int]]
) -> None:
    """Each axis of timesteps stays one, in its new place, unless the product is summed over it."""
    rules = OperationRules(CELLS)
    labels = [() if layer is None else (layer,) for layer in operands]
    inputs = [tensor(3, 4, 5) for _ in operands]
    (result,) = rules.label_outputs("Einsum", inputs, ("equation", equation.encode()), [tensor(*shape)], labels)
    assert [set(CELLS.find_time_axes(layer)) for layer in result if CELLS.find_time_axes(layer)] == axes
    assert all(layer.ndim == len(shape) for layer in result)


@pytest.mark.parametrize("turned", [False, True])
def test_product_of_queries_and_keys(turned: bool) -> None:
    """Scores have the queries on one axis and the keys on the other."""
    rules = OperationRules(CELLS)
    keys = LAYER[..., None] if turned else np.swapaxes(LAYER[..., None], 1, 2)
    attributes = ("adj_x", False, "adj_y", turned)
    (scores,) = rules.label_outputs(
        "BatchMatMulV2",
        [tensor(3, 4, 5), tensor(3, 5, 4)],
        attributes,
        [tensor(3, 4, 4)],
        [(LAYER[..., None],), (keys,)],
    )
    assert [set(CELLS.find_time_axes(layer)) for layer in scores] == [{1}, {2}]


def test_vectors_that_are_looked_up_keep_their_timesteps() -> None:
    rules = OperationRules(CELLS)
    (labels,) = rules.label_outputs(
        "GatherV2", [tensor(9, 5), tensor(3, 4), tensor()], (), [tensor(3, 4, 5)], [(), (LAYER,), ()]
    )
    np.testing.assert_array_equal(labels[0], LAYER[..., None])
    (hot,) = rules.label_outputs("OneHot", [tensor(3, 4), tensor()], (), [tensor(3, 4, 9)], [(LAYER,), ()])
    np.testing.assert_array_equal(hot[0], LAYER[..., None])


def test_unknown_operation_mixes_timesteps() -> None:
    rules = OperationRules(CELLS)
    (added,) = rules.label_outputs("AddV2", [tensor(3, 4), tensor(1, 4)], (), [tensor(3, 4)], [(LAYER,), ()])
    np.testing.assert_array_equal(added[0], LAYER)
    assert not rules.unknown
    for type_, shape in (("AddV2", (3, 2)), ("TopKV2", (3, 4))):
        (labels,) = rules.label_outputs(type_, [tensor(3, 4)], (), [tensor(*shape)], [(LAYER,)])
        assert rules.unknown
        assert (labels[0] == MIXED).all()
    assert rules.label_outputs("AddV2", [tensor(3, 4)], (), [tensor(3, 4)], [()]) == [()]
