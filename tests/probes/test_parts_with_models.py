"""Parts of the probes, each on the run of a small model that shows it."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes import leak as leak_probes
from maskcli.probes.compare import pair_results
from maskcli.probes.constants import list_constants
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.empty_padding import drop_right_calls
from maskcli.probes.future import probe_future
from maskcli.probes.future_matrix import find_validity
from maskcli.probes.lengths import run_at_length, run_rows_alone
from maskcli.probes.padding_sources import find_padding_sources, follow_tensors
from maskcli.probes.repair_changes import MaskedPooling, MaskOrigin, get_argument, set_argument
from maskcli.probes.repair_masks import ChangedModels, find_time_slice
from maskcli.probes.repairs import Trials
from maskcli.probes.variants import allow_any_length
from maskcli.records.inputs import ModelInput
from maskcli.trace.changes import apply_changes
from maskcli.trace.recorder import CallRecord
from maskcli.trace.run import ModelRun
from tests.probes.test_verdict import ROWS, WORDS, embed, ids, judge, series, zero_padding

pytestmark = pytest.mark.filterwarnings("ignore:Layer:UserWarning")


def look(model: Any, *inputs: ModelInput) -> ProbeContext:
    return make_context(ModelRun(model, inputs), np.arange(len(inputs[0].values)))


def find_call(context: ProbeContext, type_: str) -> CallRecord:
    return next(entry for entry in context.base.ended if entry.type == type_)


class Scale(layers.Layer):
    """A layer with several arguments."""

    def call(self, x: Any, mask: Any = None, factor: Any = None) -> Any:
        del mask
        return x * factor


def test_argument_is_replaced_where_it_was_passed() -> None:
    """By position or by name; the arguments around it stay."""
    x, mask, factor = (np.full(2, value) for value in range(3))
    for args, kwargs in (((x, mask, factor), {}), ((x,), {"factor": factor, "mask": mask}), ((x,), {"factor": factor})):
        entry = CallRecord(Scale(), 0, None, args, kwargs)
        set_argument(entry, "mask", ~mask)
        assert get_argument(entry, "x") is x
        assert get_argument(entry, "factor") is factor
        assert get_argument(entry, "mask").tolist() == (~mask).tolist()
        assert len(entry.args) == len(args)


def test_sentence_is_valid_if_it_has_a_word() -> None:
    words = np.array([[[3, 1, 0], [4, 0, 0], [0, 0, 0]], [[5, 9, 2], [0, 0, 0], [0, 0, 0]]], "int32")
    text = ModelInput("words", words, (words != 0).any(axis=2), "features", cells=words != 0)
    tokens = keras.Input((None, 3), dtype="int32", name="words")
    context = look(keras.Model(tokens, layers.Embedding(WORDS, 4)(tokens)), text)
    assert context.flow.valid[id(context.base.output)].ndim == 3
    np.testing.assert_array_equal(find_validity(context, context.base.output), text.valid)


def test_values_are_followed_from_their_own_input() -> None:
    """The result of one input does not depend on the other; a result of both depends on each."""
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    results = [layers.Dense(2)(first), layers.Dense(2)(second)]
    model = keras.Model([first, second], [*results, layers.Add()(results)])
    context = look(
        model, *(ModelInput(name, np.ones((2, 3), "float32"), None, "static") for name in ("first", "second"))
    )
    for position, depends in enumerate(([True, False, True], [False, True, True])):
        followed = follow_tensors(context.base, {id(context.base.inputs[position])})
        assert [id(output) in followed for output in context.base.output] == depends


class WeighSteps(layers.Layer):
    """Weighs each timestep by a softmax over all, ``(batch, timesteps)``."""

    def __init__(self) -> None:
        super().__init__()
        self.score = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return x * ops.softmax(self.score(x)[..., 0], axis=-1)[..., None]


@pytest.mark.parametrize("rows", [3, 4])
def test_intent_does_not_depend_on_the_number_of_rows(rows: int) -> None:
    """Weights of timesteps are no scores of pairs, also where the batch has as many rows as timesteps."""
    model = embed(lambda x: WeighSteps()(layers.MultiHeadAttention(1, 2)(x, x, use_causal_mask=True)))
    (effect,) = probe_future(look(model, ids([[3, 1, 4, 1], [9, 2, 6, 5], [3, 5], [8, 9, 7]][:rows])), None).effects
    assert effect.looks_ahead
    assert effect.meant_causal is None


def test_padding_under_a_mask_layer_is_replaced_after_it() -> None:
    """Other values at the input would change the mask; without such a layer, they are replaced there."""
    valid = np.arange(4) < np.array([[4], [2], [3]])
    features = keras.Input((None, 3), name="series")
    masked = look(keras.Model(features, layers.GRU(2)(layers.Masking()(features))), series(valid))
    sources = find_padding_sources(masked.base, masked.flow, masked.inputs)
    assert not isinstance(sources, str)
    assert (sorted(sources.calls), sources.inputs) == ([find_call(masked, "Masking").index], frozenset())
    plain = look(keras.Model(features, layers.GRU(2)(features)), series(valid))
    sources = find_padding_sources(plain.base, plain.flow, plain.inputs)
    assert not isinstance(sources, str)
    assert (sources.calls, sources.inputs) == ({}, frozenset({0}))


@pytest.mark.parametrize("rows", [1, 2])
def test_slice_of_time_of_a_single_feature(rows: int) -> None:
    valid = np.ones((rows, 5), bool)
    features = keras.Input((None, 1), name="series")
    context = look(keras.Model(features, features[:, 1:4] * 2.0), series(valid, width=1))
    assert find_time_slice(find_call(context, "GetItem"), valid) == (1, -1, None)


def test_results_of_samples_are_paired_between_runs() -> None:
    """The states of an RNN are, and its sequence; the mean of the whole batch is not one of a sample."""

    def head(x: Any) -> Any:
        outputs = layers.LSTM(3, return_sequences=True, return_state=True, name="rnn")(x)
        return [*outputs, ops.mean(outputs[0])]

    context = look(embed(head), ids(ROWS))
    again = context.run.vary()
    for type_, expected in (("LSTM", [0, 1, 2]), ("Mean", [])):
        old, new = (next(x for x in run.ended if x.type == type_) for run in (context.base, again))
        pairs = list(pair_results(old, new, context.flow, context.align()))
        assert [position for position, _, _ in pairs] == expected
        assert all(one is old.outputs[position] and other is new.outputs[position] for position, one, other in pairs)


class AddTable(layers.Layer):
    """Adds a vector to each timestep."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.table = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(timesteps, 4)).astype("float32"))

    def call(self, x: Any) -> Any:
        return x + self.table


