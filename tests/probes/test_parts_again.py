"""Parts of the probes on small models and arrays, one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes import saving
from maskcli.probes.added_padding import add_padding
from maskcli.probes.calls import find_misused_masks
from maskcli.probes.compare import Alignment, find_validity_of_pair
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.empty_rows import _breaks, examine_empty_rows
from maskcli.probes.future import probe_future
from maskcli.probes.future_matrix import find_validity
from maskcli.probes.gradients import PaddingGradient
from maskcli.probes.leak import _probe_gradient
from maskcli.probes.lengths import choose_padding_value
from maskcli.probes.local import map_valid_timesteps, measure_local_change
from maskcli.probes.padding_sources import PaddingSources, _returns_unit_vectors
from maskcli.probes.repair_changes import KeepMask, MaskOrigin, pool_windows
from maskcli.probes.repair_masks import ChangedModels
from maskcli.probes.repairs import Trials
from maskcli.probes.segments import probe_segments
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe
from maskcli.trace.recorder import CallRecord
from maskcli.trace.run import ModelRun

IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [8, 9, 4, 5]], "int32")
VALID = IDS != 0
WORDS = ModelInput("words", IDS, VALID, "ids")
EMPTY = IDS * np.array([[1], [0], [1]], "int32")


class Hide(layers.Layer):
    """Sets padding to zero, or by mistake the features at these places, and passes the mask."""

    def __init__(self, wrong: bool, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.wrong = wrong

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return x
        factor = ops.cast(mask, x.dtype)
        return x * (factor[:, None, :] if self.wrong else factor[:, :, None])


def build(*stack: Any, mask_zero: bool = True) -> Any:
    """Return a model that looks up ids and applies layers or functions."""
    keras.utils.set_random_seed(3)
    words = keras.Input((4,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, mask_zero=mask_zero, name="lookup")(words)
    for layer in stack:
        x = layer(x)
    return keras.Model(words, x)


def run_on(model: Any, *inputs: ModelInput) -> ProbeContext:
    return make_context(ModelRun(model, inputs or (WORDS,)), np.arange(3) + 10)


def find_call(context: ProbeContext, name: str) -> Any:
    return next(entry for entry in context.base.ended if entry.name == name)


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_timesteps_that_were_not_followed_count_where_they_are_valid_either_way(steps: int) -> None:
    """A result of one timestep less, or more, than the input may lack, or have added, the first or the last one."""
    expected = {
        3: VALID[:, :3] & VALID[:, 1:],
        4: None,
        5: np.pad(VALID, [(0, 0), (1, 0)], constant_values=True)
        & np.pad(VALID, [(0, 0), (0, 1)], constant_values=True),
    }
    flow = SimpleNamespace(valid={}, pooled=set(), positions=SimpleNamespace(get_labels=lambda _: ()))
    context: Any = SimpleNamespace(flow=flow, inputs=(WORDS,))
    found = find_validity(context, np.ones((3, steps, 2)))
    assert (found is None) is (steps == 4)
    if found is not None:
        np.testing.assert_array_equal(found, expected[steps])


def test_scores_count_at_pairs_of_valid_timesteps() -> None:
    scores, places = np.zeros((3, 4, 4)), VALID[:, :, None] & VALID[:, None]
    positions = SimpleNamespace(map_places=lambda _: places, get_labels=lambda _: ())
    align = Alignment(np.arange(3), "post", np.ones(3, bool), np.arange(3))
    flow: Any = SimpleNamespace(valid={}, pooled=set(), positions=positions)
    old, new = find_validity_of_pair(scores, scores, flow, align)
    np.testing.assert_array_equal(old, places)
    assert new is None


def test_padding_is_added_only_where_a_layer_makes_a_mask() -> None:
    """Without such a layer no padding can be added; the mask of an embedding marks the padding that is."""
    without = add_padding(run_on(build(layers.Dense(2), mask_zero=False)))
    assert without == "no input has a mask that padding could change"
    full = np.arange(1, 13).reshape(3, 4) % 11 + 1
    padded = add_padding(run_on(build(layers.Dense(2)), ModelInput("words", full, full > 0, "ids")))
    assert isinstance(padded, ProbeContext)
    (words,) = padded.inputs
    assert words.valid is not None
    assert not words.valid.all()
    assert not words.values[~words.valid].any()


def test_large_model_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one of bytes: weights of float32 have four of them each."""
    monkeypatch.setattr(saving, "LARGEST", 700)
    tried: list[Any] = []

    def reload(model: Any) -> Any:
        tried.append(model)
        return model

    for width, is_saved in ((1, True), (24, False)):
        model = build(Hide(wrong=False), layers.Dense(width))
        count = sum(int(np.prod(weight.shape)) for weight in model.weights)
        assert (4 * count <= 700) is is_saved
        result = saving.probe_saving(ModelRun(model, (WORDS,)), reload)
        assert result is not None
        assert (result.why is None) is is_saved
        assert bool(tried) is is_saved
        tried.clear()


