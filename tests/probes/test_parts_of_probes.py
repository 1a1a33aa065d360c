"""Parts of the probes that need no model: choices by shapes, lengths and values."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskcli.probes.calls import _compare_mask_inputs, _make_source, find_taken_timestep
from maskcli.probes.compare import Alignment, find_validity_of_pair
from maskcli.probes.content import replace_rows
from maskcli.probes.future_matrix import _find_inputs_of, _list_few_trials, _split_row, change_timesteps
from maskcli.probes.gradients import split_rows
from maskcli.probes.leak import _is_finite_alike
from maskcli.probes.leak_matrix import _is_followed
from maskcli.probes.lengths import LengthProbes, _group_rows, _is_below_window
from maskcli.probes.padding_sources import _holds_ids, _looks_up
from maskcli.probes.repair_masks import find_time_slice
from maskcli.probes.rows import _choose_donors, _ran_alone
from maskcli.probes.side import _is_half, _measure_error, _measure_size
from maskcli.probes.variants import move_weights
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe
from maskcli.trace.cells import InputCells

pytestmark = pytest.mark.quick

VALID = np.array([[True, True, True, False], [True, False, False, False], [True, True, True, True]])
IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [8, 9, 4, 5]])
WORDS = ModelInput("words", IDS, VALID, "ids")
ROWS = np.arange(3)


def tensor(*shape: int) -> Any:
    return SimpleNamespace(shape=shape)


@pytest.mark.parametrize("known", [True, False])
def test_inputs_of_a_result_by_its_length(known: bool) -> None:
    """Inputs that share the followed timesteps; otherwise the one of the nearest length, if a few are missing."""
    origin = SimpleNamespace(layer=np.array([[2, 3]]))
    positions = SimpleNamespace(
        read_origin=lambda _: origin if known else None, cells=SimpleNamespace(source=np.array([-1, -1, 1, 1]))
    )
    longer = ModelInput("article", np.ones((3, 9), int), np.ones((3, 9), bool), "ids")
    inputs = (
        longer,
        WORDS,
        dataclasses.replace(WORDS, name="types"),
        ModelInput("scale", np.ones((3, 1)), None, "static"),
    )
    context: Any = SimpleNamespace(inputs=inputs, flow=SimpleNamespace(positions=positions))
    expected = {4: (1, 2), 9: (1, 2), 3: (1, 2), 2: (1, 2)} if known else {4: (1,), 9: (0,), 3: (1,), 2: ()}
    for length, found in expected.items():
        valid = VALID if length == 4 else np.ones((3, length), bool)
        assert _find_inputs_of(context, tensor(3, length, 5), valid) == found


def test_row_is_split_into_blocks_with_valid_timesteps() -> None:
    trials = list(_split_row(1, np.array([True, True, False, False, False, True]), 2))
    assert [(trial.row, trial.where.tolist()) for trial in trials] == [
        (1, [True, True, False, False, False, False]),
        (1, [False, False, False, False, False, True]),
    ]
    assert [list(vars(trial).values())[2:] for trial in trials] == [[0, 2], [2, 2]]


def test_few_trials_have_valid_timesteps_before_them() -> None:
    """One for each row, at different timesteps, of which each is valid and none is the first valid one."""
    valid = np.arange(12) < np.array([[12], [2], [7]])
    trials = _list_few_trials(valid)
    assert [trial.row for trial in trials] == [0, 1, 2]
    for trial, length in zip(trials, (12, 2, 7), strict=True):
        changed = np.flatnonzero(trial.where)
        assert changed[0] >= 1
        assert changed[-1] < length
        assert (changed // trial.block == trial.column).all()
    assert [int(np.flatnonzero(trial.where)[0]) for trial in trials] == [3, 1, 5]


def test_content_changes_only_in_chosen_inputs() -> None:
    context: Any = SimpleNamespace(inputs=(WORDS, WORDS))
    where = np.zeros_like(VALID)
    where[:, 0] = True
    changed, same = change_timesteps(context, (WORDS, WORDS), (0,), where, np.random.default_rng(0))
    assert same is WORDS
    assert ((changed.values != IDS) == where).all()


def test_replaced_rows_have_other_content_and_the_length_of_their_donors() -> None:
    words = dataclasses.replace(WORDS, cells=VALID)
    given = VALID.astype(int)
    given[2, 1] = 0
    mask = ModelInput("keep", given, VALID, "mask")
    sizes = ModelInput("sizes", np.array([[0.5], [1.25], [3.0]]), None, "static")
    rows, donors = np.array([True, False, False]), np.array([2, 1, 0])
    ids, keep, numbers = replace_rows((words, mask, sizes), rows, donors, np.random.default_rng(1))
    assert (ids.values[0] != IDS[2]).all()
    assert ids.values[1:].tolist() == IDS[1:].tolist()
    assert keep.values.tolist() == given[[2, 1, 2]].tolist()
    assert ids.cells is not None
    assert ids.cells.tolist() == VALID[[2, 1, 2]].tolist()
    assert (numbers.values != sizes.values).ravel().tolist() == [True, False, False]


@pytest.mark.parametrize("kind", ["lookup", "cast", "axis", "other length"])
def test_lookup_turns_ids_into_other_numbers(kind: str) -> None:
    ids = IDS.astype(float)
    outputs = {
        "lookup": np.repeat(IDS[..., None] * 0.5, 2, axis=2),
        "cast": ids,
        "axis": np.repeat(ids[..., None], 2, axis=2),
        "other length": np.ones((3, 3, 2)),
    }
    entry: Any = SimpleNamespace(inputs=[ids], outputs=[outputs[kind]])
    assert _looks_up(entry, {id(ids)}) is (kind == "lookup")
    assert not _looks_up(entry, set())


def test_ids_may_be_features_of_integers() -> None:
    assert _holds_ids(WORDS)
    assert _holds_ids(dataclasses.replace(WORDS, values=IDS.astype("float32")))
    assert _holds_ids(dataclasses.replace(WORDS, kind="features"))
    assert not _holds_ids(dataclasses.replace(WORDS, values=IDS.astype("float32"), kind="features"))


@pytest.mark.parametrize(
    ("type_", "shape", "options", "expected"),
    [
        ("Dense", (3, 4, 5), {}, (None, None, None)),
        ("Dense", (3, 4), {}, (None, None, None)),
        ("Dense", (3, 2, 5), {}, None),
        ("Dense", (3,), {}, None),
        ("Dense", (4, 3, 5), {}, None),
        ("Conv1D", (3, 4, 5), {"padding": "same"}, (None, None, None)),
        ("Conv1D", (3, 2, 5), {"padding": "valid"}, (2, None, None)),
        ("Conv1D", (3, 2, 5), {"padding": "same", "strides": (2,)}, (None, None, 2)),
        ("Conv1D", (3, 1, 5), {"padding": "valid", "strides": (2,)}, (2, None, 2)),
        ("Conv1D", (3, 2, 5), {"padding": "valid", "kernel_size": (2,), "dilation_rate": (2,)}, (2, None, None)),
        ("Conv1D", (3, 3, 5), {"padding": "same"}, None),
    ],
)
def test_time_that_a_result_covers(type_: str, shape: Any, options: dict[str, Any], expected: Any) -> None:
    settings = {"strides": (1,), "kernel_size": (3,), **options} if type_ == "Conv1D" else {}
    entry: Any = SimpleNamespace(
        type=type_, outputs=[tensor(*shape)], taken_off=False, operation=SimpleNamespace(**settings), inputs=[]
    )
    assert find_time_slice(entry, VALID) == expected


def test_mask_that_was_taken_off_covers_all() -> None:
    entry: Any = SimpleNamespace(type="Dense", outputs=[tensor(4, 3, 5)], taken_off=True, operation=None, inputs=[])
    assert find_time_slice(entry, VALID) == (None, None, None)


@pytest.mark.parametrize(
    ("leaks", "applicable", "name", "lengths", "ran"),
    [
        (False, True, "alone", (3, 1), True),
        (None, True, "alone", (3, 1), False),
        (True, True, "alone", (3, 1), False),
        (False, False, "alone", (3, 1), False),
        (False, True, "replace", (3, 1), False),
        (False, True, "alone", (3, 3), False),
    ],
)
def test_rows_ran_without_those_of_other_lengths(
    leaks: bool | None, applicable: bool, name: Any, lengths: tuple[int, int], ran: bool
) -> None:
    valid = np.arange(4) < np.array(lengths)[:, None]
    probe = Probe(name, applicable, why=None if applicable else "it failed")
    leak = Leak(leaks, 0.0, None, None, None, (probe,), {})
    inputs = (ModelInput("ids", valid.astype(int), valid, "ids"),)
    batch: Any = SimpleNamespace(relevant=np.array([True, True]), with_timesteps=inputs)
    assert _ran_alone(batch, leak) is ran
    assert not _ran_alone(batch, None)


def test_errors_of_features_leave_out_overflow() -> None:
    old = np.array([[[1.0, -4.0], [2.0, np.inf]]])
    new = np.array([[[1.5, -4.0], [2.0, 7.0]]])
    assert _measure_error(old, new).tolist() == [0.5, 0.0]
    assert _measure_size(old).tolist() == [2.0, 4.0]
    assert [_is_half(np.ones(1, dtype)) for dtype in ("float16", "float32", "float64")] == [True, False, False]


@pytest.mark.parametrize("column", [3, 0])
def test_taken_timestep_is_padding_in_some_rows(column: int) -> None:
    valid = VALID if column else VALID[:, ::-1]
    values = np.arange(24, dtype="float32").reshape(3, 4, 2)
    taken = values[:, column].copy()
    entry: Any = SimpleNamespace(inputs=[values], outputs=[taken], index=7, type="GetItem", code=False)
    positions = SimpleNamespace(get_labels=lambda _: (), cells=None)
    context: Any = SimpleNamespace(
        flow=SimpleNamespace(valid={id(values): valid}, positions=positions),
        relevant=np.ones(3, bool),
        labels=ROWS + 10,
        trace=SimpleNamespace(names={7: "get_item"}),
        base=SimpleNamespace(entries={7: entry}),
    )
    found = find_taken_timestep(context, "get_item")
    assert found is not None
    assert (found.call, found.timestep, found.padded_rows, found.rows, found.sample) == ("get_item", column, 2, 3, 10)
    entry.outputs = [taken + 1]
    assert find_taken_timestep(context, "get_item") is None
    entry.outputs = [values]
    assert find_taken_timestep(context, "get_item") is None
    assert find_taken_timestep(context, "gone") is None


@pytest.mark.parametrize(
    ("steps", "sources", "padded"),
    [
        ([3, 0, 1], [0, 0, 0], 1),
        ([3, 1, 1], [0, 0, 0], 2),
        ([2, 0, 1], [0, 0, 0], 0),
        ([3, 3, 3], [0, 0, 0], 0),
        ([3, 0, 1], [0, 1, 0], 0),
    ],
    ids=["one", "two", "none", "the same timestep", "of two inputs"],
)
def test_timesteps_that_are_gathered_for_each_row(steps: list[int], sources: list[int], padded: int) -> None:
    cells = InputCells([WORDS, dataclasses.replace(WORDS, name="types")])
    layers = np.stack([cells.label_input(position)[0] for position in range(2)])
    layer = layers[sources, ROWS, steps]
    taken = np.ones((3, 2), "float32")
    entry: Any = SimpleNamespace(inputs=[taken], outputs=[taken], index=7)
    positions = SimpleNamespace(get_labels=lambda _: (layer[:, None],), cells=cells)
    context: Any = SimpleNamespace(
        flow=SimpleNamespace(valid={}, positions=positions),
        relevant=np.ones(3, bool),
        labels=ROWS + 10,
        trace=SimpleNamespace(names={7: "gather"}),
        base=SimpleNamespace(entries={7: entry}),
    )
    found = find_taken_timestep(context, "gather")
    if not padded:
        assert found is None
    else:
        assert found is not None
        assert (found.timestep, found.padded_rows, found.rows, found.sample) == (None, padded, 3, 10)


@pytest.mark.parametrize("inverted", [False, True])
def test_mask_input_is_compared_with_the_data(inverted: bool) -> None:
    wrong = VALID.copy()
    wrong[0, 3], wrong[2, 1] = True, False
    given = ModelInput("keep", (wrong != inverted).astype(int), VALID, "mask", inverted=inverted)
    (source,) = _compare_mask_inputs([WORDS, given, dataclasses.replace(given, valid=None)], ROWS + 10)
    assert source.missed is not None
    assert source.hidden is not None
    assert [(item.count, item.sample, item.timestep) for item in (source.missed, source.hidden)] == [
        (1, 10, 3),
        (1, 12, 1),
    ]
    assert source.padding == 4


def test_scores_have_no_validity_of_their_own_if_they_are_pooled() -> None:
    scores = np.zeros((3, 4, 4))
    places = VALID[:, :, None] & VALID[:, None]
    positions = SimpleNamespace(
        map_places=lambda _: places, find_time_axes=lambda _: {1, 2}, get_labels=lambda _: ((),)
    )
    align = Alignment(ROWS, "post", np.ones(3, bool), ROWS)
    flow: Any = SimpleNamespace(valid={id(scores): VALID}, pooled=set(), positions=positions)
    assert find_validity_of_pair(scores, scores, flow, align) == (VALID, None)
    flow = SimpleNamespace(valid={}, pooled={id(scores)}, positions=positions)
    assert find_validity_of_pair(scores, scores, flow, align) == (None, None)


def test_source_of_masks_is_compared_with_the_data() -> None:
    mask = VALID.copy()
    mask[1, 2], mask[2, 0] = True, False
    call = SimpleNamespace(mask_out=mask, valid=VALID, call="masking", type="Masking")
    entry: Any = SimpleNamespace(
        index=3, inputs=[np.ones((3, 4, 2))], outputs=[np.ones((3, 4, 2))], operation=SimpleNamespace(mask_value=np.nan)
    )
    run: Any = SimpleNamespace(calls_of={3: call}, flow=SimpleNamespace(maker={}, valid={}), names={})
    source = _make_source(entry, run, ROWS, {})
    assert source.missed is not None
    assert source.hidden is not None
    assert (source.missed.sample, source.missed.timestep, source.hidden.sample) == (1, 2, 2)
    assert (source.of_ids, source.looks_up, source.looks_for_nan, source.of_parts) == (False, False, True, False)
    call.mask_out = np.repeat(VALID[..., None], 3, axis=2)
    call.mask_out[0, 1, 1] = False
    parts = _make_source(entry, run, ROWS, {})
    assert (parts.missed, parts.of_parts) == (None, True)
    assert parts.hidden is not None
    assert (parts.hidden.count, parts.hidden.sample, parts.hidden.timestep) == (1, 0, 1)


@pytest.mark.parametrize(
    ("rank", "shape", "options", "below"),
    [
        (1, (3, 2, 5), {}, True),
        (1, (3, 3, 5), {}, False),
        (1, (3, 5, 2), {"data_format": "channels_first"}, True),
        (1, (3, 2, 5), {"data_format": "channels_first"}, False),
        (1, (3, 2, 5), {"padding": "same"}, False),
        (1, (3, 4, 5), {"dilation_rate": (2,)}, True),
        (2, (3, 5, 2, 1), {"padding": "valid"}, True),
    ],
)
def test_window_that_is_longer_than_the_timesteps(
    rank: int, shape: tuple[int, ...], options: dict[str, Any], below: bool
) -> None:
    layer = SimpleNamespace(**{"kernel_size": (3,) * rank, "padding": "valid", **options})
    entry: Any = SimpleNamespace(operation=layer, code=False, inputs=[tensor(*shape)], type="Conv")
    assert _is_below_window(entry) is below
    entry.type = "Conv1DTranspose"
    assert not _is_below_window(entry)


def test_rows_are_taped_in_blocks_of_a_size() -> None:
    """Rows of 2**27 bytes, of which a tape keeps six times as much, are taped one by one; small ones together."""
    run: Any = SimpleNamespace(
        inputs=[WORDS], model=SimpleNamespace(), is_large=False, recording=SimpleNamespace(bytes=3 * 2**27)
    )
    sources: Any = SimpleNamespace(calls={0: VALID}, inputs=frozenset())
    assert [block.tolist() for block in split_rows(run, sources)] == [[0], [1]]
    assert [block.tolist() for block in split_rows(run, "ids have no place")] == [[0, 1, 2]]
    run.recording.bytes = 2**20
    assert [block.tolist() for block in split_rows(run, sources)] == [[0, 1, 2]]
    run.is_large = True
    assert [block.tolist() for block in split_rows(run, sources)] == [[0, 1]]


def test_matrix_follows_numbers_of_rows() -> None:
    assert _is_followed(np.ones((3, 2), "float32"), 3)
    assert not _is_followed(np.ones((3, 2), int), 3)
    assert not _is_followed(np.ones((2, 2), "float32"), 3)
    assert not _is_followed(np.ones((), "float32"), 3)


def test_results_are_finite_alike() -> None:
    def record(values: Any) -> Any:
        return SimpleNamespace(output=np.array(values))

    whole, missing = [[1.0, 2.0], [3.0, np.inf]], [[1.0, np.nan], [3.0, np.inf]]
    assert _is_finite_alike(record(whole), record(whole))
    assert not _is_finite_alike(record(whole), record(missing))
    assert _is_finite_alike(record(missing), record(whole))
    assert _is_finite_alike(record(whole), record([[np.nan] * 3] * 2))
    assert not _is_finite_alike(record(whole), record(missing[:1]), rows=[0])
    assert _is_finite_alike(record(whole), record([[4.0, np.nan]]), rows=[1])


def test_pre_padded_rows_are_all_lengthened() -> None:
    context: Any = SimpleNamespace(model=SimpleNamespace(), side="pre")
    assert LengthProbes(context, [], clean=True)._list_unlengthened() is None
    context.model.inputs = [tensor(3, 4)]
    context.side = "post"
    assert LengthProbes(context, [], clean=True)._list_unlengthened() is None


def test_rows_are_grouped_by_timesteps_and_cells() -> None:
    """A row runs without its padding if it has any, at an end of its timesteps or of the cells in them."""
    cells = np.repeat(VALID[:, :, None], 3, axis=2)
    context: Any = SimpleNamespace(inputs=(dataclasses.replace(WORDS, cells=cells),), relevant=np.ones(3, bool))
    groups = [(rows.tolist(), columns, span) for rows, columns, span in _group_rows(context, 8)]
    assert groups == [([1], [slice(0, 1)], slice(0, 3)), ([0], [slice(0, 3)], slice(0, 3))]
    cells[2, :, 2] = False
    groups = [(rows.tolist(), columns, span) for rows, columns, span in _group_rows(context, 8)]
    assert groups[-1] == ([2], [slice(0, 4)], slice(0, 2))


def test_rows_take_the_place_of_rows_of_another_length() -> None:
    assert _choose_donors([WORDS], 3).tolist() == [1, 2, 0]
    same = dataclasses.replace(WORDS, valid=np.ones_like(VALID))
    assert _choose_donors([same], 3).tolist() == [1, 2, 0]
    two_lengths = dataclasses.replace(WORDS, valid=VALID[[0, 0, 2]])
    assert _choose_donors([two_lengths], 3).tolist() == [2, 2, 0]
    assert _choose_donors([dataclasses.replace(WORDS, valid=None)], 3).tolist() == [1, 2, 0]


def test_noise_moves_all_weights_and_is_gone_afterwards() -> None:
    """Also zeros, as biases have before training; others by a part of their size, and with the sign of the noise."""
    import keras

    layer = keras.layers.Dense(40)
    layer.build((None, 30))
    layer.kernel.assign(np.full((30, 40), 100.0))
    before = [np.array(weight) for weight in layer.weights]
    moves = []
    for sign in (1, -1):
        with move_weights(layer, layer.weights, sign):
            moves.append([np.array(weight) - old for weight, old in zip(layer.weights, before, strict=True)])
        assert all((np.array(weight) == old).all() for weight, old in zip(layer.weights, before, strict=True))
    for up, down, deviation in zip(*moves, (10.0, 0.5), strict=True):
        assert up.std() == pytest.approx(deviation, rel=0.3)
        np.testing.assert_allclose(up, -down, atol=1e-4 * deviation)