def test_single_timestep_that_becomes_many_is_no_row_alone() -> None:
    """Four timesteps each get a vector of their own; a single one is added to all four vectors, without an error."""
    context = look(embed(AddTable(4), 4), ids([[3, 1, 4, 2], [5]], length=4))
    with allow_any_length():
        result, resized = run_at_length(context, (ids([[5]]),))
    assert (result, resized) == ("the model still computes with the timesteps that it was built with", False)


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_table_of_timesteps_does_not_depend_on_the_number_of_rows(rows: int) -> None:
    context = look(embed(AddTable(4), 4), ids([[3, 1, 4, 2], [5], [6, 7], [8]][:rows], length=4))
    (constant,) = list_constants(context.base, context.flow, {4})
    assert tuple(constant.tensor.shape) == (4, 4)


@pytest.mark.parametrize("rows", [3, 4])
def test_fixed_causal_mask_is_a_constant_with_as_many_rows_as_timesteps(rows: int) -> None:
    """It is no mask of the rows, although it has one row for each of them."""
    causal = ops.convert_to_tensor(np.tril(np.ones((4, 4), bool)))
    model = embed(lambda x: layers.MultiHeadAttention(1, 2)(x, x, attention_mask=causal), 4)
    context = look(model, ids([[3, 1, 4, 2], [5], [6, 7], [8]][:rows], length=4))
    shapes = [tuple(constant.tensor.shape) for constant in list_constants(context.base, context.flow, {4})]
    assert shapes == [(4, 4)]


