"""Parts of the trace that need no model: dependences, attention scores, and sources of masks that are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.records.inputs import ModelInput
from maskcli.records.trace import AttentionMask
from maskcli.trace.attention import _add_heads, _select_pairs
from maskcli.trace.cells import InputCells, TimestepOrigin
from maskcli.trace.outputs import choose_rows
from maskcli.trace.positions import Positions, _fit_rank, _take_time
from maskcli.trace.scores import (
    _broadcasts,
    _is_over_last_axis,
    _list_combined,
    _may_hold_scores,
    _read_weak_values,
    _split_product,
    _swaps_last_axes,
)
from maskcli.trace.timesteps import compare_source, find_repeats

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, True, False], [True, True, False, False], [True, True, True, True]])
INPUTS = [ModelInput("ids", VALID.astype(int), VALID, "ids")]
POSITIONS = Positions(INPUTS, InputCells(INPUTS))
(LAYER,) = POSITIONS.cells.label_input(0)
ORIGIN = TimestepOrigin(VALID, LAYER, True)
EACH = np.eye(4, dtype=bool)
CAUSAL = np.triu(np.ones((4, 4), bool))


def read_dependence(depends: Any, rank: int = 3) -> Any:
    """Return the validity of the places of a result that depends on these timesteps; None without timesteps."""
    tensor: Any = SimpleNamespace(shape=(3, depends.shape[1], *[5] * (rank - 2)))
    labels = POSITIONS._read_dependence(depends, ORIGIN, tensor)
    if labels is None:
        return None
    (layer,) = labels
    assert layer.ndim == rank
    return POSITIONS.cells.valid[layer].reshape(3, -1)


@pytest.mark.parametrize(
    ("depends", "valid"),
    [
        (EACH, VALID),
        (EACH[::-1], VALID[:, ::-1]),
        (CAUSAL, VALID),
        (CAUSAL.T, VALID),
        (np.ones((4, 4), bool), VALID),
        (EACH | np.roll(EACH, 1, axis=1), VALID),
        (EACH[:, 1:] | EACH[:, :-1], VALID[:, 1:] & VALID[:, :-1]),
        (EACH[:, ::2] | EACH[:, 1::2], VALID[:, ::2] & VALID[:, 1::2]),
        (EACH[:, ::2], VALID[:, ::2]),
        (np.ones((4, 2), bool), None),
        (EACH * np.array([True, True, False, True]), None),
        (np.zeros((4, 4), bool), None),
    ],
    ids=[
        "each",
        "turned",
        "causal",
        "later",
        "attention",
        "rolled",
        "windows",
        "pairs",
        "every second",
        "pooled",
        "one of none",
        "none",
    ],
)
def test_dependence_shows_the_timesteps(depends: Any, valid: Any) -> None:
    """A place that depends on its own timestep is that timestep; another one is valid if all are that it depends on."""
    result = read_dependence(depends)
    assert (result is None) == (valid is None)
    if valid is not None:
        np.testing.assert_array_equal(result, valid)


def test_features_that_depend_on_all_timesteps_are_none() -> None:
    """As many features as timesteps, each of which depends on the whole sequence."""
    assert read_dependence(np.ones((4, 4), bool), rank=2) is None
    np.testing.assert_array_equal(read_dependence(EACH, rank=2), VALID)


def test_rank_of_a_layer() -> None:
    wide = LAYER[..., None, None]
    assert _fit_rank(LAYER, 4).shape == (3, 4, 1, 1)
    assert _fit_rank(LAYER, 2) is not None
    np.testing.assert_array_equal(_fit_rank(wide, 2), LAYER)
    words = np.broadcast_to(wide, (3, 4, 2, 1))
    assert _fit_rank(words, 2).shape == words.shape
    assert _fit_rank(words, 3).shape == (3, 4, 2)


def test_layers_of_timesteps_only() -> None:
    wide = LAYER[..., None]
    (taken,) = _take_time((wide, np.broadcast_to(wide, (3, 4, 2))))
    np.testing.assert_array_equal(taken, LAYER)


def test_result_without_a_row_of_each_sample_is_not_pooled() -> None:
    """A mean over time is pooled; a number of the whole batch is not, nor is a result of more or fewer rows."""
    shapes: dict[tuple[int, ...], bool] = {(3, 5): True, (): False, (4, 5): False, (1, 5): False}
    for shape, is_pooled in shapes.items():
        assert POSITIONS.is_pooled(np.zeros(shape, "float32"), len(VALID)) is is_pooled


def make_entry(type_: str, inputs: Any = (), shape: tuple[int, ...] = (), **fields: Any) -> Any:
    output = SimpleNamespace(shape=shape)
    return SimpleNamespace(
        type=type_, inputs=list(inputs), outputs=[output], **{"code": True, "operation": None, **fields}
    )


@pytest.mark.parametrize(
    ("axis", "is_last"),
    [(None, True), (-1, True), (3, True), ([-1], True), ((3,), True), (2, False), (-2, False), (0, False)],
)
def test_softmax_over_keys_is_over_the_last_axis(axis: Any, is_last: bool) -> None:
    entry = make_entry("Softmax", code=False, operation=SimpleNamespace(axis=axis))
    assert _is_over_last_axis(entry, 4) is is_last
    assert _is_over_last_axis(make_entry("Softmax"), 4)


@pytest.mark.parametrize(
    ("type_", "order", "swaps"),
    [
        ("Transpose", [0, 1, 3, 2], True),
        ("Transpose", [1, 0], True),
        ("Transpose", [0, 2, 1, 3], False),
        ("Transpose", [0, 3, 1, 2], False),
        ("Transpose", [0], False),
        ("Reshape", [0, 1, 3, 2], False),
        ("Transpose", None, False),
    ],
)
def test_swap_of_the_last_axes(type_: str, order: Any, swaps: bool) -> None:
    inputs = [np.zeros((2, 3))] if order is None else [np.zeros((2, 3)), np.array(order)]
    assert _swaps_last_axes(make_entry(type_, inputs)) is swaps
    assert not _swaps_last_axes(make_entry(type_, inputs, code=False))


@pytest.mark.parametrize(
    ("type_", "source", "result", "may"),
    [
        ("AddV2", (2, 3, 4), (2, 3, 4), True),
        ("AddV2", (1, 3, 4), (2, 3, 4), False),
        ("Reshape", (6, 4), (2, 3, 4), True),
        ("ConcatV2", (2, 3, 4), (2, 3, 5), True),
        ("ConcatV2", (2, 3, 4), (2, 4, 4), False),
        ("ConcatV2", (3, 4), (2, 3, 5), False),
    ],
)
def test_input_that_may_hold_scores(type_: str, source: Any, result: Any, may: bool) -> None:
    tensors: Any = [SimpleNamespace(shape=shape) for shape in (source, result)]
    assert _may_hold_scores(tensors[0], tensors[1], make_entry(type_)) is may


@pytest.mark.parametrize(
    ("equation", "swapped", "keys_first"),
    [
        ("bqd,bkd->bqk", False, False),
        ("bkd,bqd->bqk", False, True),
        ("bqd,bkd->bqk", True, True),
        ("aecd,abcd->acbe", False, True),
        (None, False, False),
        (None, True, True),
    ],
)
@pytest.mark.parametrize("code", [True, False])
def test_factor_of_keys_has_the_last_axis(equation: str | None, swapped: bool, keys_first: bool, code: bool) -> None:
    attributes = ("T", 1, b"equation", equation.encode()) if code and equation is not None else ()
    entry = make_entry(
        "Einsum",
        ["first", "second"],
        code=code,
        kwargs={"attrs": attributes},
        operation=None if code else SimpleNamespace(subscripts=equation),
    )
    expected = ("second", "first") if keys_first else ("first", "second")
    assert _split_product(entry, swapped) == expected


MASK = np.array([[0.0, -5.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("type_", "mask", "second", "value", "lowered"),
    [
        ("AddV2", MASK, True, -5.0, MASK < 0),
        ("Sub", -MASK, True, -5.0, MASK < 0),
        ("Sub", MASK, False, -5.0, MASK < 0),
        ("Mul", np.array([[1.0, 0.0]]), True, None, np.array([[False, True]])),
        ("Mul", np.array([[1.0, 0.5]]), True, None, None),
        ("AddV2", MASK * 1e6, True, None, None),
        ("AddV2", MASK + 1, True, None, None),
        ("AddV2", MASK * 0, True, None, None),
        ("AddV2", np.array([[0.0, -1.0, -2.0]]), True, None, None),
    ],
)
def test_mask_that_lowers_scores_a_little(type_: str, mask: Any, second: bool, value: Any, lowered: Any) -> None:
    scores = np.ones_like(mask)
    entry = make_entry(type_, [scores, mask] if second else [mask, scores])
    found, places = _read_weak_values(entry, mask)
    assert found == value
    assert (places is None) == (lowered is None)
    if lowered is not None:
        np.testing.assert_array_equal(places, lowered)


def test_heads_and_batch_are_added() -> None:
    for shape, expected in (((3, 4), (1, 1, 3, 4)), ((2, 3, 4), (2, 1, 3, 4)), ((2, 5, 3, 4), (2, 5, 3, 4))):
        assert _add_heads(np.zeros(shape)).shape == expected


def test_few_pairs_of_an_attention_mask_know_their_number() -> None:
    mask, weights = np.ones((2, 3, 4), bool), np.full((2, 3, 4), 1 / 3)
    attention = AttentionMask("a", "Attention", mask, weights, 1, False, VALID[:2, :3], VALID[:2], None)
    whole = _select_pairs(attention, slice(0, 1), slice(None))
    assert (whole.mask.shape, whole.all_pairs) == ((1, 3, 4), None)
    part = _select_pairs(attention, slice(0, 1), slice(0, 2))
    assert (part.mask.shape, part.all_pairs) == ((1, 2, 2), (3, 4))
    assert part.queries is not None
    assert part.queries.tolist() == VALID[:1, :2].tolist()
    assert part.weights[0, 0, 0] == 0.3333


def test_masks_of_two_sources_are_compared() -> None:
    values = np.zeros((3, 4, 2))
    first = compare_source("embedding", VALID, values, None)
    assert (first.differing_timesteps, first.max_abs_difference) == (0, 0.0)
    for mask, differing in (
        (VALID, 0),
        (~VALID, 12),
        (VALID[:, ::-1], int((VALID[:, ::-1] != VALID).sum())),
        (None, 12),
    ):
        other = compare_source("masking", mask, values + 0.5, first)
        assert (other.differing_timesteps, other.max_abs_difference) == (differing, 0.5)
    without = compare_source("embedding", None, values, None)
    assert compare_source("none", None, values, without).differing_timesteps == 0
    assert compare_source("masking", VALID, values, without).differing_timesteps == 12


def test_masked_output_repeats_the_last_valid_one() -> None:
    values = np.array([[1.0, 1.0, 2.0, 2.0, 2.0, 3.0]])[..., None]
    mask = np.array([[True, False, True, False, False, False]])
    assert find_repeats(values, mask).tolist() == [[False, True, False, True, True, False]]
    assert not find_repeats(values, None).any()
    assert not find_repeats(np.ones((1, 3, 1)), np.array([[False, False, False]])).any()


def test_smaller_factors_between_product_and_softmax() -> None:
    """Back from a softmax: a mask that is added, a scale, and then queries times keys, which ends the way."""
    product, scaled, scores = (np.ones((3, 4, 4), "float32") for _ in range(3))
    mask, bias = np.zeros((4, 4), "float32"), np.zeros(4, "float32")
    factors = [np.ones((3, 4, 2), "float32")] * 2
    entries = [
        make_entry("BatchMatMulV2", factors, product.shape),
        make_entry("AddV2", [product, bias], scaled.shape),
        make_entry("AddV2", [scaled, mask], scores.shape),
    ]
    maker = dict(zip(map(id, (product, scaled, scores)), entries, strict=True))
    combined = list(_list_combined(scores, SimpleNamespace(maker=maker)))  # type: ignore[arg-type]
    assert [(entry, tensor is mask) for entry, tensor in combined] == [(entries[2], True)]
    entries[2].inputs = [mask, mask]
    assert not list(_list_combined(scores, SimpleNamespace(maker=maker)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "target", "fits"),
    [((3, 4), (2, 3, 4), True), ((1, 4), (3, 4), True), ((2,), (3,), False), ((2, 3, 4), (3, 4), False)],
)
def test_shape_that_broadcasts(shape: tuple[int, ...], target: tuple[int, ...], fits: bool) -> None:
    assert _broadcasts(shape, target) is fits


@pytest.mark.parametrize(("most", "rows"), [(2, [0, 2, 5]), (3, [0, 1, 2, 5]), (9, list(range(6)))])
def test_at_most_two_empty_rows_are_probed(most: int, rows: list[int]) -> None:
    """One of them where few rows are; the shortest and the longest of the others come first."""
    lengths = np.array([0, 0, 1, 2, 2, 4])
    valid = np.arange(4) < lengths[:, None]
    assert choose_rows([ModelInput("ids", valid.astype(int), valid, "ids")], most).tolist() == rows