@pytest.mark.parametrize(("free", "fixed"), [(0.0, True), (0.5, False)])
def test_padding_whose_content_cannot_change(free: float, fixed: bool) -> None:
    """All derivatives are zero but those by padding that the mask fixes, so that not even rounding remains."""
    context = run_on(build())
    gradient = PaddingGradient(at_padding=0.5, largest_valid=0.0, sample=1, timestep=3, at_free_padding=free)
    sources = PaddingSources(calls={}, inputs=frozenset())
    result = _probe_gradient(context, sources, [gradient])
    assert (result.probe.leaks, result.probe.sample, result.probe.tolerance) == (True, 11, 0.0)
    assert result.fixed_content is fixed


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (np.eye(2)[[[0, 1, 1]]], True),
        (np.eye(3)[[[0, 2, 1]]], True),
        (np.eye(3)[[[0]]], True),
        (np.ones((1, 3, 1)), False),
        (np.array([[[1.0, 1.0]]]), False),
        (np.array([[[0.5, 0.5]]]), False),
        (np.array([[[2.0, 0.0]]]), False),
    ],
)
def test_unit_vectors_have_a_single_one(vectors: Any, expected: bool) -> None:
    entry: Any = SimpleNamespace(outputs=[vectors])
    assert _returns_unit_vectors(entry) is expected


def test_calls_around_a_call_end_with_the_model() -> None:
    model = CallRecord("model", 0, None)
    block = CallRecord("block", 1, model)
    inner = CallRecord("inner", 2, block)
    assert CallRecord("call", 3, inner).parents == [inner, block, model]
    assert not model.parents


def test_result_that_breaks_only_in_empty_rows() -> None:
    empty = np.array([False, True, False])
    values = np.ones((3, 2), "float32")
    assert not _breaks(values, empty)
    values[1, 0] = np.nan
    assert _breaks(values, empty)
    values[2, 0] = np.inf
    assert not _breaks(values, empty)


def test_empty_rows_are_examined_where_there_are_any() -> None:
    model = build(layers.GlobalAveragePooling1D(name="mean"))
    assert examine_empty_rows(run_on(model), None) is None
    found = examine_empty_rows(run_on(model, ModelInput("words", EMPTY, EMPTY != 0, "ids")), None)
    assert found is not None
    assert (found.rows, found.sample) == (1, 11)


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_padding_of_all_inputs_is_replaced_unless_some_are_chosen() -> None:
    """A convolution without a mask lets padding in; with no chosen input, nothing of it changes."""
    context = run_on(build(layers.Conv1D(3, 3, padding="same", name="conv")))
    entry = find_call(context, "conv")
    everywhere = measure_local_change(context, entry, np.random.default_rng(0))
    assert everywhere is not None
    assert everywhere.counts
    chosen = map_valid_timesteps(entry, context.flow)
    again = measure_local_change(context, entry, np.random.default_rng(0), keep=chosen)
    assert again is not None
    assert again.change == everywhere.change
    assert measure_local_change(context, entry, np.random.default_rng(0), keep={}) is None


def test_padding_of_the_data_is_used_before_the_declared_one() -> None:
    values = np.where(VALID, IDS, 11)
    assert choose_padding_value(ModelInput("words", values, VALID, "ids")) == 11
    assert choose_padding_value(WORDS) == 0
    assert choose_padding_value(ModelInput("words", values, np.ones_like(VALID), "ids", padding=3)) == 3
    assert choose_padding_value(ModelInput("words", values, None, "static", padding=3)) == 3