def test_softmax_over_empty_padding_stays_a_fault() -> None:
    """Scores of 0 at padded keys have a weight, unlike keys that are not there."""

    def head(x: Any) -> Any:
        x = zero_padding(x)
        weights = layers.Softmax(name="weights")(ops.matmul(x, ops.transpose(x, (0, 2, 1))))
        return ops.matmul(weights, x)

    context = look(embed(head), ids(ROWS))
    alone = run_rows_alone(context)
    assert not isinstance(alone, str)
    assert list(drop_right_calls(context, {"weights": 1.0}, alone)) == ["weights"]


def test_changed_result_goes_on_in_the_model() -> None:
    """The mean of all timesteps becomes that of the valid ones, which the rest of the model receives."""
    model = embed(lambda x: layers.GlobalAveragePooling1D(name="mean")(x * 2.0) + 1.0)
    words = ids(ROWS)
    context = look(model, words)
    with apply_changes((MaskedPooling("/mean#1", "mean", MaskOrigin("values", value=0.0)),)):
        changed = ModelRun(model, (words,)).recording
    vectors = 2 * np.asarray(context.base.ended[0].outputs[0])
    assert words.valid is not None
    means = [row[valid].mean(axis=0) + 1 for row, valid in zip(vectors, words.valid, strict=True)]
    np.testing.assert_allclose(changed.output, means, rtol=1e-5)


class LooksForTenths(keras.Model):
    """Masks timesteps of 0.1, which is another number in float64; its result is a cosine of large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.copy, self.pool = layers.Rescaling(1.0), layers.GlobalAveragePooling1D()

    def call(self, series: Any) -> Any:
        x = self.copy(series)
        return ops.cos(self.pool(x, mask=ops.any(x != 0.1, axis=-1)) * 1e8)


def test_rounding_stays_uncertain_where_float64_makes_another_mask() -> None:
    model, features = LooksForTenths(), series(np.arange(4) < np.array([[4], [2], [3]]), width=2, fill=0.1)
    model(features.values)
    leak = judge(model, features)
    assert leak.verdict == "unproven"
    assert "rounding moves results" in str(leak.reason)


def test_fixed_batch_shows_no_leak_with_other_weights() -> None:
    """A few rows cannot run without the others, so that all probes do; a right model stays clean."""
    words = ids(ROWS)
    tokens = keras.Input(batch_shape=(len(ROWS), None), dtype="int32", name="words")
    x = layers.Embedding(WORDS, 3, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    context = look(model, words)
    with allow_any_length():
        probed = leak_probes._probe(context)
        assert not probed.leaks
        assert leak_probes._probe_moved(probed.context, probed) is None


def turn(rows: list[list[int]]) -> ModelInput:
    """Return ids with padding before them."""
    tokens = ids(rows).values[:, ::-1]
    return ModelInput("words", tokens, tokens != 0, "ids")


def start_trials(model: Any, words: ModelInput) -> Trials:
    leak = judge(model, words)
    assert leak.leaks
    with warnings.catch_warnings(action="ignore"):
        return Trials(ChangedModels(model, (words,), np.arange(len(ROWS))), leak)


def test_other_content_shows_a_leak_of_padding_before_the_data() -> None:
    """Rows with padding first are not cut, because positions would move; other content needs no cut."""
    trials = start_trials(embed(layers.GlobalAveragePooling1D(name="mean"), mask=False), turn(ROWS))
    assert trials.by_content
    assert trials.is_quick
    assert trials.measure(()).first == "/mean#1"


def test_amount_of_padding_before_the_data_is_shown_by_few_probes() -> None:
    """A mean over zeros is the same with other content; the probes of a quick check show the leak, and where it is."""
    trials = start_trials(embed(lambda x: ops.mean(zero_padding(x), axis=1)), turn(ROWS))
    assert not trials.by_content
    assert not trials.is_quick
    trial = trials.measure(())
    assert (trial.leaks, trial.first) == (True, "/mean!#1")
