"""The inputs that probes make, and their choice of the worst result, without a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.probes.added_padding import _is_marked
from maskcli.probes.content import _add_noise, _draw_ids, repeat_row
from maskcli.probes.context import ProbeResult
from maskcli.probes.leak import _list_names, _make_leak
from maskcli.probes.lengths import (
    COLUMNS,
    _find_cell_spans,
    _find_spans,
    _merge_results,
    _move_padding,
    choose_worst,
    find_positions,
    lengthen,
)
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, True], [True, False, False]])
IDS = np.array([[4, 5, 6], [7, 0, 0]])


def make_ids(values: Any = IDS, valid: Any = VALID, **fields: Any) -> ModelInput:
    return ModelInput("ids", np.asarray(values), valid, fields.pop("kind", "ids"), **fields)


def make_words() -> ModelInput:
    """Return sentences of words, with padding inside of sentences."""
    values = np.zeros((2, 3, 4), int)
    values[0, 0, :3], values[0, 1, :1], values[0, 2, :2], values[1, 0, :2] = 3, 4, 5, 6
    return make_ids(values, VALID, cells=values != 0)


@pytest.mark.parametrize("side", ["pre", "post"])
def test_more_padding_goes_to_its_side(side: str) -> None:
    longer = lengthen(make_ids(), COLUMNS, side)
    kept = slice(COLUMNS, None) if side == "pre" else slice(0, 3)
    assert longer.valid is not None
    assert longer.values.shape == longer.valid.shape == (2, 3 + COLUMNS)
    np.testing.assert_array_equal(longer.values[:, kept], IDS)
    np.testing.assert_array_equal(longer.valid[:, kept], VALID)
    assert longer.valid.sum() == VALID.sum()
    assert (longer.values[~longer.valid] == 0).all()


@pytest.mark.parametrize("side", ["pre", "post"])
def test_more_padding_inside_of_timesteps(side: str) -> None:
    words = make_words()
    longer = lengthen(words, 2, side, axis=2)
    kept = slice(2, None) if side == "pre" else slice(0, 4)
    assert longer.cells is not None
    assert words.cells is not None
    assert longer.values.shape == longer.cells.shape == (2, 3, 6)
    np.testing.assert_array_equal(longer.values[..., kept], words.values)
    np.testing.assert_array_equal(longer.valid, VALID)
    assert longer.cells.sum() == words.cells.sum()
    assert lengthen(make_ids(), 2, side, axis=2).values.shape == (2, 3)


def test_positions_count_on() -> None:
    positions = make_ids(np.array([[2, 3, 4], [2, 3, 4]]), np.ones((2, 3), bool))
    assert lengthen(positions, 2, "post", counts_on=True).values.tolist() == [[2, 3, 4, 5, 6]] * 2
    static = ModelInput("scale", np.ones((2, 1)), None, "static")
    assert lengthen(static, 2, "post") is static


def test_positions_are_those_of_another_input() -> None:
    positions = make_ids(np.array([[0, 1, 2], [0, 1, 2]]), np.ones((2, 3), bool))
    shorter = make_ids(IDS[:, :2], VALID[:, :2])
    assert find_positions([make_ids(), positions]) == {1}
    assert find_positions([positions]) == frozenset()
    assert find_positions([shorter, positions]) == frozenset()
    assert find_positions([positions, positions]) == frozenset()
    assert find_positions([make_ids(kind="mask"), positions]) == frozenset()


def test_padding_moves_to_the_end() -> None:
    turned = make_ids(IDS[:, ::-1], VALID[:, ::-1])
    moved = _move_padding(turned, np.array([1, 0]))
    assert moved.values.tolist() == [[7, 0, 0], [6, 5, 4]]
    np.testing.assert_array_equal(moved.valid, VALID[::-1])
    static = ModelInput("scale", np.array([[1.0], [2.0]]), None, "static")
    assert _move_padding(static, np.array([1])).values.tolist() == [[2.0]]


def test_spans_of_valid_timesteps() -> None:
    valid = np.array([[False, True, False, True, False], [True, True, True, True, True]])
    first, stop = _find_spans(make_ids(valid * 1, valid)) or ((), ())
    assert (list(first), list(stop)) == ([1, 0], [4, 5])
    assert _find_spans(ModelInput("scale", np.ones((2, 1)), None, "static")) is None


def test_spans_of_cells() -> None:
    """The cells that any timestep of a row needs; inputs with other numbers of cells do not correspond."""
    words = make_words()
    first, stop, number = _find_cell_spans([make_ids(), words]) or ((), (), 0)
    assert (list(first), list(stop), number) == ([0, 0], [3, 2], 4)
    assert _find_cell_spans([make_ids()]) is None
    assert _find_cell_spans([words, lengthen(words, 1, "post", axis=2)]) is None


def test_copies_of_a_row_have_two_lengths() -> None:
    """Every second copy has half of the tokens."""
    repeated, scale = repeat_row(
        [
            make_ids([[4, 5, 6, 0]], np.array([[True, True, True, False]])),
            ModelInput("scale", np.ones((1, 1)), None, "static"),
        ],
        4,
    )
    assert repeated.values.tolist() == [[4, 5, 6, 0], [4, 5, 0, 0]] * 2
    assert repeated.valid is not None
    assert repeated.valid.sum(axis=1).tolist() == [3, 2, 3, 2]
    assert scale.values.shape == (4, 1)


@pytest.mark.parametrize("ids", [[1, 2], [1, 5, 9], [3, 9], [0, 1, 2], [-2, 4]])
def test_drawn_ids_differ_and_are_in_the_data(ids: list[int]) -> None:
    """They are between the ids of the data, from 1 if these are positive, and never the id of padding."""
    values = np.array([[*ids, 0]])
    valid = np.array([[*[True] * len(ids), False]])
    source = make_ids(values, valid)
    drawn_of_all = set()
    for seed in range(40):
        drawn = _draw_ids(np.array(ids), source, np.random.default_rng(seed))
        drawn_of_all |= set(drawn.tolist())
        if 0 not in ids and min(ids) > 0:
            assert (drawn != ids).all()
        assert not (set(drawn.tolist()) - set(ids)) & {0}
    low = min(*ids, 1) if min(ids) > 0 else min(ids)
    assert drawn_of_all <= set(range(low, max(ids) + 1))
    assert len(drawn_of_all) >= 2
    assert _draw_ids(np.array([], int), source, np.random.default_rng(0)).size == 0


def test_ids_without_another_one_stay() -> None:
    source = make_ids([[1, 1, 0]], np.array([[True, True, False]]))
    assert _draw_ids(np.array([1, 1]), source, np.random.default_rng(0)).tolist() == [1, 1]


def test_noise_leaves_categories_as_they_are() -> None:
    rng = np.random.default_rng(0)
    categories = ModelInput("kind", np.array([[0.0], [2.0]]), None, "static")
    assert _add_noise(categories.values, categories, rng).tolist() == [[0.0], [2.0]]
    numbers = ModelInput("size", np.array([[0.25, 1.0], [0.75, 1.0]]), None, "static")
    assert (_add_noise(numbers.values, numbers, rng) != numbers.values).any(axis=0).tolist() == [True, True]
    small = ModelInput("size", numbers.values * 1e-3, None, "static")
    change = np.abs(_add_noise(small.values, small, rng) - small.values)
    assert 0 < change[:, 0].max() < 1e-2  # Half of the spread, and not of 1.
    equal = ModelInput("size", np.ones((2, 1)), None, "static")
    assert (_add_noise(equal.values, equal, rng) != 1).all()
    whole = ModelInput("ids", np.ones((2, 1), int), None, "static")
    assert _add_noise(whole.values, whole, rng) is whole.values


def make_result(change: float | None, leaks: bool = False, tolerance: float = 1.0, **fields: Any) -> ProbeResult:
    probe = Probe(fields.pop("name", "replace"), change is not None, leaks, change, tolerance)
    return ProbeResult(probe, **fields)


def test_worst_result_leaks_or_exceeds_its_tolerance_most() -> None:
    none, small, large = make_result(None), make_result(0.5), make_result(4.0, tolerance=10.0)
    leak = make_result(0.1, True)
    assert choose_worst([none, large, small]) is small
    assert choose_worst([small, leak, large]) is leak
    assert choose_worst([none, none]) is none
    assert choose_worst([make_result(0.0, tolerance=0.0), small]) is small
    exact = make_result(1.0, tolerance=0.0)
    assert choose_worst([make_result(0.7), exact]) is exact


def test_merged_results_have_all_calls_and_outputs() -> None:
    first, second = (Any, "first"), (Any, "second")
    results = [
        make_result(0.5, first=first, skipped=("tags", "score")),
        make_result(0.7, True, first=second, also=(first,), skipped=("tags",)),
    ]
    merged = _merge_results(results)
    assert (merged.probe, merged.first) == (results[1].probe, second)
    assert merged.also == (first, first, second)
    assert merged.skipped == ("tags", "score")


@pytest.mark.parametrize("leaks", [True, False])
def test_largest_change_is_that_of_outputs(leaks: bool) -> None:
    """A gradient is no change of an output, and a change that comes from positions does not count."""
    probes = (
        Probe("gradient", True, leaks, 9.0, 0.0, first_call="lstm"),
        Probe("columns", True, False, 5.0, 1e-6, why="it comes from positions"),
        Probe("replace", True, leaks, 0.5, 1e-6, "dense", 1, 2, "tags"),
        Probe("alone", True, leaks, 0.25, 1e-6, "conv", 0, 1, "score"),
    )
    shown: Any = SimpleNamespace(gap=None, entries={"embedding": 0.5})
    leak = _make_leak(probes, shown, "as-loaded")
    assert (leak.leaks, leak.max_abs_change) == (leaks, 0.5)
    place = ("lstm", 1, 2, "tags") if leaks else (None, None, None, None)
    assert (leak.first_call, leak.sample, leak.timestep, leak.output) == place
    assert leak.entries == ({"embedding": 0.5} if leaks else {})


def test_gap_is_neither_clean_nor_a_leak() -> None:
    shown: Any = SimpleNamespace(gap="the model is random", entries={})
    leak = _make_leak((Probe("replace", False, why="the model is random"),), shown, "as-loaded")
    assert (leak.leaks, leak.reason, leak.max_abs_change) == (None, "the model is random", 0.0)


def test_names_of_outputs_occur_once() -> None:
    assert _list_names(("tags", "score", "tags")) == "tags, score"


@pytest.mark.parametrize(
    ("mask", "is_marked"),
    [
        (VALID, True),
        (VALID & [True, False, True], True),
        (np.ones_like(VALID), False),
        (np.zeros_like(VALID), False),
        (VALID[:, :2], False),
        (None, False),
    ],
)
def test_padding_is_marked_if_a_mask_hides_all_of_it(mask: Any, is_marked: bool) -> None:
    full = make_ids(IDS + 1, np.ones_like(VALID))
    for masks_out, padding_masks in (([mask], []), ([], [mask])):
        run: Any = SimpleNamespace(ended=[SimpleNamespace(masks_out=masks_out, padding_masks=padding_masks)])
        assert _is_marked(run, [full, make_ids()]) is is_marked
        assert not _is_marked(run, [full])
    if mask is not None:
        given = ModelInput("keep", mask * 1, None, "mask")
        assert _is_marked(SimpleNamespace(ended=[]), [make_ids(), given]) is is_marked  # type: ignore[arg-type]