@pytest.mark.parametrize("wrong", [False, True])
def test_mask_along_the_wrong_axis_changes_valid_timesteps(wrong: bool) -> None:
    """A mask that is broadcast along the features hides some of these in all timesteps."""
    context = run_on(build(layers.Dense(4), Hide(wrong, name="hide")))
    assert [item.call for item in find_misused_masks(context)] == (["hide"] if wrong else [])


def test_first_of_two_calls_that_mix_segments_is_named() -> None:
    """Each changes an output of its own, so that no call explains both changes."""
    keras.utils.set_random_seed(3)
    tokens, segments = (keras.Input((6,), dtype="int32", name=name) for name in ("tokens", "segment_ids"))
    x = layers.Embedding(12, 6, name="lookup")(tokens)
    early, late = (layers.Conv1D(3, 2, padding="causal", name=name) for name in ("early", "late"))
    model = keras.Model([tokens, segments], [layers.Dense(3, name="after")(early(x)), late(x)])
    ids = np.array([[4, 5, 6, 7, 8, 0], [3, 9, 2, 4, 0, 0]], "int32")
    of = np.array([[1, 1, 2, 2, 3, 0], [1, 2, 2, 2, 0, 0]], "int32")
    inputs = (ModelInput("tokens", ids, ids > 0, "ids"), ModelInput("segment_ids", of, of > 0, "ids", auxiliary=True))
    result = probe_segments(make_context(ModelRun(model, inputs), np.arange(2)), of)
    assert result.mixed is not None
    assert result.mixed.first_call == "early"


@pytest.mark.parametrize(("kind", "how"), [(layers.MaxPooling1D, "max"), (layers.AveragePooling1D, "mean")])
def test_windows_are_pooled_over_their_valid_timesteps(kind: Any, how: Any) -> None:
    """The windows are those of two timesteps: all valid, one of them valid, or none."""
    x = np.array([[[-4.0], [-2.0], [-3.0], [9.0], [9.0], [9.0]]], "float32")
    mask = np.array([[True, True, True, False, False, False]])
    pooled = ops.convert_to_numpy(pool_windows(kind(2), ops.convert_to_tensor(x), ops.convert_to_tensor(mask), how))
    expected = {"max": [-2.0, -3.0], "mean": [-3.0, -3.0]}
    assert pooled[0, :2, 0].tolist() == expected[how]


def test_first_call_that_looks_ahead_stands_for_all_of_them() -> None:
    """Nothing asks this model to be causal, so that two layers that read rows from both ends are no faults."""
    both = [layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True), name=name) for name in ("first", "second")]
    (effect,) = probe_future(run_on(build(*both)), None).effects
    assert effect.looks_ahead
    assert effect.calls == ("first",)


def test_mask_is_kept_once_after_a_chain_of_operators() -> None:
    """The last operator takes the mask of the layer before the first one."""
    model = build(lambda x: x * 2.0, lambda x: x + 1.0, layers.LSTM(3, name="rnn"))
    models = ChangedModels(model, (WORDS,), np.arange(3))
    (change,) = models.bring_mask((), "/rnn#1") or ()
    assert isinstance(change, KeepMask)
    assert change.key.startswith("/add")
    assert change.origin == MaskOrigin("call", "/lookup#1")


def test_model_whose_padding_cannot_be_replaced_is_not_repaired() -> None:
    """Its mask is computed from the values at padding, so that other values there are data."""
    keras.utils.set_random_seed(3)
    series = keras.Input((4, 2), name="series")
    model = keras.Model(series, layers.LSTM(3)(series, mask=ops.any(series != 0, axis=2)))
    values = np.repeat(IDS[..., None], 2, axis=2).astype("float32")
    models = ChangedModels(model, (ModelInput("series", values, VALID, "features"),), np.arange(3))
    probes = (Probe("replace", True, leaks=True), Probe("alone", False, why="the length is fixed"))
    leak = Leak(True, 0.5, None, None, None, (*probes, Probe("columns", False, why="the length is fixed")), {})
    trial = Trials(models, leak).measure(())
    assert (trial.leaks, trial.why) == (True, "padding cannot be replaced any more")
